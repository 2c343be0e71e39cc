// File: phalanx/kernels/grad_norm/grad_norm.h
//
// Purpose: the sum of squares of a flat gradient, for the global norm.
// Contract: fp64 result [] on the tensor's device. The order of summation is fixed (blocks of a fixed size, then the
//   blocks in order), so the bits do not depend on the thread count. NaN and infinity come through.
#pragma once

#include <ATen/core/Tensor.h>

namespace phalanx::kernels {

using at::Tensor;

Tensor sum_of_squares(const Tensor& flat);

}  // namespace phalanx::kernels
