#include "phalanx/nn/paper_layers.h"

#include <ATen/ATen.h>

#include <limits>

#include "phalanx/base/error.h"
#include "phalanx/kernels/activation/activation.h"
#include "phalanx/kernels/dropout/dropout.h"
#include "phalanx/kernels/linear_cross_entropy/linear_cross_entropy.h"
#include "phalanx/nn/tensor_parallel.h"

namespace phalanx::nn {
namespace {

// bool [rows, width]: the elements that dropout of the residual stream keeps.
Tensor keep_mask(const Batch& batch, RandomPurpose purpose, int layer, double p, int64_t width) {
  const Tensor token = batch.local(batch.token_id);
  const Tensor column = at::arange(width, token.options());
  return kernels::dropout_keep_mask(token.unsqueeze(1) * width + column, batch.random_key(purpose, layer), p);
}

}  // namespace

Tensor PaperMlp::forward(const Tensor& x_TH, const Batch& batch, Side&, Stash& stash) {
  const bool sharded = batch.rows_are_sharded();
  const Tensor normed = norm_.forward_of_input(x_TH, stash, "norm input");
  stash.push(normed, "up input");
  const Tensor h_TF = up_.forward(normed, sharded);
  stash.push(h_TF, "activation input");
  const Tensor a_TF = kernels::activation_forward(h_TF, activation_);
  stash.push(a_TF, "down input");
  return down_.forward(a_TF, sharded);
}

Tensor PaperMlp::backward(const Tensor& dy_TH, const Batch& batch, Side&, Stash& stash, WeightGrads& grads) {
  const bool sharded = batch.rows_are_sharded();
  Tensor grad = down_.backward(dy_TH, /*x=*/stash.pop(), grads, sharded);
  grad = kernels::activation_backward(grad, /*x=*/stash.pop(), activation_);
  grad = up_.backward(grad, /*x=*/stash.pop(), grads, sharded);
  return norm_.backward_of_input(grad, stash, grads);
}

Tensor PaperResidual::forward(const Tensor& x_TH, const Batch& batch, Side& side, Stash& stash) {
  Tensor y_TH = branch_->forward(x_TH, batch, side, stash);
  if (batch.training && dropout_ > 0.0) {
    const Tensor mask = keep_mask(batch, RandomPurpose::kHiddenDropout, index_, dropout_, hidden_size_);
    y_TH.mul_(mask).mul_(1.0 / (1.0 - dropout_));
    stash.push(mask, "dropout mask");
  }
  return y_TH.add_(x_TH);
}

Tensor PaperResidual::backward(const Tensor& dy_TH, const Batch& batch, Side& side, Stash& stash,
                               WeightGrads& grads) {
  PHALANX_CHECK(batch.row_shards == row_shards_, "rows are sharded as the gradients of the model expect");
  const bool drops = batch.training && dropout_ > 0.0;
  const Tensor dropped_TH = drops ? (dy_TH * stash.pop()).mul_(1.0 / (1.0 - dropout_)) : dy_TH;
  Tensor dx_TH = branch_->backward(dropped_TH, batch, side, stash, grads);
  return dx_TH.add_(dy_TH);
}

Tensor PaperEmbedding::forward(const Tensor&, const Batch& batch, Side&, Stash& stash) {
  Tensor y_TH = look_up(batch);
  if (!batch.training || dropout_ == 0.0) return y_TH;
  const Tensor mask = keep_mask(batch, RandomPurpose::kEmbeddingDropout, /*layer=*/0, dropout_, y_TH.size(1));
  stash.push(mask, "embedding dropout mask");
  return y_TH.mul_(mask).mul_(1.0 / (1.0 - dropout_));
}

Tensor PaperEmbedding::backward(const Tensor& dy_TH, const Batch& batch, Side&, Stash& stash,
                                WeightGrads& grads) {
  const bool drops = batch.training && dropout_ > 0.0;
  add_gradients(drops ? (dy_TH * stash.pop()).mul_(1.0 / (1.0 - dropout_)) : dy_TH, batch, grads);
  return {};
}

Tensor PaperFinalNorm::forward(const Tensor& x_TH, const Batch&, Side&, Stash& stash) {
  return norm_.forward_of_input(x_TH, stash, "final norm input");
}

Tensor PaperFinalNorm::backward(const Tensor& dy_TH, const Batch&, Side&, Stash& stash, WeightGrads& grads) {
  return norm_.backward_of_input(dy_TH, stash, grads);
}

int64_t PaperHead::first_column() const {
  return group_->rank() * weight_->full().size(0);
}

Tensor PaperHead::logits(const Tensor& whole_x) const {
  const at::ScalarType dtype = whole_x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  Tensor all = (*gemm_)(whole_x, weight_->full().t()).to(dtype);
  const int64_t valid = std::clamp<int64_t>(valid_vocab_ - first_column(), 0, all.size(1));
  all.narrow(1, valid, all.size(1) - valid).fill_(-std::numeric_limits<double>::infinity());
  return all;
}

Tensor PaperHead::forward(const Tensor& x_TH, const Batch& batch, Side&, Stash& stash) {
  const Tensor whole_x = batch.rows_are_sharded() ? start_gather(x_TH, *group_).take() : x_TH;
  if (!stash.is_null() && batch.loss_weight.defined()) {
    stash.push(x_TH, "head input");
    stash.push(logits(whole_x), "logits");
  }
  return kernels::linear_cross_entropy(whole_x, weight_->full(), batch.labels, /*loss_weight=*/{},
                                       /*dweight=*/nullptr, valid_vocab_, *gemm_, chunk_rows_, group_)
      .nll;
}

Tensor PaperHead::backward(const Tensor& dy_T, const Batch& batch, Side&, Stash& stash, WeightGrads& grads) {
  const bool sharded = batch.rows_are_sharded();
  Tensor dlogits = stash.pop();
  const Tensor x_TH = stash.pop();
  Tensor most = dlogits.amax(1, /*keepdim=*/true);
  if (group_->size() > 1) group_->all_reduce(most, comm::ReduceOp::kMax);
  dlogits = (dlogits - most).exp_();
  Tensor sum = dlogits.sum(1, /*keepdim=*/true);
  if (group_->size() > 1) group_->all_reduce(sum);
  // softmax - onehot, times the row's weight.
  const Tensor label = batch.labels - first_column();
  const Tensor elsewhere = label.lt(0).logical_or_(label.ge(dlogits.size(1)));
  const Tensor one = elsewhere.logical_not().to(dlogits.scalar_type()).neg_().unsqueeze(1);
  dlogits.div_(sum)
      .scatter_add_(1, label.masked_fill(elsewhere, 0).unsqueeze(1), one)
      .mul_(dy_T.unsqueeze(1));
  const Tensor d_TV = dlogits.to(x_TH.scalar_type());
  const Tensor whole_x = sharded ? start_gather(x_TH, *group_).take() : x_TH;
  grads.defer(*weight_, static_cast<int64_t>(d_TV.nbytes() + whole_x.nbytes()),
              [d_TV, whole_x, gemm = gemm_](GradSlot slot) {
                (*gemm)(d_TV.t(), whole_x, slot.main_grad, slot.beta);
              });
  return start_sum((*gemm_)(d_TV, weight_->full()), *group_, sharded).take();
}

}  // namespace phalanx::nn
