#include "phalanx/nn/recompute.h"

#include <ATen/ATen.h>

#include "phalanx/base/error.h"

namespace phalanx::nn {

Tensor Recompute::forward(const Tensor& x_TH, const Batch& batch, Side& side, Stash& stash) {
  stash.push(x_TH, "recompute input");
  Stash none = Stash::null();
  return inner_->forward(x_TH, batch, side, none);
}

Tensor Recompute::backward(const Tensor& dy_TH, const Batch& batch, Side& side, Stash& stash,
                           WeightGrads& grads) {
  const Tensor x_TH = stash.pop();
  Stash fresh;
  inner_->forward(x_TH, batch, side, fresh);
  Tensor dx_TH = inner_->backward(dy_TH, batch, side, fresh, grads);
  PHALANX_CHECK(fresh.empty(), "backward popped less than forward pushed");
  return dx_TH;
}

Tensor Recompute::step(const Tensor& x_TH, const Batch& batch, Side& side, Cache& cache) {
  return inner_->step(x_TH, batch, side, cache);
}

}  // namespace phalanx::nn
