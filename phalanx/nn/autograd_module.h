// File: phalanx/nn/autograd_module.h
//
// Purpose: a research layer without a hand-written backward: give its forward as plain ATen operations.
// Contract: forward keeps x only; backward runs the function again under autograd and asks for the gradients,
//   so the stash stays an honest number (no hidden graph) at the price of a second forward. The function is
//   pure and free of collectives, since a tape cannot order them. The only file outside tests that may record
//   gradients; not for layers we ship. Without a `step` function it cannot generate: Error(kUsage).
// Example:
//   auto square = [](const Tensor& x, const std::vector<Tensor>& w, const Batch&) { return x.mm(w[0]).pow(2); };
//   AutogradModule layer(square, {&weight});
#pragma once

#include <functional>
#include <vector>

#include "phalanx/nn/module.h"

namespace phalanx::nn {

class AutogradModule : public Module {
 public:
  using Function =
      std::function<Tensor(const Tensor& x, const std::vector<Tensor>& parameters, const Batch& batch)>;
  using Step = std::function<Tensor(const Tensor& x, const std::vector<Tensor>& parameters,
                                    const Batch& batch, Cache& cache)>;

  AutogradModule(Function function, std::vector<Parameter*> parameters, Step step = nullptr);
  Tensor forward(const Tensor& x_TH, const Batch& batch, Side& side, Stash& stash) override;
  Tensor backward(const Tensor& dy_TH, const Batch& batch, Side& side, Stash& stash,
                  WeightGrads& grads) override;
  Tensor step(const Tensor& x_TH, const Batch& batch, Side& side, Cache& cache) override;
  void visit_parameters(const ParameterVisitor& visit) override;

 private:
  std::vector<Tensor> values() const;

  Function function_;
  std::vector<Parameter*> parameters_;
  Step step_;
};

}  // namespace phalanx::nn
