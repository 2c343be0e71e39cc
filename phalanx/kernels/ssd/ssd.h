// File: phalanx/kernels/ssd/ssd.h
//
// Purpose: the state-space dual form of Mamba-2: the recurrence as matrix products over chunks; forward, backward, step.
// Equations, head h of group g = h G / H, state S [P, N] of the first row from `initial`:
//   delta = clamp(softplus(dt + dt_bias), dt_min, dt_max);  A = -exp(A_log), one number a head
//   S[t] = exp(delta[t] A) S[t - 1] + delta[t] x[t] B[t]^T;   y[t] = S[t] C[t] + D x[t]
//   softplus(x) is x above 20, and its slope 1 there; a clamped delta passes no gradient. In chunks of Q rows, with a the
//   inclusive sum of delta A within the chunk (models.md 2.3): local states, state passing, G = C B^T once a group, output;
//   backward: models.md 2.4, where the gradient of delta A is three sums without cancellation.
// Shapes (B samples, S rows, H heads, P head width, G groups, N states; H % G == 0): x, y [B, S, H, P]; dt [B, S, H]; B, C
//   [B, S, G, N]: of each, rows may be strided, what a row holds is contiguous; dt_bias, A_log, D [H]; document [B, S]
//   int64 or undefined; initial and final [B, H, P, N].
// Dtypes: x, dt, B, C alike; dt_bias, A_log, D, states and all arithmetic in fp32 (fp64 for fp64); gradients of inputs in the
//   inputs' dtype, those of parameters and states in the arithmetic's.
// Contract: a row whose document differs from the one before starts from a zero state; `initial` belongs to the first row's
//   document. Any S >= 1, any chunk >= 1; the chunk changes no result beyond rounding. Exponents are never positive. Sums
//   are cut at fixed places, so that the bits do not depend on the thread count. The products are the op's own: decays
//   and causality act while a tile is in registers (ARCHITECTURE.md).
// Source: Dao & Gu 2024, section 6; models.md 2.1 to 2.6.
#pragma once

#include <ATen/core/Tensor.h>

#include <limits>

namespace phalanx::kernels {

using at::Tensor;

struct SsdInputs {
  Tensor x;
  Tensor dt;  // before bias and softplus
  Tensor B;
  Tensor C;
  Tensor dt_bias;
  Tensor A_log;
  Tensor D;
  Tensor document;
  Tensor initial;  // undefined: zeros
};

struct SsdSpec {
  int64_t chunk = 64;
  double dt_min = 0.0;
  double dt_max = std::numeric_limits<double>::infinity();
};

struct SsdForward {
  Tensor y;       // fresh, contiguous
  Tensor states;  // [B, chunks, H, P, N] before each chunk
  Tensor final_state;
};

struct SsdGradients {
  Tensor ddt_bias;
  Tensor dA_log;
  Tensor dD;
  Tensor dinitial;  // undefined without `initial`
};

// Where backward writes; strided like the inputs.
struct SsdInputGradients {
  Tensor dx;
  Tensor ddt;
  Tensor dB;
  Tensor dC;
};

SsdForward ssd_forward(const SsdInputs& in, const SsdSpec& spec);
// `dfinal` may be undefined: the final state is not used. `states` may be undefined: they are made again.
SsdGradients ssd_backward(const Tensor& dy, const Tensor& dfinal, const SsdInputs& in, const Tensor& states,
                          const SsdSpec& spec, const SsdInputGradients& d);

// Decode: one row each of n sequences: x [n, H, P], dt [n, H], B, C [n, G, N] (document and initial are not looked at); row i
// reads and writes states[slot[i]] of states [slots, H, P, N]; slots all different. y [n, H, P].
Tensor ssd_step(const SsdInputs& in, const SsdSpec& spec, const Tensor& states, const Tensor& slot);

}  // namespace phalanx::kernels
