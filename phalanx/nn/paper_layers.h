// File: phalanx/nn/paper_layers.h
//
// Purpose: the layers of a transformer as Korthikanti et al. 2022 count them: what they push is what section 4.1 of the paper
//   adds up, in tensors of the paper's kinds and sizes, and their backward reads just that. So its bytes can be measured; the
//   plain layers (attention.h, mlp.h, ..) compute the same and keep less.
// Stash of a layer, T tokens, h wide, a heads, rows s, tensor group t; activations of the model's dtype, masks of a byte:
//     attention  norm input, qkv input | q and k, softmax output, its mask, its dropout output, v, projection input | mask
//     MLP        norm input, up input | activation input, down input | mask
//     head       final norm input, head input, fp32 logits over the padded vocabulary; embedding: mask
//   In 16 bits: s b h (34 + 5 a s / h) a transformer layer. What stands between bars is split over the tensor group, the rest
//   too under sequence parallelism. `recompute_core` leaves out the softmax's three and computes them again.
// Contract: the same results as the plain layers up to rounding; nll to the bit. Norm statistics are computed again, for the
//   paper counts none. No norms of q and k, which it does not know. Slow: probabilities [s, s] of all heads exist.
// Source: Korthikanti et al. 2022, sections 4 and 5.
#pragma once

#include "phalanx/nn/attention.h"
#include "phalanx/nn/embedding.h"
#include "phalanx/nn/head.h"
#include "phalanx/nn/mlp.h"
#include "phalanx/nn/norm.h"
#include "phalanx/nn/residual.h"

namespace phalanx::nn {

class PaperAttention : public SelfAttention {
 public:
  PaperAttention(Parts parts, const AttentionShape& shape, bool recompute_core);
  Tensor forward(const Tensor& x_TH, const Batch& batch, Side& side, Stash& stash) override;
  Tensor backward(const Tensor& dy_TH, const Batch& batch, Side& side, Stash& stash,
                  WeightGrads& grads) override;

 private:
  // [B, A, S, S]. Without dropout `mask` is undefined and `dropped` is `softmax`.
  struct Core {
    Tensor softmax;
    Tensor mask;
    Tensor dropped;
  };
  Core compute_core(const kernels::AttentionInputs& in, const kernels::AttentionSpec& spec) const;
  void push_core(const Core& core, Stash& stash) const;
  Core pop_core(Stash& stash, bool dropout) const;

  bool recompute_core_;
};

class PaperMlp : public Mlp {
 public:
  using Mlp::Mlp;
  Tensor forward(const Tensor& x_TH, const Batch& batch, Side& side, Stash& stash) override;
  Tensor backward(const Tensor& dy_TH, const Batch& batch, Side& side, Stash& stash,
                  WeightGrads& grads) override;
};

class PaperResidual : public ResidualLayer {
 public:
  using ResidualLayer::ResidualLayer;
  Tensor forward(const Tensor& x_TH, const Batch& batch, Side& side, Stash& stash) override;
  Tensor backward(const Tensor& dy_TH, const Batch& batch, Side& side, Stash& stash,
                  WeightGrads& grads) override;
};

class PaperEmbedding : public Embedding {
 public:
  using Embedding::Embedding;
  Tensor forward(const Tensor& x, const Batch& batch, Side& side, Stash& stash) override;
  Tensor backward(const Tensor& dy_TH, const Batch& batch, Side& side, Stash& stash,
                  WeightGrads& grads) override;
};

class PaperFinalNorm : public FinalNorm {
 public:
  using FinalNorm::FinalNorm;
  Tensor forward(const Tensor& x_TH, const Batch& batch, Side& side, Stash& stash) override;
  Tensor backward(const Tensor& dy_TH, const Batch& batch, Side& side, Stash& stash,
                  WeightGrads& grads) override;
};

class PaperHead : public LossHead {
 public:
  using LossHead::LossHead;
  Tensor forward(const Tensor& x_TH, const Batch& batch, Side& side, Stash& stash) override;
  Tensor backward(const Tensor& dy_T, const Batch& batch, Side& side, Stash& stash,
                  WeightGrads& grads) override;

 private:
  // [T, V padded / n], -inf where a column means no token.
  Tensor logits(const Tensor& whole_x) const;
  int64_t first_column() const;
};

}  // namespace phalanx::nn
