// File: phalanx/kernels/linear_cross_entropy/linear_cross_entropy_ref.h
//
// Purpose: the loss by plain ATen operations. The first function is the oracle: the whole [T, V] at once,
//   differentiable by autograd. The others are the twins of the CPU bodies, for other devices: one chunk's logits in
//   place; where ranks share the vocabulary in two halves, as linear_cross_entropy_cpu.h says.
#pragma once

#include <ATen/core/Tensor.h>

namespace phalanx::kernels {

using at::Tensor;

// nll [T]; arithmetic in the dtype of x.
Tensor linear_cross_entropy_ref(const Tensor& x, const Tensor& weight, const Tensor& labels,
                                int64_t valid_vocab);

// Writes nll; with loss_weight, logits [rows, padded] become the gradient (see linear_cross_entropy_cpu.h).
void head_chunk_ref(Tensor logits, const Tensor& labels, const Tensor& loss_weight, int64_t valid_vocab,
                    Tensor nll);

// This rank's [rows, 3] fp64 statistics; its columns begin at label `first` and `valid` of them are real.
Tensor head_statistics_ref(const Tensor& logits, const Tensor& labels, int64_t first, int64_t valid);
// `all` [ranks, rows, 3].
void head_gradients_ref(Tensor logits, const Tensor& labels, const Tensor& loss_weight, int64_t first,
                        int64_t valid, const Tensor& all, Tensor nll);

}  // namespace phalanx::kernels
