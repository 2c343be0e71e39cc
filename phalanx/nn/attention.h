// File: phalanx/nn/attention.h
//
// Purpose: the self-attention branch of a residual layer, its norm included.
// Equations: y = norm(x);  [q | k | v] = y W_qkv^T + b_qkv;  q = rotary(norm_q(q)), k = rotary(norm_k(k)) if
//   asked;  o = attention(q, k, v), scale 1 / sqrt(D) (kernels/attention/attention.h);  out = o W_out^T + b.
// Shapes (A query heads, G key/value groups, D head size, B samples of S rows): x and out [T, H],
//   qkv [T, (A + 2G) D], o [T, A D], lse [B, A, S]. q, k, v are views of qkv; dq, dk, dv of one dqkv.
//   A and G are this rank's; with fewer groups than ranks, G = 1 and neighbours hold the same group. With sharded rows
//   x and out have T / n rows; everything between the two linears has all T.
// Stash: x, mean, rstd (y is rebuilt), qkv after rotary, o, lse. With norms of q and k: qkv before them and
//   their statistics; the normed and rotated q, k are rebuilt. Probabilities [S, S] are never kept.
// Contract: the causal index is the row's place in its sample (token_id % S); rotary sees Batch::position.
//   Dropout acts only when batch.training; the key's layer is the pattern index. step: rows of one slot are
//   consecutive and in order; their keys go into the cache, then they attend to all that it holds.
// Sources: Vaswani et al. 2017; Ainslie et al. 2023; Su et al. 2021; Korthikanti et al. 2022 (selective
//   recomputation).
#pragma once

#include <optional>

#include "phalanx/kernels/attention/attention.h"
#include "phalanx/kernels/rotary/rotary.h"
#include "phalanx/nn/linear.h"
#include "phalanx/nn/module.h"
#include "phalanx/nn/norm.h"

namespace phalanx::nn {

struct AttentionShape {
  int index = 0;            // in the pattern: the layer of the dropout key
  int64_t cache_layer = 0;  // in Cache
  int64_t num_heads = 0;    // of this rank, as the next two
  int64_t num_groups = 0;
  int64_t head_dim = 0;
  int64_t num_heads_global = 0;
  int64_t first_head = 0;
  int64_t window = 0;
  double dropout = 0.0;
  std::optional<kernels::RotarySpec> rotary;
};

class SelfAttention : public Module {
 public:
  struct Parts {
    Norm norm;
    Linear qkv;
    std::optional<Norm> q_norm;  // both or neither
    std::optional<Norm> k_norm;
    Linear out;
  };

  SelfAttention(Parts parts, const AttentionShape& shape);
  Tensor forward(const Tensor& x_TH, const Batch& batch, Side& side, Stash& stash) override;
  Tensor backward(const Tensor& dy_TH, const Batch& batch, Side& side, Stash& stash,
                  WeightGrads& grads) override;
  Tensor step(const Tensor& x_TH, const Batch& batch, Side& side, Cache& cache) override;
  void visit_parameters(const ParameterVisitor& visit) override;

 protected:
  struct Heads {
    Tensor q_TAD;
    Tensor k_TGD;
    Tensor v_TGD;
  };
  Heads split(const Tensor& qkv) const;
  void rotate(const Tensor& heads, const Tensor& position, bool inverse) const;
  // Norms and rotary on fresh qkv; pushes what pop_heads takes back.
  Heads push_heads(const Tensor& qkv, const Batch& batch, Stash& stash) const;
  Heads pop_heads(Stash& stash) const;
  kernels::AttentionInputs inputs(const Heads& heads, const Batch& batch) const;
  kernels::AttentionSpec spec(const Batch& batch) const;

  Parts parts_;
  AttentionShape shape_;
};

}  // namespace phalanx::nn
