#include "phalanx/kernels/grad_norm/grad_norm_ref.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace phalanx::kernels {

Tensor sum_of_squares_ref(const Tensor& flat) {
  constexpr int64_t kChunk = 1 << 22;
  Tensor total = at::zeros({}, flat.options().dtype(at::kDouble));
  for (int64_t begin = 0; begin < flat.numel(); begin += kChunk) {
    const Tensor chunk = flat.narrow(0, begin, std::min(kChunk, flat.numel() - begin));
    total = total + chunk.to(at::kDouble).square().sum();
  }
  return total;
}

}  // namespace phalanx::kernels
