// File: phalanx/kernels/linear_cross_entropy/exp_nonpositive.h
//
// Purpose: exp(x) for x <= 0, written so that a compiler turns a loop over it into vector code; std::exp stays a call.
// Contract: fp32 within 2 ulp for results that are normal numbers; below the smallest normal it gives 0, also at -inf.
//   NaN gives NaN. fp64 is std::exp.
// Method: x = n ln 2 + r with |r| <= ln 2 / 2; exp(x) = 2^n (1 + r + r^2 / 2! + .. + r^7 / 7!), remainder below 6e-9.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace phalanx::kernels {

[[gnu::always_inline]] inline double exp_nonpositive(double x) {
  return std::exp(x);
}

// Cases are chosen by integer masks: a comparison of floats would keep a compiler from using vectors.
[[gnu::always_inline]] inline float exp_nonpositive(float x) {
  constexpr float kLog2E = 0x1.715476p+0f;
  constexpr float kLn2High = 0x1.62e400p-1f;  // 9 low bits are zero, so n * kLn2High is exact
  constexpr float kLn2Low = 0x1.7f7d1cp-20f;
  constexpr float kRound = 0x1.8p+23f;      // adding it leaves the nearest integer in the low bits
  constexpr int32_t kLargest = 0x42AEAC4F;  // -ln of the smallest normal number, 87.33654, as bits
  constexpr int32_t kInfinity = 0x7F800000;
  const int32_t magnitude = std::bit_cast<int32_t>(x) & 0x7FFFFFFF;
  const int32_t underflow = -static_cast<int32_t>(magnitude > kLargest);
  const int32_t not_a_number = -static_cast<int32_t>(magnitude > kInfinity);
  const auto y = std::bit_cast<float>((magnitude & ~underflow) | (kLargest & underflow));  // -x
  const float shifted = kRound - y * kLog2E;
  const float n = shifted - kRound;
  const float r = (-y - n * kLn2High) - n * kLn2Low;
  float p = 1.0f / 5040.0f;
  p = p * r + 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = (p * r) * r + r;
  const uint32_t power_bits = (std::bit_cast<uint32_t>(shifted) << 23) + 0x3F800000u;  // 2^n
  const auto power = std::bit_cast<float>(power_bits & ~static_cast<uint32_t>(underflow));
  return std::bit_cast<float>(std::bit_cast<int32_t>(p * power + power) | not_a_number);
}

}  // namespace phalanx::kernels
