// File: phalanx/train/batch_size.h
//
// Purpose: the global batch size as a function of consumed samples (Megatron's ramp-up).
// Contract: with ramp-up start,increment,samples the batch grows from start to the final size by increment, each size
//   lasting samples / number-of-increments samples. Sizes are multiples of micro_batch_size x data ranks.
// Units: samples.
#pragma once

#include <cstdint>
#include <vector>

namespace phalanx {

class BatchSize {
 public:
  // `rampup` empty or {start, increment, samples}. Error(kBadInput) for a size that does not divide.
  BatchSize(int64_t final_size, const std::vector<int64_t>& rampup, int64_t micro_batch_times_data_ranks);
  int64_t at(int64_t consumed_samples) const;

 private:
  int64_t final_size_;
  int64_t start_ = 0;
  int64_t increment_ = 0;
  double samples_per_increment_ = 0;  // 0: no ramp-up
};

}  // namespace phalanx
