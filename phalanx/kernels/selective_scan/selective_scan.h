// File: phalanx/kernels/selective_scan/selective_scan.h
//
// Purpose: the selective scan of Mamba-1 with its skip and gate; forward, backward, decode step.
// Equations, for each channel i and state n, h of the first row from `initial`:
//   delta = softplus(dt + dt_bias);  A = -exp(A_log)
//   h[t] = exp(delta[t] A) h[t - 1] + delta[t] B[t] x[t];   y[t] = sum over n of C[t] h[t] + D x[t];   out = y silu(z)
//   softplus(x) is x above 20, and its slope 1 there. Backward: models.md 1.5, with its
//   q[t] as exp(delta[t] A) h[t - 1]: the difference h[t] - delta[t] x[t] B[t] would cancel where little is kept.
// Shapes (B samples, S rows, C channels, N states): x, dt, z, out [B, S, C]; B, C [B, S, N]; rows may be strided, the last
//   stride is 1; A_log [C, N], D and dt_bias [C]; document [B, S] int64 or undefined; initial and final [B, C, N].
// Dtypes: x, dt, z, B, C alike; A_log, D, dt_bias, states and all arithmetic in fp32 (fp64 for fp64); gradients of inputs in
//   the inputs' dtype, those of parameters and states in the arithmetic's.
// Contract: a row whose document differs from the one before starts from a zero state; `initial` belongs to the first row's
//   document. Time is cut into chunks of `chunk` rows: forward keeps the state before each, backward runs each again
//   from there. The chunk changes no result beyond rounding. Any S >= 1. Sums are cut at fixed places.
// Source: Gu & Dao 2023, algorithm 2; models.md 1.1, 1.5, 1.6.
#pragma once

#include <ATen/core/Tensor.h>

namespace phalanx::kernels {

using at::Tensor;

struct ScanInputs {
  Tensor x;
  Tensor dt;  // before bias and softplus
  Tensor z;
  Tensor B;
  Tensor C;
  Tensor A_log;
  Tensor D;
  Tensor dt_bias;
  Tensor document;
  Tensor initial;  // undefined: zeros
};

struct ScanForward {
  Tensor out;
  Tensor states;  // [B, chunks, C, N] before each chunk
  Tensor final_state;
};

struct ScanGradients {
  Tensor dA_log;
  Tensor dD;
  Tensor ddt_bias;
  Tensor dinitial;  // undefined without `initial`
};

// Where backward writes; strided like the inputs.
struct ScanInputGradients {
  Tensor dx;
  Tensor ddt;
  Tensor dz;
  Tensor dB;
  Tensor dC;
};

inline constexpr int64_t kScanChunk = 64;

ScanForward selective_scan_forward(const ScanInputs& in, int64_t chunk = kScanChunk);
// `dfinal` may be undefined: the final state is not used.
ScanGradients selective_scan_backward(const Tensor& dout, const Tensor& dfinal, const ScanInputs& in,
                                      const Tensor& states, const ScanInputGradients& d,
                                      int64_t chunk = kScanChunk);

// Decode: one row each of n sequences: x, dt, z [n, C], B, C [n, N] (document and initial are not looked at); row i reads
// and writes states[slot[i]] of states [slots, C, N]; slots all different. out [n, C].
Tensor selective_scan_step(const ScanInputs& in, const Tensor& states, const Tensor& slot);

}  // namespace phalanx::kernels
