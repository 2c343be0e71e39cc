#include "phalanx/nn/recompute.h"

#include <ATen/ATen.h>

#include "phalanx/base/error.h"
#include "phalanx/nn/tensor_parallel.h"

namespace phalanx::nn {

// A copy: a view would keep all of x alive.
Tensor Recompute::piece_of(const Tensor& x_TH) const {
  const Tensor flat = x_TH.reshape({-1});
  const int64_t size = (flat.size(0) + group_->size() - 1) / group_->size();
  const int64_t begin = std::min(group_->rank() * size, flat.size(0));
  const int64_t count = std::min(size, flat.size(0) - begin);
  Tensor piece = at::zeros({size}, flat.options());
  piece.narrow(0, 0, count).copy_(flat.narrow(0, begin, count));
  return piece;
}

Tensor Recompute::whole_of(const Tensor& piece, at::IntArrayRef shape) const {
  const Tensor padded = start_gather(piece, *group_).take();
  return padded.narrow(0, 0, c10::multiply_integers(shape)).view(shape);
}

Tensor Recompute::forward(const Tensor& x_TH, const Batch& batch, Side& side, Stash& stash) {
  if (stash.keeps_all()) return inner_->forward(x_TH, batch, side, stash);
  if (!stash.is_null()) stash.push(shares() ? piece_of(x_TH) : x_TH, "recompute input");
  Stash none = Stash::null();
  return inner_->forward(x_TH, batch, side, none);
}

Tensor Recompute::backward(const Tensor& dy_TH, const Batch& batch, Side& side, Stash& stash,
                           WeightGrads& grads) {
  if (stash.keeps_all()) return inner_->backward(dy_TH, batch, side, stash, grads);
  Tensor x_TH = stash.pop();
  if (shares()) x_TH = whole_of(x_TH, dy_TH.sizes());
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
