#include "phalanx/nn/embedding.h"

#include <ATen/ATen.h>

#include "phalanx/base/error.h"
#include "phalanx/kernels/dropout/dropout.h"
#include "phalanx/kernels/embedding/embedding.h"

namespace phalanx::nn {
namespace {

void add_rows(Parameter& table, const Tensor& dy_TH, const Tensor& ids_T, WeightGrads& grads) {
  grads.defer(table, static_cast<int64_t>(dy_TH.nbytes()), [dy_TH, ids_T](GradSlot slot) {
    if (slot.beta == 0.0) slot.main_grad.zero_();
    kernels::embedding_backward(dy_TH, ids_T, slot.main_grad);
  });
}

}  // namespace

Embedding::Embedding(Parameter* token, Parameter* position, double dropout)
    : token_(token), position_(position), dropout_(dropout) {
  PHALANX_CHECK(token != nullptr, "an embedding needs its table");
}

Tensor Embedding::look_up(const Batch& batch) const {
  Tensor y_TH = kernels::embedding_forward(batch.tokens, token_->full());
  if (position_ != nullptr) y_TH.add_(kernels::embedding_forward(batch.position, position_->full()));
  return y_TH;
}

Tensor Embedding::drop(const Tensor& x_TH, const Batch& batch) const {
  if (!batch.training || dropout_ == 0.0) return x_TH;
  const RandomKey key = batch.random_key(RandomPurpose::kEmbeddingDropout, /*layer=*/0);
  return kernels::dropout(x_TH, batch.token_id, key, dropout_, /*width=*/x_TH.size(1));
}

Tensor Embedding::forward(const Tensor&, const Batch& batch, Side&, Stash&) {
  return drop(look_up(batch), batch);
}

Tensor Embedding::backward(const Tensor& dy_TH, const Batch& batch, Side&, Stash&, WeightGrads& grads) {
  const Tensor dropped_TH = drop(dy_TH, batch);
  add_rows(*token_, dropped_TH, batch.tokens, grads);
  if (position_ != nullptr) add_rows(*position_, dropped_TH, batch.position, grads);
  return {};
}

Tensor Embedding::step(const Tensor&, const Batch& batch, Side&, Cache&) {
  return look_up(batch);
}

void Embedding::visit_parameters(const ParameterVisitor& visit) {
  visit(*token_);
  if (position_ != nullptr) visit(*position_);
}

}  // namespace phalanx::nn
