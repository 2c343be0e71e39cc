// File: phalanx/kernels/gemm/gemm_few_rows.h
//
// Purpose: the route kFewRows: at most kGemmFewRows rows times a transposed b on the CPU, at the speed of reading b.
// Contract: fp32 and bf16 operands; c of their dtype or fp32; beta is 0 or 1. Sums are fp32 and rounded once. The
//   bits of a row of c depend neither on the other rows, nor on the thread count, nor on the width of the vectors
//   where they have a fused multiply-add.
#pragma once

#include <ATen/core/Tensor.h>

namespace phalanx::kernels {

using at::Tensor;

constexpr int64_t kGemmFewRows = 16;

bool gemm_few_rows_takes(const Tensor& a, const Tensor& b);
void gemm_few_rows(const Tensor& a, const Tensor& b, Tensor& c, double beta);

}  // namespace phalanx::kernels
