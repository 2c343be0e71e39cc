// File: phalanx/nn/head.h
//
// Purpose: the last module of a model: logits and the per-token loss, fused; logits alone in step.
// Equations: nll_t = logsumexp(x_t W^T) - x_t . W[label_t] over the true vocabulary;  loss = sum_t w_t nll_t
//   with w = Batch::loss_weight;  dx_t = w_t p_t W;  dW = sum_t w_t p_t^T x_t, where p_t = softmax_t - onehot_t.
// Shapes: x [T, H], W [V padded, H]; forward returns nll [T], step logits [T, V]; fp32 (fp64 for fp64).
//   Over a tensor group W holds this rank's Vp / n rows; nll and logits are whole, and equal, on every rank. With sharded
//   rows x and dx are [T / n, H]: forward gathers x and scatters the sum of dx. nll, labels and weights have all T rows.
// Contract: the weight of every row is known before forward, so forward already makes dx (stashed) and adds
//   dW to the main gradient: one chunk of logits serves both, three matrix products instead of four. Hence
//   backward accepts only dy = batch.loss_weight; it returns the stashed dx and reports the use of W to
//   grads.on_applied. Where at most three quarters of the rows count, on a CPU, the others are left out: their nll and dx
//   are 0. Without a stash or without loss_weight: nll only. A tied W is the token embedding's
//   Parameter; this writes first.
// Source: kernels/linear_cross_entropy/linear_cross_entropy.h.
#pragma once

#include "phalanx/comm/group.h"
#include "phalanx/kernels/gemm/gemm.h"
#include "phalanx/nn/module.h"

namespace phalanx::nn {

// Rows whose logits exist at a time: 512 x 50257 fp32 is 103 MB.
inline constexpr int64_t kHeadChunkRows = 512;

class LossHead : public Module {
 public:
  LossHead(Parameter* weight, int64_t valid_vocab, const kernels::Gemm& gemm, comm::Group& group,
           int64_t chunk_rows = kHeadChunkRows);
  Tensor forward(const Tensor& x_TH, const Batch& batch, Side& side, Stash& stash) override;
  Tensor backward(const Tensor& dy_T, const Batch& batch, Side& side, Stash& stash,
                  WeightGrads& grads) override;
  Tensor step(const Tensor& x_TH, const Batch& batch, Side& side, Cache& cache) override;
  void visit_parameters(const ParameterVisitor& visit) override { visit(*weight_); }

 protected:
  Parameter* weight_;
  int64_t valid_vocab_;
  const kernels::Gemm* gemm_;
  comm::Group* group_;
  int64_t chunk_rows_;
};

}  // namespace phalanx::nn
