// File: phalanx/kernels/norm/norm_ref.h
//
// Purpose: the norms by plain ATen operations: any device and dtype, and the oracle of the tests.
// Contract: as norm.h, whose functions have checked the arguments. norm_forward_ref is differentiable by autograd.
#pragma once

#include "phalanx/kernels/norm/norm.h"

namespace phalanx::kernels {

NormForward norm_forward_ref(const Tensor& x, const Tensor& weight, const Tensor& bias, const NormSpec& spec);
Tensor norm_apply_ref(const Tensor& x, const Tensor& mean, const Tensor& rstd, const Tensor& weight,
                      const Tensor& bias, const NormSpec& spec);
NormBackward norm_backward_ref(const Tensor& dy, const Tensor& x, const Tensor& mean, const Tensor& rstd,
                               const Tensor& weight, bool has_bias, const NormSpec& spec);

}  // namespace phalanx::kernels
