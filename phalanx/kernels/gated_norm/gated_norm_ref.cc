#include "phalanx/kernels/gated_norm/gated_norm_ref.h"

#include <ATen/ATen.h>

namespace phalanx::kernels {
namespace {

Tensor wide(const Tensor& tensor) {
  return tensor.scalar_type() == at::kDouble ? tensor : tensor.to(at::kFloat);
}

Tensor open_gate(const Tensor& z) {
  return z * at::sigmoid(z);
}

// What is normalised.
Tensor norm_input(const Tensor& y, const Tensor& z, const GatedNormSpec& spec) {
  return spec.norm_before_gate ? wide(y) : wide(y) * open_gate(wide(z));
}

// Channels of the first group that another rank holds.
int64_t missing_before(const GatedNormSpec& spec) {
  return spec.first_channel % spec.group_size;
}

// Sums [T, n] over the channels of each group.
Tensor sum_groups(const Tensor& x, const GatedNormSpec& spec) {
  const int64_t before = missing_before(spec);
  const int64_t groups = (before + x.size(1) + spec.group_size - 1) / spec.group_size;
  const int64_t after = groups * spec.group_size - before - x.size(1);
  return at::constant_pad_nd(x, {before, after}).view({x.size(0), groups, spec.group_size}).sum(2);
}

// The value [T, n] of each channel's group.
Tensor spread(const Tensor& of_group, int64_t channels, const GatedNormSpec& spec) {
  const int64_t groups = of_group.size(1);
  return of_group.unsqueeze(2)
      .expand({-1, groups, spec.group_size})
      .reshape({-1, groups * spec.group_size})
      .narrow(1, missing_before(spec), channels);
}

// The gradient of the normalised value, before it meets the mean of the products.
Tensor inner_gradient(const Tensor& dout, const Tensor& z, const Tensor& weight, const GatedNormSpec& spec) {
  const Tensor g = wide(dout) * wide(weight);
  return spec.norm_before_gate ? g * open_gate(wide(z)) : g;
}

}  // namespace

GatedNormForward gated_norm_forward_ref(const Tensor& y, const Tensor& z, const Tensor& weight,
                                        const GatedNormSpec& spec) {
  const Tensor rstd = gated_norm_rstd_ref(gated_norm_squares_ref(y, z, spec), spec);
  return {gated_norm_apply_ref(y, z, rstd, weight, spec), rstd};
}

Tensor gated_norm_squares_ref(const Tensor& y, const Tensor& z, const GatedNormSpec& spec) {
  return sum_groups(norm_input(y, z, spec).square(), spec);
}

Tensor gated_norm_rstd_ref(const Tensor& squares, const GatedNormSpec& spec) {
  return 1.0 / (squares / static_cast<double>(spec.group_size) + spec.epsilon).sqrt();
}

Tensor gated_norm_apply_ref(const Tensor& y, const Tensor& z, const Tensor& rstd, const Tensor& weight,
                            const GatedNormSpec& spec) {
  const Tensor normed = norm_input(y, z, spec) * spread(rstd, y.size(1), spec) * wide(weight);
  return (spec.norm_before_gate ? normed * open_gate(wide(z)) : normed).to(y.scalar_type());
}

Tensor gated_norm_products_ref(const Tensor& dout, const Tensor& y, const Tensor& z, const Tensor& rstd,
                               const Tensor& weight, const GatedNormSpec& spec) {
  const Tensor n = norm_input(y, z, spec) * spread(rstd, y.size(1), spec);
  return sum_groups(inner_gradient(dout, z, weight, spec) * n, spec);
}

// With v what is normalised, n = v r and g' the gradient of n:  dv = r (g' - n mean(g' n)), the mean over the whole group.
GatedNormBackward gated_norm_gradients_ref(const Tensor& dout, const Tensor& y, const Tensor& z,
                                           const Tensor& rstd, const Tensor& weight, const Tensor& products,
                                           const GatedNormSpec& spec, Tensor dz) {
  const Tensor r = spread(rstd, y.size(1), spec);
  const Tensor mean = spread(products, y.size(1), spec) / static_cast<double>(spec.group_size);
  const Tensor n = norm_input(y, z, spec) * r;
  const Tensor g = wide(dout);
  const Tensor gate = wide(z);
  const Tensor s = at::sigmoid(gate);
  const Tensor slope = s * (1.0 + gate * (1.0 - s));
  const Tensor dv = r * (inner_gradient(dout, z, weight, spec) - n * mean);
  dz.copy_(spec.norm_before_gate ? g * (n * wide(weight)) * slope : dv * wide(y) * slope);
  const Tensor dy = spec.norm_before_gate ? dv : dv * open_gate(gate);
  const Tensor dweight = (spec.norm_before_gate ? g * open_gate(gate) : g) * n;
  return {dy.to(y.scalar_type()).contiguous(), dweight.sum(0)};
}

}  // namespace phalanx::kernels
