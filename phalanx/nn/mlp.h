// File: phalanx/nn/mlp.h
//
// Purpose: the MLP branch of a residual layer, its norm included.
// Equations: y = norm(x);  h = y W_up^T + b_up;  a = activation(h);  out = a W_down^T + b_down.
//   Gated: W_up is the fused gate_up [2F, H] and h = [gate | up] (kernels/activation/activation.h).
// Shapes: x and out [T, H], h [T, F] or [T, 2F], a [T, F]; F of this rank. With sharded rows x and out have T / n rows.
// Stash: x, mean, rstd, h. y and a are rebuilt in backward by element-wise work alone, which saves T (H + F)
//   elements a layer.
// Source: selective recomputation (Korthikanti et al. 2022), applied to norm and activation outputs.
#pragma once

#include "phalanx/nn/linear.h"
#include "phalanx/nn/module.h"
#include "phalanx/nn/norm.h"

namespace phalanx::nn {

class Mlp : public Module {
 public:
  Mlp(Norm norm, Linear up, Linear down, ActivationKind activation);
  Tensor forward(const Tensor& x_TH, const Batch& batch, Side& side, Stash& stash) override;
  Tensor backward(const Tensor& dy_TH, const Batch& batch, Side& side, Stash& stash,
                  WeightGrads& grads) override;
  Tensor step(const Tensor& x_TH, const Batch& batch, Side& side, Cache& cache) override;
  void visit_parameters(const ParameterVisitor& visit) override;

 protected:
  Norm norm_;
  Linear up_;
  Linear down_;
  ActivationKind activation_;
};

}  // namespace phalanx::nn
