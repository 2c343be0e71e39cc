#include "phalanx/nn/embedding.h"

#include <ATen/ATen.h>

#include "phalanx/base/error.h"
#include "phalanx/kernels/dropout/dropout.h"
#include "phalanx/kernels/embedding/embedding.h"
#include "phalanx/nn/tensor_parallel.h"

namespace phalanx::nn {
namespace {

void add_to_rows(const Tensor& dy_TH, const Tensor& ids_T, GradSlot slot) {
  if (slot.beta == 0.0) slot.main_grad.zero_();
  kernels::embedding_backward(dy_TH, ids_T, slot.main_grad);
}

// `bytes`: 0 where another table holds the same dy.
void add_rows(Parameter& table, const Tensor& dy_TH, const Tensor& ids_T, int64_t bytes, WeightGrads& grads) {
  grads.defer(table, bytes, [dy_TH, ids_T](GradSlot slot) { add_to_rows(dy_TH, ids_T, slot); });
}

// Ids as rows of a rank's piece of the table. What lies elsewhere reads row 0, for the caller to blank.
struct Mine {
  Tensor ids;        // [T]
  Tensor elsewhere;  // [T, 1] bool
};

Mine rows_of_rank(const Tensor& tokens, int64_t rows, int rank) {
  const Tensor local = tokens - rank * rows;
  const Tensor elsewhere = local.lt(0).logical_or_(local.ge(rows));
  return {local.masked_fill(elsewhere, 0), elsewhere.unsqueeze(1)};
}

}  // namespace

Embedding::Embedding(Parameter* token, Parameter* position, double dropout, comm::Group& group)
    : token_(token), position_(position), dropout_(dropout), group_(&group) {
  PHALANX_CHECK(token != nullptr, "an embedding needs its table");
}

Tensor Embedding::look_up_tokens(const Batch& batch) const {
  if (group_->size() == 1) return kernels::embedding_forward(batch.tokens, token_->full());
  const Mine mine = rows_of_rank(batch.tokens, token_->full().size(0), group_->rank());
  Tensor y_TH = kernels::embedding_forward(mine.ids, token_->full()).masked_fill_(mine.elsewhere, 0.0);
  return start_sum(std::move(y_TH), *group_, batch.rows_are_sharded()).take();
}

Tensor Embedding::look_up(const Batch& batch) const {
  Tensor y_TH = look_up_tokens(batch);
  if (position_ != nullptr) {
    y_TH.add_(kernels::embedding_forward(batch.local(batch.position), position_->full()));
  }
  return y_TH;
}

Tensor Embedding::drop(const Tensor& x_TH, const Batch& batch) const {
  if (!batch.training || dropout_ == 0.0) return x_TH;
  const RandomKey key = batch.random_key(RandomPurpose::kEmbeddingDropout, /*layer=*/0);
  return kernels::dropout(x_TH, batch.local(batch.token_id), key, dropout_, /*width=*/x_TH.size(1));
}

Tensor Embedding::forward(const Tensor&, const Batch& batch, Side&, Stash&) {
  return drop(look_up(batch), batch);
}

void Embedding::add_token_gradient(const Tensor& dy_TH, const Batch& batch, WeightGrads& grads) const {
  if (group_->size() == 1) {
    return add_rows(*token_, dy_TH, batch.tokens, static_cast<int64_t>(dy_TH.nbytes()), grads);
  }
  grads.defer(
      *token_, static_cast<int64_t>(dy_TH.nbytes()),
      [dy_TH, tokens = batch.tokens, sharded = batch.rows_are_sharded(), group = group_](GradSlot slot) {
        const Mine mine = rows_of_rank(tokens, slot.main_grad.size(0), group->rank());
        const Tensor dy = sharded ? start_gather(dy_TH, *group).take() : dy_TH;
        add_to_rows(dy.masked_fill(mine.elsewhere, 0.0), mine.ids, slot);
      });
}

void Embedding::add_gradients(const Tensor& dropped_TH, const Batch& batch, WeightGrads& grads) const {
  add_token_gradient(dropped_TH, batch, grads);
  if (position_ == nullptr) return;
  const auto bytes = token_->trainable ? 0 : static_cast<int64_t>(dropped_TH.nbytes());
  add_rows(*position_, dropped_TH, batch.local(batch.position), bytes, grads);
}

Tensor Embedding::backward(const Tensor& dy_TH, const Batch& batch, Side&, Stash&, WeightGrads& grads) {
  add_gradients(drop(dy_TH, batch), batch, grads);
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
