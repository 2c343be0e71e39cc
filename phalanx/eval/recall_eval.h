// File: phalanx/eval/recall_eval.h
//
// Purpose: recall tasks (data/recall_tasks.h) answered by a model: greedy generation after each prompt.
// Contract: an answer is right when the text made, without white space in front and cut at its next newline, equals the
//   task's. `overlap` compares the letters and digits of both texts place by place: for a phone number the share of its
//   ten digits that are right, 0.1 by chance. A text ends with its line, at an end token, or a few tokens past the
//   answer's own length. The result is a pure function of model, task, stream and indices, but for rounding, whatever
//   the limits and the layout.
// Errors: those of generate.h; `where` is "prompt K" of the indices in turn.
// Source: Waleffe et al. 2024 (arXiv 2406.07887), section 3.3.3: exact match of the number after greedy generation.
// Example: eval_recall(*model, folder, {.spec = parse_recall_task("phonebook entries=32", "--task"), .count = 200})
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "phalanx/data/recall_tasks.h"
#include "phalanx/eval/wilson.h"
#include "phalanx/infer/text_model.h"

namespace phalanx {

struct RecallEvalOptions {
  RecallTaskSpec spec;
  RecallStream stream;
  int64_t first = 0;
  int64_t count = 0;
  BatchLimits limits;
};

struct RecallAnswer {
  int64_t index = 0;
  int64_t entries = 0;
  int64_t depth = 0;
  std::string wanted;
  std::string made;
  bool exact() const { return made == wanted; }
};

struct RecallResult {
  std::vector<RecallAnswer> answers;  // by index
  int64_t prompt_tokens = 0;          // of all
  int64_t longest_prompt = 0;

  int64_t exact() const;
  Interval interval() const { return wilson_interval(exact(), static_cast<int64_t>(answers.size())); }
  double overlap() const;  // the mean
};

// Share of the letters and digits of `wanted` that stand at the same place among those of `made`; 1 if it has none.
double answer_overlap(const std::string& wanted, const std::string& made);

// The answer in a text made after a prompt, and whether its line is complete.
struct AnswerLine {
  std::string text;
  bool complete = false;
};
AnswerLine answer_line(const std::string& made);

RecallResult eval_recall(TextModel& model, const ModelFolder& folder, const RecallEvalOptions& options);

}  // namespace phalanx
