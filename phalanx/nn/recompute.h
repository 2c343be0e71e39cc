// File: phalanx/nn/recompute.h
//
// Purpose: trade time for memory: keep a module's input only and run its forward again in backward.
// Contract: the same bits as without it (loss, dx, every gradient, dropout included), because every module is
//   a pure function of x, batch, side and parameters. Wraps any Module; a policy decides where.
// Stash: x between forward and backward; what the inner module stashes lives only inside backward.
// Source: Chen et al. 2016 (sublinear memory); Korthikanti et al. 2022.
#pragma once

#include "phalanx/nn/module.h"

namespace phalanx::nn {

class Recompute : public Module {
 public:
  explicit Recompute(ModulePtr inner) : inner_(std::move(inner)) {}
  Tensor forward(const Tensor& x_TH, const Batch& batch, Side& side, Stash& stash) override;
  Tensor backward(const Tensor& dy_TH, const Batch& batch, Side& side, Stash& stash,
                  WeightGrads& grads) override;
  Tensor step(const Tensor& x_TH, const Batch& batch, Side& side, Cache& cache) override;
  void visit_parameters(const ParameterVisitor& visit) override { inner_->visit_parameters(visit); }

 private:
  ModulePtr inner_;
};

}  // namespace phalanx::nn
