// File: phalanx/data/recall_tasks.h
//
// Purpose: texts whose answers stand in the text itself, by index: what a model must recall, not know.
//   phonebook            lines "First Last: 212-555-1234", a blank line, two questions of the book with their
//                        answers, then "What is the phone number for First Last?\nAnswer:" and its
//                        answer
//   phonebook_reversed   the name is told before the book and asked for after it
//   phonebook_lookup     the book, a blank line, then "First Last:" and the answer: no example, and nothing between the
//                        name and its number
//   copy                 a line of words, then the same line
//   associative_recall   lines "key value", a blank line, then a key and its value
// Contract: sample `index` is a pure function of (task, sizes, seed, part, index). The number of entries is uniform in
//   [min_entries, max_entries]. The last question asks entry index mod entries, so that indices in turn sweep the
//   depths evenly; few-shot lines and earlier questions ask other entries, each once. Names of a book and keys are
//   unique; area and exchange codes lie in 200..999, the last four digits in 1000..9999. Parts draw apart from each
//   other: a book of the training part is in no other part but by chance.
//   With several questions the reversed wording announces all names in one list; its two example lines are made for
//   it and not of the book.
//   `prompt` + the last segment is the whole text. A text generated after `prompt` is right when, without white space
//   in front and cut at its next newline, it equals `answer`.
//   The texts of an answer end with a newline and begin with the space that byte-level BPE gives to a word, so segments
//   encoded one by one have the tokens of the whole text.
// Units: entries are lines of the book, pairs or words.
// Source: Waleffe et al. 2024 (arXiv 2406.07887), section 3.3.3, for phonebook and its reversal; Jelassi et al.
//   2024 (arXiv 2402.01032) for the lookup, which has two examples there, and for copying.
//   The blank line after a book or pairs and the two examples are ours.
// Example: make_recall_sample({.task = RecallTask::kPhonebook, .min_entries = 8, .max_entries = 32}, {.seed = 7}, 0)
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace phalanx {

enum class RecallTask { kPhonebook, kPhonebookReversed, kCopy, kAssociativeRecall, kPhonebookLookup };

std::string_view recall_task_name(RecallTask task);
std::span<const std::string_view> recall_task_names();  // in the order of the values

struct RecallTaskSpec {
  RecallTask task = RecallTask::kPhonebook;
  int64_t min_entries = 0;
  int64_t max_entries = 0;
  int64_t questions = 1;     // one for copy
  bool loss_on_all = false;  // false: only answers count in the loss
  double weight = 1;         // relative share of the texts in a blend of tasks
  bool operator==(const RecallTaskSpec&) const = default;
};

// The most entries that a task can have, and the fewest with `questions`.
int64_t most_entries(RecallTask task);
int64_t fewest_entries(RecallTask task, int64_t questions);

struct RecallStream {
  uint64_t seed = 0;
  int32_t part = 0;  // train, valid, test as in SplitPart
};

inline constexpr int64_t kMaxRecallIndex = int64_t{1} << 50;

struct TaskSegment {
  std::string text;
  bool counts_in_loss = false;
};

struct RecallSample {
  std::vector<TaskSegment> segments;
  std::string prompt;
  std::string answer;
  int64_t entries = 0;
  int64_t depth = 0;  // the entry that the last question asks, from 0; 0 for copy
};

// The spec is one that recall_config.h accepts.
RecallSample make_recall_sample(const RecallTaskSpec& spec, const RecallStream& stream, int64_t index);

}  // namespace phalanx
