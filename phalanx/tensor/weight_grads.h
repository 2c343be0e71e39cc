// File: phalanx/tensor/weight_grads.h
//
// Purpose: where weight gradients go, and when. A module hands over either a finished gradient or a function that
//   computes one into the main gradient; split schedules (B, W) keep such functions until the W action.
// Contract: a slot's `beta` is 0 for the first contribution of a step (overwrite) and 1 afterwards (accumulate), so
//   main gradients are never zeroed. Not trainable parameters are skipped. A use counts when it is applied.
//   kNow applies at once; kDefer queues until run_deferred, in order. deferred_bytes counts what queued functions hold.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "phalanx/tensor/parameter.h"

namespace phalanx {

struct GradSlot {
  Tensor& main_grad;
  double beta;
};

class WeightGrads {
 public:
  enum class Mode { kNow, kDefer };
  explicit WeightGrads(Mode mode = Mode::kNow) : mode_(mode) {}

  void add(Parameter& parameter, const Tensor& grad);
  // `bytes`: what `compute` keeps alive until it runs.
  void defer(Parameter& parameter, int64_t bytes, std::function<void(GradSlot)> compute);
  void run_deferred();

  int64_t deferred_bytes() const { return deferred_bytes_; }
  // Called after each applied use; data parallelism counts buckets here.
  std::function<void(Parameter&)> on_applied;

 private:
  struct Deferred {
    Parameter* parameter;
    int64_t bytes;
    std::function<void(GradSlot)> compute;
  };
  void apply(Parameter& parameter, const std::function<void(GradSlot)>& compute);
  Mode mode_;
  std::vector<Deferred> deferred_;
  int64_t deferred_bytes_ = 0;
};

}  // namespace phalanx
