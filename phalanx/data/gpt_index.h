// File: phalanx/data/gpt_index.h
//
// Purpose: which tokens sample k is: the three indices of Megatron's GPT data set, the same numbers.
//   document index  the split's sequence ids, once an epoch, shuffled
//   sample index    n + 1 places (position in the document index, token offset); sample j lies between j and j + 1
//   shuffle index   sample k reads sample-index entry shuffle[k]
// Contract: a pure function of lengths, samples, seq_length and seed; the number of threads changes nothing. Epochs E
//   are the fewest with E tpe >= N S + e (tpe tokens an epoch, e the extra token of a sample). The last epoch is
//   shuffled apart when fewer than 80 % of its samples are needed. All samples of all E epochs are built, which may
//   exceed N. A split without a whole sample is Error(kBadInput).
// Algorithm: sample j begins at token j S of the stream of documents, so its place follows from the sum of lengths
//   before it; one pass over the documents writes the places without a jump that depends on the data.
// Units: tokens, samples.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "phalanx/data/index_array.h"

namespace phalanx {

struct GptIndexOptions {
  std::optional<int64_t> num_samples;  // N; nothing: one epoch
  int64_t seq_length = 0;              // S
  int64_t extra_tokens = 1;            // e
  int64_t seed = 1234;
  bool drop_last_partial = true;
  int threads = 1;
};

struct SampleRow {
  uint32_t position = 0;  // in the document index
  int32_t offset = 0;     // token; -1 only where a kept partial sample ends in an empty document
  bool operator==(const SampleRow&) const = default;
};

using SampleIndex = IndexArray<SampleRow>;

struct GptIndex {
  int64_t num_epochs = 1;
  bool separate_final_epoch = false;
  IndexArray<int32_t> documents;
  SampleIndex samples;
  IndexArray<uint32_t> shuffle;
  int64_t num_samples() const { return static_cast<int64_t>(shuffle.size()); }
};

// `lengths[i]` is that of sequence first_id + i; `documents` holds sequence ids.
SampleIndex build_sample_index(std::span<const int32_t> lengths, int32_t first_id,
                               std::span<const int32_t> documents, int64_t num_tokens,
                               const GptIndexOptions& options);

// All sequences of `lengths` are in the split. `where` names the data for errors.
GptIndex build_gpt_index(std::span<const int32_t> lengths, int32_t first_id, const GptIndexOptions& options,
                         const std::string& where);

}  // namespace phalanx
