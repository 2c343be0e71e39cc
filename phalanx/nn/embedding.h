// File: phalanx/nn/embedding.h
//
// Purpose: the first module of a model: token rows, plus learned positions, plus dropout.
// Equations: y_t = dropout(W_token[tokens_t] + W_position[position_t]);  dW[i] += sum of dropout(dy_t) over
//   the rows t that read row i, in row order (deterministic).
//   Over a tensor group each rank holds Vp / n rows of W_token: rows of other ranks give zero, the sum over the group
//   gives y, and each rank keeps the gradients of its own rows.
// Shapes: W_token [V padded, H] (this rank's rows), W_position [P, H] or absent, y [T, H]; with sharded rows [T / n, H].
// Contract: ignores x and returns an undefined dx. Gradients go straight into the main gradients (no [V, H]
//   temporary); the first contribution of a step zeroes them first. When the token weight is tied with the
//   head, the head has written before and this adds. Nothing is stashed: ids are columns of the batch.
#pragma once

#include "phalanx/comm/group.h"
#include "phalanx/nn/module.h"

namespace phalanx::nn {

class Embedding : public Module {
 public:
  // `position` may be nullptr.
  Embedding(Parameter* token, Parameter* position, double dropout, comm::Group& group);
  Tensor forward(const Tensor& x, const Batch& batch, Side& side, Stash& stash) override;
  Tensor backward(const Tensor& dy_TH, const Batch& batch, Side& side, Stash& stash,
                  WeightGrads& grads) override;
  Tensor step(const Tensor& x, const Batch& batch, Side& side, Cache& cache) override;
  void visit_parameters(const ParameterVisitor& visit) override;

 protected:
  Tensor look_up(const Batch& batch) const;
  Tensor look_up_tokens(const Batch& batch) const;
  void add_gradients(const Tensor& dropped_TH, const Batch& batch, WeightGrads& grads) const;
  void add_token_gradient(const Tensor& dy_TH, const Batch& batch, WeightGrads& grads) const;
  Tensor drop(const Tensor& x_TH, const Batch& batch) const;

  Parameter* token_;
  Parameter* position_;
  double dropout_;
  comm::Group* group_;
};

}  // namespace phalanx::nn
