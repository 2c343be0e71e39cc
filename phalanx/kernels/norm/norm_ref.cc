#include "phalanx/kernels/norm/norm_ref.h"

#include <ATen/ATen.h>

#include "phalanx/kernels/arguments.h"

namespace phalanx::kernels {
namespace {

Tensor scale_of(const Tensor& weight, const Tensor& x, const NormSpec& spec) {
  const Tensor w = weight.to(arithmetic_dtype(x));
  return spec.one_plus ? w + 1.0 : w;
}

Tensor normalised(const Tensor& x, const Tensor& mean, const Tensor& rstd) {
  const Tensor wide = x.to(arithmetic_dtype(x));
  return (mean.defined() ? wide - mean : wide) * rstd;
}

// Sum over all dims but the last.
Tensor sum_rows(const Tensor& tensor) {
  return tensor.reshape({-1, tensor.size(-1)}).sum(0);
}

}  // namespace

NormForward norm_forward_ref(const Tensor& x, const Tensor& weight, const Tensor& bias,
                             const NormSpec& spec) {
  const Tensor wide = x.to(arithmetic_dtype(x));
  NormForward result;
  if (!spec.rms) result.mean = wide.mean(-1, /*keepdim=*/true);
  const Tensor centred = spec.rms ? wide : wide - result.mean;
  result.rstd = 1.0 / (centred.square().mean(-1, /*keepdim=*/true) + spec.epsilon).sqrt();
  result.y = norm_apply_ref(x, result.mean, result.rstd, weight, bias, spec);
  return result;
}

Tensor norm_apply_ref(const Tensor& x, const Tensor& mean, const Tensor& rstd, const Tensor& weight,
                      const Tensor& bias, const NormSpec& spec) {
  const Tensor y = normalised(x, mean, rstd) * scale_of(weight, x, spec);
  return (bias.defined() ? y + bias.to(y.scalar_type()) : y).to(x.scalar_type());
}

// With g = dy w and z = (x - mean) rstd:  dx = rstd (g - mean(g) - z mean(g z)); RMS norm has no mean(g).
NormBackward norm_backward_ref(const Tensor& dy, const Tensor& x, const Tensor& mean, const Tensor& rstd,
                               const Tensor& weight, bool has_bias, const NormSpec& spec) {
  const Tensor z = normalised(x, mean, rstd);
  const Tensor wide_dy = dy.to(z.scalar_type());
  const Tensor g = wide_dy * scale_of(weight, x, spec);
  Tensor inner = g - z * (g * z).mean(-1, /*keepdim=*/true);
  if (!spec.rms) inner = inner - g.mean(-1, /*keepdim=*/true);
  return {(inner * rstd).to(x.scalar_type()), sum_rows(wide_dy * z), has_bias ? sum_rows(wide_dy) : Tensor()};
}

}  // namespace phalanx::kernels
