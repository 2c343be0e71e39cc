// File: phalanx/data/packed_tasks.h
//
// Purpose: samples of S + 1 tokens full of recall tasks, made when they are asked for.
// Contract: sample k is a pure function of the options and k; read is thread-safe. It holds the texts with the indices
//   65537 k, 65537 k + 1, ...: each takes its task by weight from the index, is encoded segment by segment and ends
//   with an end-of-document token; the first that does not fit any more ends the sample, and end-of-document tokens
//   fill it. (65537 is a prime above every number of entries, so that the depths are swept from sample to sample as
//   well.) Label p is token p + 1. It counts where that token is of a segment that does; an end of document counts only
//   behind a text whose every token counts (loss=all), and fill never does. `starts` are the positions where texts
//   begin, and where the fill does.
//   Texts that alone are longer than a sample are passed over; whether a task makes such is found out at the start,
//   on 32 samples of its largest size.
// Errors: Error(kBadInput) for a tokenizer without an end of document, for a task whose samples are too long, saying by
//   how much and what would fit, and for more samples than there are indices.
// Units: tokens.
// Example: PackedTasks(*tokenizer, {.tasks = parse_recall_tasks(texts, "data.tasks"), .seq_length = 512, ...})
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "phalanx/data/recall_tasks.h"
#include "phalanx/tokenizer/tokenizer.h"

namespace phalanx {

struct PackedTasksOptions {
  std::vector<RecallTaskSpec> tasks;  // one at least
  RecallStream stream;
  int64_t seq_length = 0;
  int64_t num_samples = 0;
  std::string where = "data.tasks";  // for errors
};

inline constexpr int64_t kMaxPackedTasks = int64_t{1} << 33;

class PackedTasks {
 public:
  // The tokenizer must outlive it.
  PackedTasks(const Tokenizer& tokenizer, PackedTasksOptions options);

  int64_t num_samples() const { return options_.num_samples; }
  // Fills S + 1 tokens and S label masks (1: counts).
  void read(int64_t sample, std::span<int64_t> tokens, std::span<uint8_t> label_mask,
            std::vector<int64_t>* starts = nullptr) const;

 private:
  // Tokens of one text with its end of document, and whether each counts as a label.
  struct Encoded {
    std::vector<int64_t> tokens;
    std::vector<uint8_t> counts;
  };

  Encoded encode(const RecallTaskSpec& spec, int64_t index) const;
  const RecallTaskSpec& task_of(int64_t index) const;
  int64_t longest(const RecallTaskSpec& spec, int64_t entries) const;
  void check_lengths() const;

  const Tokenizer& tokenizer_;
  PackedTasksOptions options_;
  int64_t eod_ = 0;
  std::vector<double> shares_;  // up to and with each task
};

}  // namespace phalanx
