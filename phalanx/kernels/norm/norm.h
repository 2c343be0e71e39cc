// File: phalanx/kernels/norm/norm.h
//
// Purpose: layer norm and RMS norm over the last dim, forward, backward and rebuilding the output from what is stashed.
// Equations: layer norm  y = (x - mean) * rstd * w + b,   rstd = 1 / sqrt(var + eps)
//            RMS norm    y = x * rstd * w,                rstd = 1 / sqrt(mean(x^2) + eps)
//   with one_plus, w stands for (1 + weight).
// Shapes: x [.., H], weight [H], bias [H] or undefined; mean and rstd [.., 1]; mean undefined for RMS norm.
// Dtypes: statistics and sums in fp32 (fp64 for fp64 input); y in the dtype of x; dweight, dbias in the statistics' dtype.
// Sources: Ba et al. 2016; Zhang & Sennrich 2019.
#pragma once

#include <ATen/core/Tensor.h>

namespace phalanx::kernels {

using at::Tensor;

struct NormSpec {
  bool rms = false;
  double epsilon = 1e-5;
  bool one_plus = false;
};

struct NormForward {
  Tensor y;
  Tensor mean;
  Tensor rstd;
};

struct NormBackward {
  Tensor dx;
  Tensor dweight;
  Tensor dbias;  // undefined without bias
};

NormForward norm_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const NormSpec& spec);
// y again, from x and the statistics, bit-equal to norm_forward's.
Tensor norm_apply(const Tensor& x, const Tensor& mean, const Tensor& rstd, const Tensor& weight,
                  const Tensor& bias, const NormSpec& spec);
NormBackward norm_backward(const Tensor& dy, const Tensor& x, const Tensor& mean, const Tensor& rstd,
                           const Tensor& weight, bool has_bias, const NormSpec& spec);

}  // namespace phalanx::kernels
