// File: phalanx/kernels/causal_conv1d/causal_conv1d.h
//
// Purpose: the short convolution of state-space layers: depthwise, causal, then SiLU; forward, backward, decode step.
// Equations: c[t] = bias + sum over k < K of w[k] x[t - (K - 1) + k];  y = c sigmoid(c). w[K - 1] meets the newest row.
//   With g = dy silu'(c):  dx[t] = sum_k w[k] g[t + (K - 1) - k],  dw[k] = sum_t g[t] x[t - (K - 1) + k],  db = sum g.
// Shapes (B samples, S rows, C channels, K taps): x, dy, dx [B, S, C], rows may be strided, the last stride is 1; weight
//   [C, K]; bias [C] or undefined; document [B, S] int64 or undefined; window [B, K - 1, C] or undefined (zeros): the raw
//   inputs before the first row, oldest first, of the first row's document.
// Dtypes: x, weight and bias alike, or weight and bias in fp32 (fp64 for fp64); sums in fp32 (fp64 for fp64); y in the dtype of
//   x; dweight, dbias and dwindow in that of the sums.
// Contract: an input of another document counts as zero, as do rows before the window. c is not kept: backward makes it
//   again from x. Sums over rows are cut at fixed places, so that the bits do not depend on the thread count. dx
//   shares no memory with an input.
// Source: Gu & Dao 2023, the block of figure 3; models.md 1.1, 1.5.
#pragma once

#include <ATen/core/Tensor.h>

namespace phalanx::kernels {

using at::Tensor;

struct ConvInputs {
  Tensor x;
  Tensor weight;
  Tensor bias;
  Tensor document;
  Tensor window;
};

struct ConvGradients {
  Tensor dweight;
  Tensor dbias;    // undefined without bias
  Tensor dwindow;  // undefined without window
};

// A fresh, contiguous y.
Tensor causal_conv1d_forward(const ConvInputs& in);
// Writes dx.
ConvGradients causal_conv1d_backward(const Tensor& dy, const ConvInputs& in, Tensor dx);

// Decode: one row each of n sequences. x [n, C]; windows [slots, K - 1, C], of which row i reads and rolls windows[slot[i]]
// (slot [n] int64, all different). y [n, C].
Tensor causal_conv1d_step(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& windows,
                          const Tensor& slot);

// The last K - 1 raw inputs after the rows of `x` [S, C] that followed `window` [K - 1, C] (undefined: zeros).
Tensor causal_conv1d_window(const Tensor& x, const Tensor& window, int64_t taps);

}  // namespace phalanx::kernels
