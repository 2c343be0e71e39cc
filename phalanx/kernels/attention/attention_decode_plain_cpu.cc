#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "phalanx/kernels/attention/attention_decode_cpu.h"

namespace phalanx::kernels {
namespace {

constexpr int64_t kPositions = 64;

float widened(float x) {
  return x;
}
double widened(double x) {
  return x;
}
float widened(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

// One head, positions of `rows`: scores relative to a running maximum.
template <typename T, typename S>
void add_rows(const T* const* rows, int64_t count, int64_t key, int64_t value, int64_t D, const S* q, S* out,
              S& largest, S& total) {
  S scores[kPositions];
  S most = largest;
  for (int64_t j = 0; j < count; ++j) {
    S sum = 0;
    for (int64_t d = 0; d < D; ++d) sum += q[d] * widened(rows[j][key + d]);
    scores[j] = sum;
    most = std::max(most, sum);
  }
  const S factor = most > largest ? std::exp2(largest - most) : S(1);
  largest = most;
  total *= factor;
  for (int64_t d = 0; d < D; ++d) out[d] *= factor;
  for (int64_t j = 0; j < count; ++j) {
    const S weight = std::exp2(scores[j] - most);
    total += weight;
    for (int64_t d = 0; d < D; ++d) out[d] += weight * widened(rows[j][value + d]);
  }
}

template <typename T, typename S>
void run_range(const DecodeShape& shape, const DecodeRange<T, S>& range, const DecodePart<S>& part) {
  const int64_t D = shape.head_dim;
  const std::vector<const T*> rows = decode_rows(shape, range, range.end);
  const auto count = static_cast<int64_t>(rows.size());
  std::fill_n(part.out, shape.heads * D, S(0));
  std::fill_n(part.total, shape.heads, S(0));
  std::fill_n(part.largest, shape.heads, -std::numeric_limits<S>::infinity());
  for (int64_t first = 0; first < count; first += kPositions) {
    for (int64_t head = 0; head < shape.heads; ++head) {
      const int64_t key = head / (shape.heads / shape.groups) * D;
      add_rows(rows.data() + first, std::min(kPositions, count - first), key, shape.groups * D + key, D,
               range.q + head * D, part.out + head * D, part.largest[head], part.total[head]);
    }
  }
}

template <typename S>
void join(const DecodeShape& shape, const DecodePart<S>& first, int64_t count, int64_t stride, S* out) {
  const int64_t D = shape.head_dim;
  for (int64_t head = 0; head < shape.heads; ++head) {
    S most = first.largest[head];
    for (int64_t i = 1; i < count; ++i) most = std::max(most, first.largest[i * stride + head]);
    S* __restrict to = out + head * D;
    std::fill_n(to, D, S(0));
    S total = 0;
    for (int64_t i = 0; i < count; ++i) {
      const S factor = std::exp2(first.largest[i * stride + head] - most);
      const S* __restrict from = first.out + i * stride + head * D;
      total += factor * first.total[i * stride + head];
      for (int64_t d = 0; d < D; ++d) to[d] += factor * from[d];
    }
    for (int64_t d = 0; d < D; ++d) to[d] /= total;
  }
}

}  // namespace

template <>
void decode_range_plain(const DecodeShape& shape, const DecodeRange<double, double>& range,
                        const DecodePart<double>& part) {
  run_range(shape, range, part);
}

template <>
void decode_range_plain(const DecodeShape& shape, const DecodeRange<float, float>& range,
                        const DecodePart<float>& part) {
  run_range(shape, range, part);
}

template <>
void decode_range_plain(const DecodeShape& shape, const DecodeRange<uint16_t, float>& range,
                        const DecodePart<float>& part) {
  run_range(shape, range, part);
}

template <>
void decode_join(const DecodeShape& shape, const DecodePart<float>& first, int64_t count, int64_t stride,
                 float* out) {
  join(shape, first, count, stride, out);
}

template <>
void decode_join(const DecodeShape& shape, const DecodePart<double>& first, int64_t count, int64_t stride,
                 double* out) {
  join(shape, first, count, stride, out);
}

}  // namespace phalanx::kernels
