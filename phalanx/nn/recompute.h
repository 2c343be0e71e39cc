// File: phalanx/nn/recompute.h
//
// Purpose: trade time for memory: keep a module's input only and run its forward again in backward.
// Contract: the same bits as without it (loss, dx, every gradient, dropout included), because every module is
//   a pure function of x, batch, side and parameters. Wraps any Module; a policy decides where.
//   On a stash that keeps everything (appendix C of the second source) it is the inner module.
// Stash: x between forward and backward; what the inner module stashes lives only inside backward. With a group to share
//   over, each rank keeps 1 / n of x (padded to equal pieces), and backward gathers it: for streams that are whole on
//   every rank, as under tensor parallelism without sequence parallelism.
// Source: Chen et al. 2016 (sublinear memory); Korthikanti et al. 2022, section 5 and appendix C; Megatron-LM's
//   distribute-saved-activations.
#pragma once

#include "phalanx/comm/group.h"
#include "phalanx/nn/module.h"

namespace phalanx::nn {

class Recompute : public Module {
 public:
  // `share_over` may be nullptr.
  explicit Recompute(ModulePtr inner, comm::Group* share_over = nullptr)
      : inner_(std::move(inner)), group_(share_over) {}
  Tensor forward(const Tensor& x_TH, const Batch& batch, Side& side, Stash& stash) override;
  Tensor backward(const Tensor& dy_TH, const Batch& batch, Side& side, Stash& stash,
                  WeightGrads& grads) override;
  Tensor step(const Tensor& x_TH, const Batch& batch, Side& side, Cache& cache) override;
  void visit_parameters(const ParameterVisitor& visit) override { inner_->visit_parameters(visit); }

 private:
  bool shares() const { return group_ != nullptr && group_->size() > 1; }
  Tensor piece_of(const Tensor& x_TH) const;
  Tensor whole_of(const Tensor& piece, at::IntArrayRef shape) const;

  ModulePtr inner_;
  comm::Group* group_;
};

}  // namespace phalanx::nn
