#include "phalanx/kernels/linear_cross_entropy/linear_cross_entropy_ref.h"

#include <ATen/ATen.h>

#include <limits>

namespace phalanx::kernels {

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
  const Tensor counted = loss_weight.masked_fill(unlabelled, 0.0).unsqueeze(1);
  // Where, not a product: a masked row stays 0 whatever its logits were.
  logits.copy_(at::where(counted == 0.0, at::zeros({}, logits.options()), logits * counted));
}

}  // namespace phalanx::kernels
