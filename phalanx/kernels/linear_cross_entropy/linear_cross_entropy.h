// File: phalanx/kernels/linear_cross_entropy/linear_cross_entropy.h
//
// Purpose: the output head and the loss in one pass over chunks of tokens: the full [T, V] logits never exist.
// Equation: logits = x W^T over columns < valid_vocab (padding is -inf); nll_t = logsumexp(logits_t) - logits_t[label_t];
//   d nll_t / d logits_t = softmax(logits_t) - onehot(label_t).
// Shapes: x [T, H], weight [V_padded, H], labels [T] int64 (rows with loss_weight 0 may hold any value in range or -1);
//   nll [T] fp32 (fp64 for fp64), 0 where the label is -1; loss_weight [T] in the dtype of nll, or undefined.
// Contract: with loss_weight (= loss_scale / N on counted rows), the same chunk's logits also give dx = dlogits W and
//   dW += dlogits^T x, so the head costs three products instead of four. This needs the weight of each row before
//   forward, which DESIGN 2.8 provides. Log-sum-exp and gradients in fp32 (fp64 for fp64).
// Over a group: rank r holds rows r Vp / n .. of the weight. Of each chunk a rank knows, for every row, its largest logit m,
//   s = sum exp(logit - m) and the label's logit t (0 where another rank has it). One all-gather of these three numbers
//   gives every rank M = max m_r, S = sum_r s_r exp(m_r - M), nll = log S - (sum_r t_r - M), summed in rank order, so nll
//   is the same bits everywhere. dweight is complete; dx is this rank's part: the caller sums it over the group.
// Source: vocabulary-parallel loss of Megatron-LM; chunking as in Hsu et al. 2024 (Liger kernels).
#pragma once

#include <ATen/core/Tensor.h>

#include "phalanx/comm/group.h"
#include "phalanx/kernels/gemm/gemm.h"
#include "phalanx/tensor/weight_grads.h"

namespace phalanx::kernels {

using at::Tensor;

struct LinearCrossEntropy {
  Tensor nll;
  Tensor dx;  // undefined without loss_weight; in the dtype of x
};

// `dweight`: nullptr when the weight is frozen or no loss_weight is given. `valid_vocab` is the whole true vocabulary and
// labels lie in it. `group`: the ranks that share the vocabulary; nullptr is a group of one.
LinearCrossEntropy linear_cross_entropy(const Tensor& x, const Tensor& weight, const Tensor& labels,
                                        const Tensor& loss_weight, GradSlot* dweight, int64_t valid_vocab,
                                        const Gemm& gemm, int64_t chunk_rows, comm::Group* group = nullptr);

// Logits of a few rows, padding cut off: [T, valid_vocab] in fp32 (fp64 for fp64), whole on every rank. For generation.
Tensor head_logits(const Tensor& x, const Tensor& weight, int64_t valid_vocab, const Gemm& gemm,
                   comm::Group* group = nullptr);

}  // namespace phalanx::kernels
