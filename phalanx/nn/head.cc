#include "phalanx/nn/head.h"

#include <ATen/ATen.h>

#include "phalanx/base/error.h"
#include "phalanx/kernels/linear_cross_entropy/linear_cross_entropy.h"
#include "phalanx/nn/tensor_parallel.h"

namespace phalanx::nn {
namespace {

#ifdef PHALANX_DEBUG
constexpr bool kCompareValues = true;
#else
constexpr bool kCompareValues = false;
#endif

// Rows of prompts and padding do not count, and would cost three products each. Undefined where most rows count, and on a
// device, which would have to be waited for.
Tensor counted_rows(const Tensor& loss_weight) {
  if (!loss_weight.device().is_cpu()) return {};
  const Tensor counts = loss_weight.ne(0);
  if (4 * counts.sum().item<int64_t>() > 3 * counts.numel()) return {};
  return counts.nonzero().squeeze(1);
}

Tensor spread(const Tensor& some, const Tensor& rows, const Tensor& like) {
  return at::zeros(like.sizes(), some.options()).index_copy_(0, rows, some);
}

}  // namespace

LossHead::LossHead(Parameter* weight, int64_t valid_vocab, const kernels::Gemm& gemm, comm::Group& group,
                   int64_t chunk_rows)
    : weight_(weight), valid_vocab_(valid_vocab), gemm_(&gemm), group_(&group), chunk_rows_(chunk_rows) {
  PHALANX_CHECK(weight != nullptr, "the head needs its weight");
}

Tensor LossHead::forward(const Tensor& x_TH, const Batch& batch, Side&, Stash& stash) {
  const bool sharded = batch.rows_are_sharded();
  const Tensor whole_x = sharded ? start_gather(x_TH, *group_).take() : x_TH;
  if (stash.is_null() || !batch.loss_weight.defined()) {
    return kernels::linear_cross_entropy(whole_x, weight_->full(), batch.labels, /*loss_weight=*/{},
                                         /*dweight=*/nullptr, valid_vocab_, *gemm_, chunk_rows_, group_)
        .nll;
  }
  GradSlot slot{weight_->main_grad, weight_->has_grad ? 1.0 : 0.0};
  const Tensor rows = counted_rows(batch.loss_weight);
  const auto counted = [&rows](const Tensor& all) {
    return rows.defined() ? all.index_select(0, rows) : all;
  };
  kernels::LinearCrossEntropy result = kernels::linear_cross_entropy(
      counted(whole_x), weight_->full(), counted(batch.labels), counted(batch.loss_weight),
      weight_->trainable ? &slot : nullptr, valid_vocab_, *gemm_, chunk_rows_, group_);
  if (rows.defined()) {
    result.nll = spread(result.nll, rows, batch.labels);
    result.dx = spread(result.dx, rows, whole_x);
  }
  if (weight_->trainable) weight_->has_grad = true;
  stash.push(start_sum(std::move(result.dx), *group_, sharded).take(), "head input gradient");
  return result.nll;
}

Tensor LossHead::backward(const Tensor& dy_T, const Batch& batch, Side&, Stash& stash, WeightGrads& grads) {
  PHALANX_CHECK(batch.loss_weight.defined(), "backward of the head without row weights");
  PHALANX_CHECK(dy_T.sizes() == batch.loss_weight.sizes(), "the head's dy is the batch's loss_weight");
  if (kCompareValues) {
    PHALANX_CHECK(at::equal(dy_T, batch.loss_weight), "the head's dy is the batch's loss_weight");
  }
  if (weight_->trainable && grads.on_applied) grads.on_applied(*weight_);
  return stash.pop();
}

Tensor LossHead::step(const Tensor& x_TH, const Batch& batch, Side&, Cache&) {
  const Tensor& rows = batch.logit_rows;
  const Tensor x = rows.defined() ? x_TH.index_select(0, rows) : x_TH;
  return kernels::head_logits(x, weight_->full(), valid_vocab_, *gemm_, group_);
}

}  // namespace phalanx::nn
