// File: phalanx/kernels/grad_norm/grad_norm_ref.h
//
// Purpose: the sum of squares by plain ATen operations, for any device and as the oracle of the tests.
// Contract: temporaries hold at most a fixed number of elements.
#pragma once

#include <ATen/core/Tensor.h>

namespace phalanx::kernels {

using at::Tensor;

Tensor sum_of_squares_ref(const Tensor& flat);

}  // namespace phalanx::kernels
