// File: phalanx/kernels/gated_norm/gated_norm_ref.h
//
// Purpose: the gated norm by plain ATen operations: any device and dtype, and the oracle of the tests.
// Contract: as gated_norm.h, whose functions have checked the arguments. gated_norm_forward_ref wants whole norm groups and
//   is differentiable by autograd. The halves before and after the collective take and give [T, n]: squares and products are
//   sums over this rank's channels of each group it touches, and gradients want those of all ranks.
#pragma once

#include "phalanx/kernels/gated_norm/gated_norm.h"

namespace phalanx::kernels {

GatedNormForward gated_norm_forward_ref(const Tensor& y, const Tensor& z, const Tensor& weight,
                                        const GatedNormSpec& spec);

Tensor gated_norm_squares_ref(const Tensor& y, const Tensor& z, const GatedNormSpec& spec);
Tensor gated_norm_rstd_ref(const Tensor& squares, const GatedNormSpec& spec);
Tensor gated_norm_apply_ref(const Tensor& y, const Tensor& z, const Tensor& rstd, const Tensor& weight,
                            const GatedNormSpec& spec);

Tensor gated_norm_products_ref(const Tensor& dout, const Tensor& y, const Tensor& z, const Tensor& rstd,
                               const Tensor& weight, const GatedNormSpec& spec);
GatedNormBackward gated_norm_gradients_ref(const Tensor& dout, const Tensor& y, const Tensor& z,
                                           const Tensor& rstd, const Tensor& weight, const Tensor& products,
                                           const GatedNormSpec& spec, Tensor dz);

}  // namespace phalanx::kernels
