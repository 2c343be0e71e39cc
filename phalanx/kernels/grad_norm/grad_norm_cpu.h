// File: phalanx/kernels/grad_norm/grad_norm_cpu.h
//
// Purpose: the CPU body of sum_of_squares: one block, in an order that only the block's length decides.
// Contract: sums in fp64 over a fixed number of lanes, so the vector width of the machine does not matter either.
#pragma once

#include <cstdint>

namespace phalanx::kernels {

template <typename T>
double block_sum_of_squares(const T* x, int64_t n);

}  // namespace phalanx::kernels
