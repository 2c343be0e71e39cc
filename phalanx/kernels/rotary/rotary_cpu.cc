#include "phalanx/kernels/rotary/rotary_cpu.h"

#include <bit>

namespace phalanx::kernels {
namespace {

inline float load(float x) {
  return x;
}
inline double load(double x) {
  return x;
}
inline float load(Bfloat16 x) {
  return std::bit_cast<float>(uint32_t{x.bits} << 16);
}

inline void store(float& to, float x) {
  to = x;
}
inline void store(double& to, double x) {
  to = x;
}
inline void store(Bfloat16& to, float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  // Half to even. A NaN that comes from 16-bit inputs has room for the carry.
  to.bits = static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

template <typename T, typename A>
inline void rotate(T& first, T& second, A c, A s) {
  const A a = load(first);
  const A b = load(second);
  store(first, a * c - b * s);
  store(second, b * c + a * s);
}

// One head; `sign` is -1 to turn back. The two halves never overlap.
template <typename T, typename A>
void rotate_head(T* __restrict first, T* __restrict second, const A* __restrict cos, const A* __restrict sin,
                 A sign, int64_t half, int64_t stride) {
  if (stride == 1) {  // the common case, which vectorises
#pragma omp simd
    for (int64_t i = 0; i < half; ++i) rotate<T, A>(first[i], second[i], cos[i], sign * sin[i]);
    return;
  }
  for (int64_t i = 0; i < half; ++i)
    rotate<T, A>(first[i * stride], second[i * stride], cos[i], sign * sin[i]);
}

}  // namespace

template <typename T, typename A>
void rotary_rows(const RotaryRows<T>& rows, const RotaryAngles<A>& angles, bool inverse, int64_t begin,
                 int64_t end) {
  const A sign = inverse ? A(-1) : A(1);
  for (int64_t t = begin; t < end; ++t) {
    const A* cos = angles.cos + angles.angle_row[t] * angles.half;
    const A* sin = angles.sin + angles.angle_row[t] * angles.half;
    for (int64_t head = 0; head < rows.heads; ++head) {
      T* first = rows.x + t * rows.row_stride + head * rows.head_stride;
      rotate_head<T, A>(first, first + angles.half * rows.column_stride, cos, sin, sign, angles.half,
                        rows.column_stride);
    }
  }
}

template void rotary_rows(const RotaryRows<float>&, const RotaryAngles<float>&, bool, int64_t, int64_t);
template void rotary_rows(const RotaryRows<double>&, const RotaryAngles<double>&, bool, int64_t, int64_t);
template void rotary_rows(const RotaryRows<Bfloat16>&, const RotaryAngles<float>&, bool, int64_t, int64_t);

}  // namespace phalanx::kernels
