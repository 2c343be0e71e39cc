// File: phalanx/nn/norm.h
//
// Purpose: layer norm or RMS norm as a piece of a layer, and as the module before the head.
// Equations: y = (x - mean) * rstd * w + b, or y = x * rstd * w (kernels/norm/norm.h); with norm_1p, w stands
//   for 1 + weight.
// Shapes: x and y [.., H] (a norm over heads sees [T, heads, D], strided); mean and rstd [.., 1], fp32 (fp64
//   for fp64).
// Contract: forward pushes x, mean, rstd. push_output then pushes a handle that rebuilds y, bit-equal, from
//   those three and the parameters, so the linear that reads y keeps no copy of it. The parameters are asked
//   again at that time: they do not change between forward and backward, and they are not stash.
#pragma once

#include "phalanx/arch/model_config.h"
#include "phalanx/kernels/norm/norm.h"
#include "phalanx/nn/module.h"

namespace phalanx::nn {

kernels::NormSpec norm_spec(const ModelConfig& config);

class Norm {
 public:
  struct Output {
    Tensor y;
    Tensor x;
    Tensor mean;
    Tensor rstd;
  };

  // `bias` may be nullptr.
  Norm(Parameter* weight, Parameter* bias, const kernels::NormSpec& spec);

  Output forward(const Tensor& x, Stash& stash) const;
  // `then` is applied in place to the rebuilt y (rotary after a norm over heads).
  void push_output(const Output& output, Stash& stash, std::function<void(Tensor&)> then = nullptr) const;
  // Pops what forward pushed; the consumer of y has popped the handle, if any, before.
  Tensor backward(const Tensor& dy, Stash& stash, WeightGrads& grads) const;
  // By the account of paper_layers.h: x alone is kept, its statistics are computed again.
  Tensor forward_of_input(const Tensor& x, Stash& stash, const char* what) const;
  Tensor backward_of_input(const Tensor& dy, Stash& stash, WeightGrads& grads) const;
  // y alone; nothing is kept.
  Tensor apply(const Tensor& x) const;
  void visit_parameters(const ParameterVisitor& visit) const;

 private:
  Tensor bias() const;
  Tensor gradients(const Tensor& dy, const Tensor& x, const Tensor& mean, const Tensor& rstd,
                   WeightGrads& grads) const;

  Parameter* weight_;
  Parameter* bias_;
  kernels::NormSpec spec_;
};

// The norm before the head. The head's backward does not read its input, so no handle is kept.
class FinalNorm : public Module {
 public:
  explicit FinalNorm(Norm norm) : norm_(std::move(norm)) {}
  Tensor forward(const Tensor& x_TH, const Batch& batch, Side& side, Stash& stash) override;
  Tensor backward(const Tensor& dy_TH, const Batch& batch, Side& side, Stash& stash,
                  WeightGrads& grads) override;
  Tensor step(const Tensor& x_TH, const Batch& batch, Side& side, Cache& cache) override;
  void visit_parameters(const ParameterVisitor& visit) override { norm_.visit_parameters(visit); }

 protected:
  Norm norm_;
};

}  // namespace phalanx::nn
