// File: phalanx/data/blended_dataset.h
//
// Purpose: one or several data sets as one: what --data-path, its split and its weights mean, sample by sample.
// Contract: by Megatron's rules. A single prefix is that data set. With weights and a number of samples Z each data set
//   gives ceil(Z w) samples and is built for 0.5 % more, as many epochs as that takes. Without weights each is read
//   once, mixed by size, and at most Z samples come of it. read(k) is a pure function of k. Thread-safe. Weights
//   without a number of samples, an absent or empty data set, and a blend that asks one for more than it has are
//   Error(kBadInput) naming it. Data sets may differ in their token width.
// Units: tokens; sample indices from 0.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "phalanx/data/blend_config.h"
#include "phalanx/data/blend_index.h"
#include "phalanx/data/gpt_dataset.h"

namespace phalanx {

struct BlendedOptions {
  std::optional<std::string> split;    // "969,30,1": each data set is cut by it; nothing: whole ones
  SplitPart part = SplitPart::kTrain;  // of the cut
  std::optional<int64_t> num_samples;  // Z; nothing: one epoch
  int64_t seq_length = 0;
  int64_t seed = 1234;
  bool drop_last_partial = true;
  int64_t vocab_size = 0;  // 0: any id
  double surplus = kBlendSurplus;
  int threads = 1;
  std::shared_ptr<const IndexCache> cache = nullptr;
};

class BlendedDataset {
 public:
  struct Place {
    int64_t dataset = 0;
    int64_t sample = 0;  // within it
    bool operator==(const Place&) const = default;
  };

  // nullptr when the split has no such part.
  static std::unique_ptr<const BlendedDataset> open(const Blend& blend, const BlendedOptions& options);

  int64_t num_samples() const;
  int64_t num_datasets() const { return static_cast<int64_t>(datasets_.size()); }
  const GptDataset& dataset(int64_t i) const { return *datasets_[static_cast<size_t>(i)]; }
  Place place(int64_t sample) const;

  // As GptDataset::read.
  void read(int64_t sample, std::span<int64_t> tokens, std::span<uint8_t> label_mask,
            std::vector<int64_t>* starts = nullptr) const;

 private:
  BlendedDataset() = default;

  std::vector<std::unique_ptr<const GptDataset>> datasets_;
  std::optional<BlendIndex> blend_;  // nothing: one data set as it is
};

}  // namespace phalanx
