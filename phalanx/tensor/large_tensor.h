// File: phalanx/tensor/large_tensor.h
//
// Purpose: a flat tensor of zeros for weights, moments, keys and values: in huge pages where there are many (large_memory.h).
// Contract: like at::zeros({numel}, options); other devices than the CPU get just that.
#pragma once

#include <ATen/core/Tensor.h>

namespace phalanx {

at::Tensor large_zeros(int64_t numel, const at::TensorOptions& options);

}  // namespace phalanx
