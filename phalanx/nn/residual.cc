#include "phalanx/nn/residual.h"

#include <ATen/ATen.h>

#include "phalanx/base/error.h"
#include "phalanx/kernels/dropout/dropout.h"

namespace phalanx::nn {

ResidualLayer::ResidualLayer(ModulePtr branch, int index, int64_t hidden_size, double dropout,
                             int64_t row_shards)
    : branch_(std::move(branch)),
      index_(index),
      hidden_size_(hidden_size),
      dropout_(dropout),
      row_shards_(row_shards) {}

Tensor ResidualLayer::drop(const Tensor& x_TH, const Batch& batch) const {
  if (!batch.training || dropout_ == 0.0) return x_TH;
  const RandomKey key = batch.random_key(RandomPurpose::kHiddenDropout, index_);
  return kernels::dropout(x_TH, batch.local(batch.token_id), key, dropout_, hidden_size_);
}

Tensor ResidualLayer::forward(const Tensor& x_TH, const Batch& batch, Side& side, Stash& stash) {
  Tensor y_TH = drop(branch_->forward(x_TH, batch, side, stash), batch);
  return y_TH.add_(x_TH);
}

Tensor ResidualLayer::backward(const Tensor& dy_TH, const Batch& batch, Side& side, Stash& stash,
                               WeightGrads& grads) {
  PHALANX_CHECK(batch.row_shards == row_shards_, "rows are sharded as the gradients of the model expect");
  Tensor dx_TH = branch_->backward(drop(dy_TH, batch), batch, side, stash, grads);
  return dx_TH.add_(dy_TH);
}

Tensor ResidualLayer::step(const Tensor& x_TH, const Batch& batch, Side& side, Cache& cache) {
  Tensor y_TH = branch_->step(x_TH, batch, side, cache);
  return y_TH.add_(x_TH);
}

}  // namespace phalanx::nn
