#include "phalanx/kernels/adamw/adamw_cpu.h"

#include <bit>
#include <cmath>

namespace phalanx::kernels {
namespace {

inline uint16_t to_bfloat16(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  return static_cast<uint16_t>(x != x ? 0x7FC0u : rounded);
}

// Branch-free, so that it vectorises. Adding a power of two of the right size makes the FPU round at the last bit that
// a half keeps, denormal halves included.
inline uint16_t to_float16(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  const uint32_t exponent = magnitude & 0x7F800000u;
  const uint32_t smallest_normal = (127u - 14u) << 23;
  const uint32_t base_bits = (exponent < smallest_normal ? smallest_normal : exponent) + (13u << 23);
  const float base = std::bit_cast<float>(base_bits);
  const uint32_t steps = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + base) - base_bits;
  const uint32_t finite = ((base_bits - (13u << 23) - smallest_normal) >> 13) + steps;
  const uint32_t capped = magnitude >= 0x477FF000u ? 0x7C00u : finite;  // from 65520 on: infinity
  return static_cast<uint16_t>(sign | (magnitude > 0x7F800000u ? 0x7E00u : capped));
}

}  // namespace

template <typename T>
void adamw_range(const AdamWRange<T>& range, const AdamWScalars& scalars, int64_t begin, int64_t end) {
  const auto grad_scale = static_cast<T>(scalars.grad_scale);
  const auto beta1 = static_cast<T>(scalars.beta1);
  const auto beta2 = static_cast<T>(scalars.beta2);
  const auto rest1 = static_cast<T>(1.0 - scalars.beta1);
  const auto rest2 = static_cast<T>(1.0 - scalars.beta2);
  const auto epsilon = static_cast<T>(scalars.epsilon);
  const auto decay = static_cast<T>(scalars.decay);
  const auto step_size = static_cast<T>(scalars.step_size);
  const auto inverse_sqrt_c2 = static_cast<T>(scalars.inverse_sqrt_c2);
  T* __restrict param = range.param;
  const T* __restrict grad = range.grad;
  T* __restrict exp_avg = range.exp_avg;
  T* __restrict exp_avg_sq = range.exp_avg_sq;
  uint16_t* __restrict copy = range.copy;
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) {
    const T g = grad[i] * grad_scale;
    const T m = beta1 * exp_avg[i] + rest1 * g;
    const T v = beta2 * exp_avg_sq[i] + rest2 * g * g;
    exp_avg[i] = m;
    exp_avg_sq[i] = v;
    param[i] = param[i] * decay - step_size * m / (std::sqrt(v) * inverse_sqrt_c2 + epsilon);
  }
  if (range.copy_kind == CopyKind::kBfloat16) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) copy[i] = to_bfloat16(static_cast<float>(param[i]));
  } else if (range.copy_kind == CopyKind::kFloat16) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) copy[i] = to_float16(static_cast<float>(param[i]));
  }
}

template void adamw_range(const AdamWRange<float>&, const AdamWScalars&, int64_t, int64_t);
template void adamw_range(const AdamWRange<double>&, const AdamWScalars&, int64_t, int64_t);

}  // namespace phalanx::kernels
