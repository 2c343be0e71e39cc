// File: phalanx/kernels/ssd/ssd_chunk.h
//
// Purpose: the chunked form on the CPU: chunk after chunk, the heads of a block one after the other while their
//   states, B and C stay in the cache.
// Contract: T is float or double, the dtype of every tensor here; rows of x, dy, B, C and of the gradients may be
//   strided, delta, slope and states are contiguous. A task is a sample and a block of heads of one group; blocks
//   depend on shapes only, and what is summed over blocks or samples is summed in their order: the bits do not
//   depend on the thread count.
// Equations: models.md 2.3 and 2.4. No result is ever the difference of two larger sums.
#pragma once

#include <ATen/core/Tensor.h>

namespace phalanx::kernels {

using at::Tensor;

struct SsdChunkInputs {
  int64_t chunk = 0;
  Tensor x;
  Tensor delta;
  Tensor B;
  Tensor C;
  Tensor A;  // [H]
  Tensor D;
  Tensor document;
  bool has_initial = false;  // states[:, 0] is not all zeros
};

// states[:, 0] is given. Without y only the other states and, where it is defined, the final one are made.
template <typename T>
void ssd_chunk_forward(const SsdChunkInputs& in, const Tensor& y, const Tensor& states,
                       const Tensor& final_state);

struct SsdChunkGradients {
  Tensor dx;
  Tensor ddt;
  Tensor dB;
  Tensor dC;
  Tensor heads;     // fp64 [B, H, 3], out: of dt_bias, A and D
  Tensor dinitial;  // [B, H, P, N] or undefined
};

// `slope` is the derivative of delta by dt; dfinal may be undefined.
template <typename T>
void ssd_chunk_backward(const SsdChunkInputs& in, const Tensor& dy, const Tensor& dfinal,
                        const Tensor& states, const Tensor& slope, const SsdChunkGradients& out);

}  // namespace phalanx::kernels
