#include "phalanx/kernels/linear_cross_entropy/linear_cross_entropy_ref.h"

#include <ATen/ATen.h>

#include <limits>

namespace phalanx::kernels {
namespace {

// Where, not a product: a masked row stays 0 whatever its logits were.
void weigh_rows(Tensor& gradient, const Tensor& loss_weight, const Tensor& unlabelled) {
  const Tensor counted = loss_weight.masked_fill(unlabelled, 0.0).unsqueeze(1);
  gradient.copy_(at::where(counted == 0.0, at::zeros({}, gradient.options()), gradient * counted));
}

}  // namespace

Tensor linear_cross_entropy_ref(const Tensor& x, const Tensor& weight, const Tensor& labels,
                                int64_t valid_vocab) {
  const Tensor logits = x.matmul(weight.narrow(0, 0, valid_vocab).t());
  const Tensor picked = logits.gather(1, labels.clamp_min(0).unsqueeze(1)).squeeze(1);
  const Tensor nll = logits.logsumexp(1) - picked;
  return at::where(labels < 0, at::zeros({}, nll.options()), nll);
}

void head_chunk_ref(Tensor logits, const Tensor& labels, const Tensor& loss_weight, int64_t valid_vocab,
                    Tensor nll) {
  const Tensor unlabelled = labels < 0;
  const Tensor label = labels.clamp_min(0).unsqueeze(1);
  logits.narrow(1, valid_vocab, logits.size(1) - valid_vocab).fill_(-std::numeric_limits<double>::infinity());
  const Tensor lse = logits.logsumexp(1, /*keepdim=*/true);
  nll.copy_((lse - logits.gather(1, label)).squeeze(1).masked_fill_(unlabelled, 0.0));
  if (!loss_weight.defined()) return;
  logits.sub_(lse).exp_();
  logits.scatter_add_(1, label, at::full_like(lse, -1.0));
  weigh_rows(logits, loss_weight, unlabelled);
}

Tensor head_statistics_ref(const Tensor& logits, const Tensor& labels, int64_t first, int64_t valid) {
  const Tensor real = logits.narrow(1, 0, valid);
  const double lowest = -std::numeric_limits<double>::infinity();
  const Tensor statistics = at::zeros({logits.size(0), 3}, logits.options().dtype(at::kDouble));
  if (valid == 0) {
    statistics.select(1, 0).fill_(lowest);
    return statistics;
  }
  const Tensor largest = real.amax(1, /*keepdim=*/true);
  statistics.select(1, 0).copy_(largest.squeeze(1));
  statistics.select(1, 1).copy_((real - largest).exp_().sum(1));
  const Tensor label = labels - first;
  const Tensor elsewhere = label.lt(0).logical_or_(label.ge(valid));
  const Tensor picked = real.gather(1, label.clamp(0, valid - 1).unsqueeze(1)).squeeze(1);
  statistics.select(1, 2).copy_(picked.masked_fill_(elsewhere, 0.0));
  return statistics;
}

void head_gradients_ref(Tensor logits, const Tensor& labels, const Tensor& loss_weight, int64_t first,
                        int64_t valid, const Tensor& all, Tensor nll) {
  const Tensor largest = all.select(2, 0).amax(0);
  const Tensor sum = (all.select(2, 1) * (all.select(2, 0) - largest).exp_()).sum(0);
  const Tensor lse = largest + sum.log();
  const Tensor unlabelled = labels < 0;
  nll.copy_((lse - all.select(2, 2).sum(0)).masked_fill_(unlabelled, 0.0));
  if (!loss_weight.defined()) return;
  logits.narrow(1, valid, logits.size(1) - valid).zero_();
  if (valid == 0) return;
  Tensor real = logits.narrow(1, 0, valid);
  real.sub_(lse.unsqueeze(1)).exp_();
  const Tensor label = labels - first;
  const Tensor mine = label.ge(0).logical_and_(label.lt(valid));
  const Tensor minus_one = mine.to(logits.scalar_type()).neg_().unsqueeze(1);
  real.scatter_add_(1, label.clamp(0, valid - 1).unsqueeze(1), minus_one);
  weigh_rows(real, loss_weight, unlabelled);
}

}  // namespace phalanx::kernels
