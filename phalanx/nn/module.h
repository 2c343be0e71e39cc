// File: phalanx/nn/module.h
//
// Purpose: what every layer is: a pair forward / backward, a cached step for generation, and its parameters.
// Contract: activations are token-major x_TH. forward pushes on the stash what backward pops, in reverse order; on a
//   null stash it pushes nothing. backward returns dx and hands weight gradients to `grads`. Nothing records gradients:
//   the caller holds a NoGradGuard. The first module of a model ignores x; the head returns nll [T] and its backward
//   receives d(loss) / d(nll). `step` appends to the cache and returns outputs of the new rows only. A module may write
//   into dy only if it owns it: it does not, so it must not; it may return a tensor that aliases neither x nor dy.
#pragma once

#include <memory>

#include "phalanx/tensor/batch.h"
#include "phalanx/tensor/cache.h"
#include "phalanx/tensor/parameter.h"
#include "phalanx/tensor/side.h"
#include "phalanx/tensor/stash.h"
#include "phalanx/tensor/weight_grads.h"

namespace phalanx::nn {

class Module {
 public:
  virtual ~Module() = default;
  virtual Tensor forward(const Tensor& x_TH, const Batch& batch, Side& side, Stash& stash) = 0;
  virtual Tensor backward(const Tensor& dy_TH, const Batch& batch, Side& side, Stash& stash,
                          WeightGrads& grads) = 0;
  virtual Tensor step(const Tensor& x_TH, const Batch& batch, Side& side, Cache& cache) = 0;
  virtual void visit_parameters(const ParameterVisitor& visit) = 0;
};

using ModulePtr = std::unique_ptr<Module>;

}  // namespace phalanx::nn
