#include "phalanx/kernels/adamw/adamw_cpu.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <algorithm>
#include <bit>
#include <cmath>

namespace phalanx::kernels {
namespace {

constexpr int64_t kPiece = 256;

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

// std::sqrt may set errno, which keeps loops over it scalar: three times slower than the memory.
template <typename T>
inline void square_roots(T* x, int64_t n) {
  int64_t i = 0;
#if defined(__SSE2__)
  if constexpr (sizeof(T) == 4) {
    for (; i + 4 <= n; i += 4) _mm_storeu_ps(x + i, _mm_sqrt_ps(_mm_loadu_ps(x + i)));
  } else {
    for (; i + 2 <= n; i += 2) _mm_storeu_pd(x + i, _mm_sqrt_pd(_mm_loadu_pd(x + i)));
  }
#endif
  for (; i < n; ++i) x[i] = std::sqrt(x[i]);
}

// At most kPiece elements.
template <typename T>
void adamw_piece(const AdamWRange<T>& range, const AdamWScalars& scalars, int64_t begin, int64_t n) {
  const auto grad_scale = static_cast<T>(scalars.grad_scale);
  const auto beta1 = static_cast<T>(scalars.beta1);
  const auto beta2 = static_cast<T>(scalars.beta2);
  const auto rest1 = static_cast<T>(1.0 - scalars.beta1);
  const auto rest2 = static_cast<T>(1.0 - scalars.beta2);
  const auto epsilon = static_cast<T>(scalars.epsilon);
  const auto decay = static_cast<T>(scalars.decay);
  const auto step_size = static_cast<T>(scalars.step_size);
  const auto inverse_sqrt_c2 = static_cast<T>(scalars.inverse_sqrt_c2);
  T* __restrict param = range.param + begin;
  const T* __restrict grad = range.grad + begin;
  T* __restrict exp_avg = range.exp_avg + begin;
  T* __restrict exp_avg_sq = range.exp_avg_sq + begin;
  T root[kPiece];
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const T g = grad[i] * grad_scale;
    exp_avg[i] = beta1 * exp_avg[i] + rest1 * g;
    const T v = beta2 * exp_avg_sq[i] + rest2 * g * g;
    exp_avg_sq[i] = v;
    root[i] = v;
  }
  square_roots(root, n);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    param[i] = param[i] * decay - step_size * exp_avg[i] / (root[i] * inverse_sqrt_c2 + epsilon);
  }
}

}  // namespace

template <typename T>
void adamw_range(const AdamWRange<T>& range, const AdamWScalars& scalars, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i += kPiece) adamw_piece(range, scalars, i, std::min(kPiece, end - i));
  const T* __restrict param = range.param;
  uint16_t* __restrict copy = range.copy;
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
