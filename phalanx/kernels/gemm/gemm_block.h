// File: phalanx/kernels/gemm/gemm_block.h
//
// Purpose: half operands into an fp32 c on the CPU, without rounding in between: LibTorch's small-block product
//   (oneDNN's brgemm), which adds into fp32, over blocks of packed operands.
// Contract: a [M, K], b [K, N] of one half dtype, c fp32 and row-major; beta is 0 or 1. An entry of c is summed over
//   blocks of K in order, so the bits do not depend on the thread count.
#pragma once

#include <ATen/core/Tensor.h>

namespace phalanx::kernels {

using at::Tensor;

// False on a CPU without products of that dtype.
bool gemm_block_serves(at::ScalarType dtype);
void gemm_block(const Tensor& a, const Tensor& b, Tensor& c, double beta);

}  // namespace phalanx::kernels
