#include "phalanx/kernels/activation/activation_ref.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

#include "phalanx/base/error.h"

namespace phalanx::kernels {
namespace {

Tensor gelu_exact(const Tensor& x) {
  return 0.5 * x * (1.0 + at::erf(x / std::numbers::sqrt2));
}

Tensor gelu_tanh(const Tensor& x) {
  const double scale = std::sqrt(2.0 / std::numbers::pi);
  return 0.5 * x * (1.0 + at::tanh(scale * (x + 0.044715 * x * x * x)));
}

Tensor swish(const Tensor& x) {
  return x / (1.0 + at::exp(-x));
}

Tensor apply(const Tensor& x, ActivationKind kind) {
  const int64_t half = x.size(1) / 2;
  switch (kind) {
    case ActivationKind::kGelu:
      return gelu_exact(x);
    case ActivationKind::kGeluTanh:
      return gelu_tanh(x);
    case ActivationKind::kSwiglu:
      return swish(x.narrow(1, 0, half)) * x.narrow(1, half, half);
    case ActivationKind::kGeglu:
      return gelu_tanh(x.narrow(1, 0, half)) * x.narrow(1, half, half);
    case ActivationKind::kSquaredRelu:
      return at::clamp_min(x, 0.0) * at::clamp_min(x, 0.0);
  }
  PHALANX_CHECK(false, "activation: unknown kind");
}

}  // namespace

Tensor activation_forward_ref(const Tensor& x, ActivationKind kind) {
  const bool is_half = x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kHalf;
  return apply(is_half ? x.to(at::kFloat) : x, kind).to(x.scalar_type());
}

}  // namespace phalanx::kernels
