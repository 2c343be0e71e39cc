// File: phalanx/nn/residual.h
//
// Purpose: one residual layer of the pattern around a branch that begins with its own norm (pre-norm).
// Equations: y = x + dropout(branch(x));  dx = dy + branch_backward(dropout(dy)).
// Shapes: [T, H]. Dropout element: token_id * hidden_size + column; the key's layer is the pattern index.
// Contract: nothing of its own is stashed (the mask is a pure function). Dropout acts when batch.training,
//   never in step. A branch returns tensors that nothing else reads, so the sum goes into them in place.
#pragma once

#include "phalanx/nn/module.h"

namespace phalanx::nn {

class ResidualLayer : public Module {
 public:
  ResidualLayer(ModulePtr branch, int index, int64_t hidden_size, double dropout);
  Tensor forward(const Tensor& x_TH, const Batch& batch, Side& side, Stash& stash) override;
  Tensor backward(const Tensor& dy_TH, const Batch& batch, Side& side, Stash& stash,
                  WeightGrads& grads) override;
  Tensor step(const Tensor& x_TH, const Batch& batch, Side& side, Cache& cache) override;
  void visit_parameters(const ParameterVisitor& visit) override { branch_->visit_parameters(visit); }

 private:
  Tensor drop(const Tensor& x_TH, const Batch& batch) const;

  ModulePtr branch_;
  int index_;
  int64_t hidden_size_;
  double dropout_;
};

}  // namespace phalanx::nn
