// File: phalanx/kernels/element_cpu.h
//
// Purpose: how a body reads and rounds an element of its storage: double, float, or uint16_t, the bits of a bfloat16.
// Contract: a bfloat16 is rounded half to even and keeps NaN. Inline and free of branches, so that a compiler turns a loop
//   over them into vector code.
#pragma once

#include <bit>
#include <cstdint>

namespace phalanx::kernels {

[[gnu::always_inline]] inline double load(double x) {
  return x;
}
[[gnu::always_inline]] inline float load(float x) {
  return x;
}
[[gnu::always_inline]] inline float load(uint16_t bits) {
  return std::bit_cast<float>(uint32_t{bits} << 16);
}

[[gnu::always_inline]] inline void store(double& to, double x) {
  to = x;
}
[[gnu::always_inline]] inline void store(float& to, float x) {
  to = x;
}
[[gnu::always_inline]] inline void store(uint16_t& to, float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  to = static_cast<uint16_t>((bits & 0x7FFFFFFFu) > 0x7F800000u ? 0x7FC0u : rounded);
}

}  // namespace phalanx::kernels
