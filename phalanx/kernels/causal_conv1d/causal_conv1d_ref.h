// File: phalanx/kernels/causal_conv1d/causal_conv1d_ref.h
//
// Purpose: the short convolution by plain ATen operations: any device and dtype, and the oracle of the tests.
// Contract: as causal_conv1d.h, whose functions have checked the arguments; at least one row. The forward is differentiable
//   by autograd.
#pragma once

#include "phalanx/kernels/causal_conv1d/causal_conv1d.h"

namespace phalanx::kernels {

Tensor causal_conv1d_forward_ref(const ConvInputs& in);
ConvGradients causal_conv1d_backward_ref(const Tensor& dy, const ConvInputs& in, Tensor dx);
Tensor causal_conv1d_step_ref(const Tensor& x, const Tensor& weight, const Tensor& bias,
                              const Tensor& windows, const Tensor& slot);

}  // namespace phalanx::kernels
