// File: phalanx/kernels/attention/attention.h
//
// Purpose: causal attention with grouped queries, a sliding window, document boundaries and dropout.
// Equation: P = softmax(scale * Q K^T + mask) over keys; out = dropout(P) V. A key at index j of the sample is visible
//   to a query at index i when j <= i, i - j < window (if any) and document[j] == document[i] (if given).
// Shapes (B samples, S row length, A query heads, G key/value groups, D head size; A % G == 0, head a reads group
//   a / (A / G)): q [B, S, A, D], k and v [B, S, G, D], strided views allowed; out [B, S, A, D] contiguous;
//   lse [B, A, S] log-sum-exp in fp32 (fp64 for fp64); document [B, S] int64 or undefined; sample [B] int64.
// Dropout element index: ((sample * num_heads_global + first_head + a) * seq_length + i) * seq_length + j,
//   below 2^50 (base/philox.h); Error(kBadInput) beyond, where masks would repeat.
// Contract: the vendor's flash kernel serves dropout = 0 where it can; everything else goes through the reference,
//   which never keeps more than one sample's probabilities. Backward writes dq, dk, dv into the given (strided) tensors.
// Sources: Vaswani et al. 2017; Ainslie et al. 2023 (grouped queries); Dao 2023 (flash attention 2, backward from lse).
#pragma once

#include <ATen/core/Tensor.h>

#include "phalanx/base/philox.h"

namespace phalanx::kernels {

using at::Tensor;

struct AttentionSpec {
  double scale = 1.0;
  int64_t window = 0;  // 0: all earlier keys
  double dropout = 0.0;
  RandomKey key;                 // used when dropout > 0
  int64_t num_heads_global = 0;  // used when dropout > 0
  int64_t first_head = 0;
};

struct AttentionInputs {
  Tensor q;
  Tensor k;
  Tensor v;
  Tensor document;  // undefined: one document a sample
  Tensor sample;    // [B] index of the sample within the step; used when dropout > 0
};

struct AttentionForward {
  Tensor out;
  Tensor lse;
};

AttentionForward attention_forward(const AttentionInputs& in, const AttentionSpec& spec);
void attention_backward(const Tensor& dout, const AttentionInputs& in, const AttentionForward& saved,
                        const AttentionSpec& spec, Tensor dq, Tensor dk, Tensor dv);

// The same by plain ATen operations; differentiable by autograd, so it is also the test oracle.
AttentionForward attention_forward_ref(const AttentionInputs& in, const AttentionSpec& spec);
void attention_backward_ref(const Tensor& dout, const AttentionInputs& in, const AttentionForward& saved,
                            const AttentionSpec& spec, Tensor dq, Tensor dk, Tensor dv);

// Generation: n query rows of one sequence at indices first .. first + n - 1 against its keys 0 .. L - 1.
// q [n, A, D], k and v [L, G, D] with L >= first + n; out [n, A, D].
Tensor attention_step(const Tensor& q, const Tensor& k, const Tensor& v, int64_t first,
                      const AttentionSpec& spec);

// Generation: one new row of each of n sequences against all positions that a paged cache holds of it, the row's own being
// the last. q [n, A, D]; pages [capacity, page_size, 2 (key, value), G, D], contiguous; page_table [n, most pages] int64 on
// the CPU, row i lists the pages of sequence i in order; lengths [n] int64, at least 1. out [n, A, D] in q's dtype.
// fp32 and bf16 pages on the CPU are read once, where they lie; sums are fp32 (fp64 for fp64). The bits of a row depend
// neither on the other rows nor on the thread count. What lies in a page beyond the length is not read.
Tensor attention_decode(const Tensor& q, const Tensor& pages, const Tensor& page_table, const Tensor& lengths,
                        const AttentionSpec& spec);
// The same by gathering the pages and attention_step, on any device.
Tensor attention_decode_ref(const Tensor& q, const Tensor& pages, const Tensor& page_table,
                            const Tensor& lengths, const AttentionSpec& spec);

}  // namespace phalanx::kernels
