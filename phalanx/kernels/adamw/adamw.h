// File: phalanx/kernels/adamw/adamw.h
//
// Purpose: one AdamW update of a flat range, in one pass: unscale and clip, moments, decoupled decay, update, copy.
// Equations: g = grad * grad_scale; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2;
//   p = p - lr wd p - lr * (m / c1) / (sqrt(v / c2) + eps),  c1 = 1 - b1^t, c2 = 1 - b2^t.
// Shapes: param, grad, exp_avg, exp_avg_sq flat [n], fp32 (fp64 under fp64); compute_copy [n] in the compute dtype, or
//   undefined when param is itself what the model computes with.
// Contract: what changes from step to step is read from `scalars` [4] fp64 on the same device: lr, grad_scale, c1, c2.
// Source: Loshchilov & Hutter 2019.
#pragma once

#include <ATen/core/Tensor.h>

namespace phalanx::kernels {

using at::Tensor;

struct AdamWSpec {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.0;
};

void adamw(Tensor param, const Tensor& grad, Tensor exp_avg, Tensor exp_avg_sq, const Tensor& scalars,
           const AdamWSpec& spec, Tensor compute_copy);

}  // namespace phalanx::kernels
