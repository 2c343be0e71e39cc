// File: phalanx/kernels/ssd/ssd_ref.h
//
// Purpose: the recurrence itself, row by row in plain ATen operations: any device and dtype, and the oracle of
//   the tests.
// Contract: as ssd.h, whose functions have checked the arguments. ssd_forward_ref and ssd_delta are differentiable by
//   autograd; ssd_backward_ref is the recurrence's adjoint, run from the last row to the first.
#pragma once

#include "phalanx/kernels/ssd/ssd.h"

namespace phalanx::kernels {

inline constexpr double kSoftplusThreshold = 20.0;  // above it softplus is the identity

// delta of dt [.., H], in the arithmetic's dtype.
Tensor ssd_delta(const Tensor& dt, const Tensor& dt_bias, const SsdSpec& spec);
// Its derivative by dt: 0 where the clamp holds it.
Tensor ssd_delta_slope(const Tensor& dt, const Tensor& dt_bias, const SsdSpec& spec);

SsdForward ssd_forward_ref(const SsdInputs& in, const SsdSpec& spec);
SsdGradients ssd_backward_ref(const Tensor& dy, const Tensor& dfinal, const SsdInputs& in,
                              const Tensor& states, const SsdSpec& spec, const SsdInputGradients& d);
Tensor ssd_step_ref(const SsdInputs& in, const SsdSpec& spec, const Tensor& states, const Tensor& slot);

}  // namespace phalanx::kernels
