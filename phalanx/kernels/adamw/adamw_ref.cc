#include "phalanx/kernels/adamw/adamw_ref.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace phalanx::kernels {

void adamw_ref(Tensor param, const Tensor& grad, Tensor exp_avg, Tensor exp_avg_sq, const Tensor& scalars,
               const AdamWSpec& spec, Tensor compute_copy) {
  constexpr int64_t kChunk = 1 << 20;
  const Tensor lr = scalars[0];
  const Tensor grad_scale = scalars[1];
  const Tensor c1 = scalars[2];
  const Tensor c2 = scalars[3];
  for (int64_t begin = 0; begin < param.numel(); begin += kChunk) {
    const int64_t count = std::min(kChunk, param.numel() - begin);
    Tensor p = param.narrow(0, begin, count);
    Tensor m = exp_avg.narrow(0, begin, count);
    Tensor v = exp_avg_sq.narrow(0, begin, count);
    const Tensor g = grad.narrow(0, begin, count) * grad_scale;
    m.mul_(spec.beta1).add_(g, 1.0 - spec.beta1);
    v.mul_(spec.beta2).addcmul_(g, g, 1.0 - spec.beta2);
    const Tensor update = (m / c1) / ((v / c2).sqrt_().add_(spec.epsilon));
    p.mul_(1.0 - lr * spec.weight_decay).sub_(update * lr);
    if (compute_copy.defined()) compute_copy.narrow(0, begin, count).copy_(p);
  }
}

}  // namespace phalanx::kernels
