#include "phalanx/nn/mlp.h"

#include <ATen/ATen.h>

#include "phalanx/kernels/activation/activation.h"

namespace phalanx::nn {

Mlp::Mlp(Norm norm, Linear up, Linear down, ActivationKind activation)
    : norm_(std::move(norm)), up_(std::move(up)), down_(std::move(down)), activation_(activation) {}

Tensor Mlp::forward(const Tensor& x_TH, const Batch& batch, Side&, Stash& stash) {
  const bool sharded = batch.rows_are_sharded();
  Norm::Output normed = norm_.forward(x_TH, stash);
  norm_.push_output(normed, stash);
  const Tensor h_TF = up_.forward(normed.y, sharded);
  normed = {};  // y is not needed any more: free it before the activation
  stash.push(h_TF, "mlp pre-activation");
  const auto activate = [kind = activation_](const std::vector<Tensor>& sources) {
    return kernels::activation_forward(sources[0], kind);
  };
  stash.push_rebuild({h_TF}, activate, "mlp activation");
  return down_.forward(activate({h_TF}), sharded);
}

Tensor Mlp::backward(const Tensor& dy_TH, const Batch& batch, Side&, Stash& stash, WeightGrads& grads) {
  const bool sharded = batch.rows_are_sharded();
  Tensor grad = down_.backward(dy_TH, /*x=*/stash.pop(), grads, sharded);
  grad = kernels::activation_backward(grad, /*x=*/stash.pop(), activation_);
  grad = up_.backward(grad, /*x=*/stash.pop(), grads, sharded);
  return norm_.backward(grad, stash, grads);
}

Tensor Mlp::step(const Tensor& x_TH, const Batch& batch, Side& side, Cache&) {
  Stash none = Stash::null();
  return forward(x_TH, batch, side, none);
}

void Mlp::visit_parameters(const ParameterVisitor& visit) {
  norm_.visit_parameters(visit);
  up_.visit_parameters(visit);
  down_.visit_parameters(visit);
}

}  // namespace phalanx::nn
