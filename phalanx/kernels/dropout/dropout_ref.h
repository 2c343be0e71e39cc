// File: phalanx/kernels/dropout/dropout_ref.h
//
// Purpose: the mask of dropout by plain ATen operations: any device, and the oracle of the tests.
// Contract: bit-equal to the CPU bodies.
#pragma once

#include "phalanx/kernels/dropout/dropout.h"

namespace phalanx::kernels {

// True where the element is dropped; the shape of element_index (int64, below 2^50).
Tensor dropout_mask_ref(const Tensor& element_index, const RandomKey& key, uint32_t threshold);

}  // namespace phalanx::kernels
