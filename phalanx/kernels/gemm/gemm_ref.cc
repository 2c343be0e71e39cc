#include <ATen/ATen.h>

#include "phalanx/kernels/gemm/gemm_routes.h"

namespace phalanx::kernels {

Tensor gemm_ref(const Tensor& a, const Tensor& b, const Tensor& c, double beta) {
  const Tensor product = at::mm(a.to(at::kDouble), b.to(at::kDouble));
  // Not beta * c + product: with beta = 0 whatever c holds, NaN included, must not count.
  return (beta == 0.0 ? product : product + c.to(at::kDouble)).to(c.scalar_type());
}

}  // namespace phalanx::kernels
