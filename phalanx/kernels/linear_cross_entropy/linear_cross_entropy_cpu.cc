#include "phalanx/kernels/linear_cross_entropy/linear_cross_entropy_cpu.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "phalanx/kernels/linear_cross_entropy/exp_nonpositive.h"

namespace phalanx::kernels {
namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kPiece = 32 * kLanes;

[[gnu::always_inline]] inline double largest(const double* x, int64_t n) {
  double result = x[0];
  for (int64_t i = 1; i < n; ++i) result = std::isnan(x[i]) ? x[i] : std::max(result, x[i]);
  return result;
}

// As integers that are ordered like the floats: floats would be compared one by one. A NaN may win or lose; it shows in
// the sum of the exponentials.
[[gnu::always_inline]] inline float largest(const float* x, int64_t n) {
  constexpr int32_t kMagnitude = 0x7FFFFFFF;
  int32_t result = std::numeric_limits<int32_t>::min();
#pragma omp simd reduction(max : result)
  for (int64_t i = 0; i < n; ++i) {
    const auto bits = std::bit_cast<int32_t>(x[i]);
    const int32_t key = bits ^ ((bits >> 31) & kMagnitude);
    result = result < key ? key : result;
  }
  return std::bit_cast<float>(result ^ ((result >> 31) & kMagnitude));
}

// Sum of exp(x - shift); kStore leaves the terms in x. Lanes and pieces are fixed, so that the order of the sum depends
// neither on the machine's vector width nor on the thread count; pieces keep fp32 sums short.
template <bool kStore, typename T>
[[gnu::always_inline]] inline double sum_of_exp(T* x, int64_t n, T shift) {
  double total = 0.0;
  for (int64_t begin = 0; begin < n; begin += kPiece) {
    const int64_t end = std::min(n, begin + kPiece);
    const int64_t whole = end - (end - begin) % kLanes;
    T lanes[kLanes] = {};
    for (int64_t i = begin; i < whole; i += kLanes) {
#pragma omp simd
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        const T term = exp_nonpositive(x[i + lane] - shift);
        if constexpr (kStore) x[i + lane] = term;
        lanes[lane] += term;
      }
    }
    for (int64_t i = whole; i < end; ++i) {
      const T term = exp_nonpositive(x[i] - shift);
      if constexpr (kStore) x[i] = term;
      lanes[i - whole] += term;
    }
    for (const T lane : lanes) total += static_cast<double>(lane);
  }
  return total;
}

template <typename T>
[[gnu::always_inline]] inline void head_rows_body(const HeadRows<T>& rows, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    T* x = rows.logits + t * rows.row_stride;
    const int64_t label = rows.labels[t];
    const T weight = rows.loss_weight == nullptr || label < 0 ? T(0) : rows.loss_weight[t];
    double sum = 0.0;
    if (label < 0) {
      rows.nll[t] = T(0);
    } else {
      const T shift = largest(x, rows.valid);
      const double picked = static_cast<double>(x[label]) - static_cast<double>(shift);
      sum = weight == T(0) ? sum_of_exp<false>(x, rows.valid, shift) : sum_of_exp<true>(x, rows.valid, shift);
      rows.nll[t] = static_cast<T>(std::log(sum) - picked);
    }
    if (rows.loss_weight == nullptr) continue;
    if (weight == T(0)) {
      std::fill(x, x + rows.padded, T(0));
      continue;
    }
    const T scale = static_cast<T>(static_cast<double>(weight) / sum);
#pragma omp simd
    for (int64_t i = 0; i < rows.valid; ++i) x[i] *= scale;
    x[label] -= weight;
    std::fill(x + rows.valid, x + rows.padded, T(0));
  }
}

using HeadRowsFloat = void (*)(const HeadRows<float>&, int64_t, int64_t);

#if defined(__x86_64__)
// The same code, bit for bit, for wider registers. AVX-512 was measured slower than AVX2 here: its comparisons make
// masks.
__attribute__((target("avx2"))) void head_rows_avx2(const HeadRows<float>& rows, int64_t begin, int64_t end) {
  head_rows_body(rows, begin, end);
}

HeadRowsFloat widest() {
  return __builtin_cpu_supports("avx2") ? head_rows_avx2 : head_rows_body<float>;
}
#else
HeadRowsFloat widest() {
  return head_rows_body<float>;
}
#endif

}  // namespace

template <>
void head_rows(const HeadRows<float>& rows, int64_t begin, int64_t end) {
  widest()(rows, begin, end);
}

template <>
void head_rows(const HeadRows<double>& rows, int64_t begin, int64_t end) {
  head_rows_body(rows, begin, end);
}

}  // namespace phalanx::kernels
