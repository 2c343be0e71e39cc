// File: phalanx/kernels/rotary/rotary_ref.h
//
// Purpose: rotary embedding by plain ATen operations: the twin of the CPU body, the path of other devices, and the
//   oracle of the tests (differentiable by autograd).
// Shapes: x [T, A, D]; cos and sin [T, r/2], one row for each row of x; returns a fresh tensor.
// Dtypes: arithmetic in the dtype of cos.
#pragma once

#include <ATen/core/Tensor.h>

namespace phalanx::kernels {

using at::Tensor;

Tensor rotary_ref(const Tensor& x, const Tensor& cos, const Tensor& sin, bool inverse);

}  // namespace phalanx::kernels
