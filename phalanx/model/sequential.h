// File: phalanx/model/sequential.h
//
// Purpose: several modules as one, so that a recomputation unit can hold more than one layer.
// Contract: forward in order, backward in reverse on the same stash.
#pragma once

#include <ranges>
#include <vector>

#include "phalanx/nn/module.h"

namespace phalanx {

class Sequential : public nn::Module {
 public:
  explicit Sequential(std::vector<nn::ModulePtr> modules) : modules_(std::move(modules)) {}

  Tensor forward(const Tensor& x_TH, const Batch& batch, Side& side, Stash& stash) override {
    Tensor x = x_TH;
    for (const nn::ModulePtr& module : modules_) x = module->forward(x, batch, side, stash);
    return x;
  }
  Tensor backward(const Tensor& dy_TH, const Batch& batch, Side& side, Stash& stash,
                  WeightGrads& grads) override {
    Tensor dy = dy_TH;
    for (const nn::ModulePtr& module : modules_ | std::views::reverse) {
      dy = module->backward(dy, batch, side, stash, grads);
    }
    return dy;
  }
  Tensor step(const Tensor& x_TH, const Batch& batch, Side& side, Cache& cache) override {
    Tensor x = x_TH;
    for (const nn::ModulePtr& module : modules_) x = module->step(x, batch, side, cache);
    return x;
  }
  void visit_parameters(const ParameterVisitor& visit) override {
    for (const nn::ModulePtr& module : modules_) module->visit_parameters(visit);
  }

 private:
  std::vector<nn::ModulePtr> modules_;
};

}  // namespace phalanx
