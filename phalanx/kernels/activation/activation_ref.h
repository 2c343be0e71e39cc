// File: phalanx/kernels/activation/activation_ref.h
//
// Purpose: the activations written out in elementary ATen operations: any device, differentiable by autograd; the
//   oracle of the tests.
// Contract: as activation.h.
#pragma once

#include "phalanx/kernels/activation/activation.h"

namespace phalanx::kernels {

Tensor activation_forward_ref(const Tensor& x, ActivationKind kind);

}  // namespace phalanx::kernels
