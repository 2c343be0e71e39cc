#include "phalanx/tensor/weight_grads.h"

#include <ATen/ATen.h>

namespace phalanx {

void WeightGrads::apply(Parameter& parameter, const std::function<void(GradSlot)>& compute) {
  compute({parameter.main_grad, parameter.has_grad ? 1.0 : 0.0});
  parameter.has_grad = true;
  if (on_applied) on_applied(parameter);
}

void WeightGrads::add(Parameter& parameter, const Tensor& grad) {
  if (!parameter.trainable) return;
  apply(parameter, [&grad](GradSlot slot) {
    if (slot.beta == 0.0) {
      slot.main_grad.copy_(grad);
    } else {
      slot.main_grad.add_(grad);
    }
  });
}

void WeightGrads::defer(Parameter& parameter, int64_t bytes, std::function<void(GradSlot)> compute) {
  if (!parameter.trainable) return;
  if (mode_ == Mode::kNow) {
    apply(parameter, compute);
    return;
  }
  deferred_.push_back({&parameter, bytes, std::move(compute)});
  deferred_bytes_ += bytes;
}

void WeightGrads::run_deferred() {
  // A queued function frees what it holds as soon as it has run.
  for (Deferred& item : deferred_) {
    apply(*item.parameter, item.compute);
    item.compute = nullptr;
    deferred_bytes_ -= item.bytes;
  }
  deferred_.clear();
}

}  // namespace phalanx
