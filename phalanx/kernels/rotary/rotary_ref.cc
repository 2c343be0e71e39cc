#include "phalanx/kernels/rotary/rotary_ref.h"

#include <ATen/ATen.h>

namespace phalanx::kernels {

Tensor rotary_ref(const Tensor& x, const Tensor& cos, const Tensor& sin, bool inverse) {
  const int64_t half = cos.size(1);
  const Tensor c = cos.unsqueeze(1);
  const Tensor s = inverse ? sin.neg().unsqueeze(1) : sin.unsqueeze(1);
  const Tensor first = x.narrow(2, 0, half).to(cos.scalar_type());
  const Tensor second = x.narrow(2, half, half).to(cos.scalar_type());
  const Tensor turned = at::cat({first * c - second * s, second * c + first * s}, 2).to(x.scalar_type());
  return at::cat({turned, x.narrow(2, 2 * half, x.size(2) - 2 * half)}, 2);
}

}  // namespace phalanx::kernels
