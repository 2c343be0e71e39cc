// File: phalanx/data/gpt_dataset.h
//
// Purpose: samples of S + 1 tokens from a .bin/.idx pair in Megatron's training order.
// Contract: read(k) is a pure function of k, so a resume needs the number of consumed samples and nothing else.
//   Thread-safe. A token id outside the vocabulary is Error(kBadInput) naming file, sequence and token. A sample that
//   the data cannot fill (only without drop_last_partial) is padded with id 0 whose labels are masked. The indices come
//   from the cache when it has them; its key holds all they depend on, the lengths of the sequences by a fingerprint.
// Units: tokens; sample indices from 0.
// Source: Megatron's GPTDataset with the extra token (labels are the tokens shifted by one).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "phalanx/data/gpt_index.h"
#include "phalanx/data/index_cache.h"
#include "phalanx/data/indexed_dataset.h"
#include "phalanx/data/split.h"

namespace phalanx {

struct GptDatasetOptions {
  SequenceRange sequences;             // of the split
  std::optional<int64_t> num_samples;  // nothing: one epoch
  int64_t seq_length = 0;
  int64_t seed = 1234;
  bool drop_last_partial = true;
  int64_t vocab_size = 0;  // 0: any id
  int threads = 1;         // that build the indices
  std::shared_ptr<const IndexCache> cache = nullptr;
};

class GptDataset {
 public:
  GptDataset(std::shared_ptr<const IndexedDataset> tokens, const GptDatasetOptions& options);

  int64_t num_samples() const { return index_.num_samples(); }
  int64_t seq_length() const { return options_.seq_length; }
  const GptIndex& index() const { return index_; }

  // Fills S + 1 tokens and S label masks (1: counts; label i is token i + 1). `starts`, when given, gets the positions
  // at which another sequence begins, the first token's 0 included.
  void read(int64_t sample, std::span<int64_t> tokens, std::span<uint8_t> label_mask,
            std::vector<int64_t>* starts = nullptr) const;

 private:
  void check_vocabulary(int64_t sequence, int64_t offset, std::span<const int64_t> tokens) const;

  std::shared_ptr<const IndexedDataset> tokens_;
  GptDatasetOptions options_;
  GptIndex index_;
};

}  // namespace phalanx
