// File: phalanx/kernels/activation/activation.h
//
// Purpose: the MLP's activation. Plain kinds map [T, F] to [T, F]; gated kinds map [T, 2F] = [gate | up] to [T, F].
// Equations: gelu 0.5 x (1 + erf(x / sqrt 2)); gelu_tanh 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)));
//   swiglu silu(gate) * up; geglu gelu_tanh(gate) * up; squared_relu max(x, 0)^2.
// Dtypes: any floating dtype; inner arithmetic of half inputs in fp32.
// Sources: Hendrycks & Gimpel 2016; Shazeer 2020; So et al. 2021.
#pragma once

#include <ATen/core/Tensor.h>

#include "phalanx/arch/model_config.h"

namespace phalanx::kernels {

using at::Tensor;

Tensor activation_forward(const Tensor& x, ActivationKind kind);
// dx has the shape of x.
Tensor activation_backward(const Tensor& dy, const Tensor& x, ActivationKind kind);

}  // namespace phalanx::kernels
