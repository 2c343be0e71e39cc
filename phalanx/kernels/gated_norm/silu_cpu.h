// File: phalanx/kernels/gated_norm/silu_cpu.h
//
// Purpose: what the bodies of state-space layers share: the logistic function, silu and its derivative, written so that a
//   compiler turns a loop over them into vector code.
// Contract: sums S double or float. Single additions and multiplications only, so that every vector width gives the same bits.
// Equations: sigmoid(x) = 1 / (1 + exp(-x));  silu(x) = x sigmoid(x);  silu'(x) = sigmoid(x) (1 + x (1 - sigmoid(x))).
// Source: models.md, notation.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "phalanx/kernels/element_cpu.h"

namespace phalanx::kernels::silu {

[[gnu::always_inline]] inline double sigmoid(double x) {
  const double e = std::exp(x < 0.0 ? x : -x);
  return (x < 0.0 ? e : 1.0) / (1.0 + e);
}

// With e = exp(-|x|): e / (1 + e) or 1 / (1 + e), so that the small side keeps its digits. A NaN may get lost here; what
// multiplies by x, as silu and its derivative do, has it back.
//   exp(-y) = 2^-n exp(r), |r| <= ln 2 / 2; exp(r) = 1 + r + r^2 / 2! + .. + r^7 / 7!, remainder below 6e-9. From y = 88 on
//   2^-n is 0. Cases are chosen by integer operations: comparisons of floats would keep a compiler from using vectors.
[[gnu::always_inline]] inline float sigmoid(float x) {
  constexpr float kLog2E = 0x1.715476p+0f;
  constexpr float kLn2High = 0x1.62e400p-1f;  // 9 low bits are zero, so n * kLn2High is exact
  constexpr float kLn2Low = 0x1.7f7d1cp-20f;
  constexpr float kRound = 0x1.8p+23f;  // adding it leaves the nearest integer in the low bits
  const auto bits = std::bit_cast<int32_t>(x);
  const int32_t magnitude = bits & 0x7FFFFFFF;
  const auto y = std::bit_cast<float>(
      magnitude < std::bit_cast<int32_t>(88.0f) ? magnitude : std::bit_cast<int32_t>(88.0f));
  const float shifted = kRound - y * kLog2E;
  const float n = kRound - shifted;
  const float r = (n * kLn2High - y) + n * kLn2Low;
  float p = 1.0f / 5040.0f;
  p = p * r + 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = (p * r) * r + r;
  const auto power = std::bit_cast<float>((std::bit_cast<uint32_t>(shifted) << 23) + 0x3F800000u);
  const float e = p * power + power;
  const int32_t negative = bits >> 31;
  const int32_t top = (std::bit_cast<int32_t>(e) & negative) | (0x3F800000 & ~negative);  // e or 1
  return std::bit_cast<float>(top) / (1.0f + e);
}

// The derivative at x, of which s is the sigmoid.
template <typename S>
[[gnu::always_inline]] inline S slope(S x, S s) {
  return s * (S(1) + x * (S(1) - s));
}

}  // namespace phalanx::kernels::silu
