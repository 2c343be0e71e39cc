// File: phalanx/optim/lr_schedule.h
//
// Purpose: the learning rate as a pure function of the samples consumed before the step.
// Equations (n samples, w warm-up, D decay length, r = (n - w) / (D - w)): warm-up init + (max - init) n / w for n <= w;
//   linear 1 - r; cosine (cos(pi r) + 1) / 2; inverse square root max(min, max sqrt(w) / sqrt(n)); WSD 1 until
//   D - wsd, then with q in [0, 1]: exponential 2 * 0.5^q - 1, linear 1 - q, cosine, minus_sqrt 1 - sqrt(q);
//   lr = min + coefficient (max - min); after D: min.
// Errors: Error(kBadInput) for a warm-up that is not shorter than the decay, which would never decay.
// Units: samples.
// Source: Megatron's scheduler (megatron.md, appendix B).
#pragma once

#include <cstdint>

#include "phalanx/optim/optim_config.h"

namespace phalanx {

class LrSchedule {
 public:
  // `train_samples` (0: nothing is trained, and nothing refused) and `global_batch_size` turn "none" and *_iters into samples.
  LrSchedule(const OptimConfig& config, int64_t train_samples, int64_t global_batch_size);

  double at(int64_t consumed_samples) const;

 private:
  double decay_coefficient(double n) const;

  OptimConfig config_;
  double min_lr_ = 0;
  double decay_ = 0;   // D
  double warmup_ = 0;  // w
  double wsd_ = 0;
};

}  // namespace phalanx
