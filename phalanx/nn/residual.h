// File: phalanx/nn/residual.h
//
// Purpose: one residual layer of the pattern around a branch that begins with its own norm (pre-norm).
// Equations: y = x + dropout(branch(x));  dx = dy + branch_backward(dropout(dy)).
// Shapes: [T, H]. Dropout element: token_id * hidden_size + column; the key's layer is the pattern index.
//   With sharded rows the stream has T / n of them, and dropout reads the token ids of those.
// Contract: nothing of its own is stashed (the mask is a pure function). Dropout acts when batch.training,
//   never in step. A branch returns tensors that nothing else reads, so the sum goes into them in place.
//   `row_shards` is what the parameters' gradient kinds were made for (the ranks of the tensor group under sequence
//   parallelism, else 1): backward takes no other batch.
#pragma once

#include "phalanx/nn/module.h"

namespace phalanx::nn {

class ResidualLayer : public Module {
 public:
  ResidualLayer(ModulePtr branch, int index, int64_t hidden_size, double dropout, int64_t row_shards = 1);
  Tensor forward(const Tensor& x_TH, const Batch& batch, Side& side, Stash& stash) override;
  Tensor backward(const Tensor& dy_TH, const Batch& batch, Side& side, Stash& stash,
                  WeightGrads& grads) override;
  Tensor step(const Tensor& x_TH, const Batch& batch, Side& side, Cache& cache) override;
  void visit_parameters(const ParameterVisitor& visit) override { branch_->visit_parameters(visit); }

 protected:
  Tensor drop(const Tensor& x_TH, const Batch& batch) const;

  ModulePtr branch_;
  int index_;
  int64_t hidden_size_;
  double dropout_;
  int64_t row_shards_;
};

}  // namespace phalanx::nn
