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

// Sum of exp(x - shift) over a row; a row that counts keeps the terms for its gradient.
template <typename T>
[[gnu::always_inline]] inline double sum_of_row(T* x, int64_t n, T shift, bool counts) {
  return counts ? sum_of_exp<true>(x, n, shift) : sum_of_exp<false>(x, n, shift);
}

// The gradient from the terms that sum_of_row left. `label`: its column, or -1 when it is not here.
template <typename T>
[[gnu::always_inline]] inline void finish_row(const HeadRows<T>& rows, T* x, T scale, int64_t label,
                                              T weight) {
#pragma omp simd
  for (int64_t i = 0; i < rows.valid; ++i) x[i] *= scale;
  if (label >= 0) x[label] -= weight;
  std::fill(x + rows.valid, x + rows.padded, T(0));
}

template <typename T>
T weight_of(const HeadRows<T>& rows, int64_t t) {
  return rows.loss_weight == nullptr || rows.labels[t] < 0 ? T(0) : rows.loss_weight[t];
}

template <typename T>
[[gnu::always_inline]] inline void head_rows_body(const HeadRows<T>& rows, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    T* x = rows.logits + t * rows.row_stride;
    const int64_t label = rows.labels[t];
    const T weight = weight_of(rows, t);
    double sum = 0.0;
    if (label < 0) {
      rows.nll[t] = T(0);
    } else {
      const T shift = largest(x, rows.valid);
      const double picked = static_cast<double>(x[label]) - static_cast<double>(shift);
      sum = sum_of_row(x, rows.valid, shift, weight != T(0));
      rows.nll[t] = static_cast<T>(std::log(sum) - picked);
    }
    if (rows.loss_weight == nullptr) continue;
    if (weight == T(0)) {
      std::fill(x, x + rows.padded, T(0));
      continue;
    }
    finish_row(rows, x, static_cast<T>(static_cast<double>(weight) / sum), label, weight);
  }
}

template <typename T>
[[gnu::always_inline]] inline void statistics_body(const HeadShard<T>& shard, int64_t begin, int64_t end) {
  const HeadRows<T>& rows = shard.rows;
  for (int64_t t = begin; t < end; ++t) {
    double* own = shard.own + t * kHeadStatistics;
    own[0] = -std::numeric_limits<double>::infinity();
    own[1] = 0.0;
    own[2] = 0.0;
    if (rows.labels[t] < 0 || rows.valid == 0) continue;
    T* x = rows.logits + t * rows.row_stride;
    const T shift = largest(x, rows.valid);
    const int64_t label = rows.labels[t] - shard.first_column;
    own[0] = static_cast<double>(shift);
    if (label >= 0 && label < rows.valid) own[2] = static_cast<double>(x[label]);
    own[1] = sum_of_row(x, rows.valid, shift, weight_of(rows, t) != T(0));
  }
}

struct Combined {
  double largest = -std::numeric_limits<double>::infinity();
  double sum = 0.0;
  double picked = 0.0;
};

template <typename T>
Combined combine(const HeadShard<T>& shard, int64_t t) {
  Combined result;
  for (int r = 0; r < shard.ranks; ++r) {
    const double* theirs = shard.all + (r * shard.num_rows + t) * kHeadStatistics;
    result.largest = std::max(result.largest, theirs[0]);
    result.picked += theirs[2];
  }
  // A NaN may lose against the largest; the sum shows it.
  for (int r = 0; r < shard.ranks; ++r) {
    const double* theirs = shard.all + (r * shard.num_rows + t) * kHeadStatistics;
    result.sum += theirs[1] * std::exp(theirs[0] - result.largest);
  }
  return result;
}

template <typename T>
[[gnu::always_inline]] inline void gradients_body(const HeadShard<T>& shard, int64_t begin, int64_t end) {
  const HeadRows<T>& rows = shard.rows;
  for (int64_t t = begin; t < end; ++t) {
    T* x = rows.logits + t * rows.row_stride;
    const T weight = weight_of(rows, t);
    Combined row;
    if (rows.labels[t] < 0) {
      rows.nll[t] = T(0);
    } else {
      row = combine(shard, t);
      rows.nll[t] = static_cast<T>(std::log(row.sum) - (row.picked - row.largest));
    }
    if (rows.loss_weight == nullptr) continue;
    if (weight == T(0)) {
      std::fill(x, x + rows.padded, T(0));
      continue;
    }
    const double own = shard.all[(shard.rank * shard.num_rows + t) * kHeadStatistics];
    const double scale = static_cast<double>(weight) * std::exp(own - row.largest) / row.sum;
    const int64_t label = rows.labels[t] - shard.first_column;
    finish_row(rows, x, static_cast<T>(scale), label < rows.valid ? label : -1, weight);
  }
}

struct FloatBodies {
  void (*rows)(const HeadRows<float>&, int64_t, int64_t);
  void (*statistics)(const HeadShard<float>&, int64_t, int64_t);
  void (*gradients)(const HeadShard<float>&, int64_t, int64_t);
};

#if defined(__x86_64__)
// The same code, bit for bit, for wider registers. AVX-512 was measured slower than AVX2 here: its comparisons make
// masks.
__attribute__((target("avx2"))) void head_rows_avx2(const HeadRows<float>& rows, int64_t begin, int64_t end) {
  head_rows_body(rows, begin, end);
}
__attribute__((target("avx2"))) void statistics_avx2(const HeadShard<float>& shard, int64_t begin,
                                                     int64_t end) {
  statistics_body(shard, begin, end);
}
__attribute__((target("avx2"))) void gradients_avx2(const HeadShard<float>& shard, int64_t begin,
                                                    int64_t end) {
  gradients_body(shard, begin, end);
}

FloatBodies widest() {
  if (__builtin_cpu_supports("avx2")) return {head_rows_avx2, statistics_avx2, gradients_avx2};
  return {head_rows_body<float>, statistics_body<float>, gradients_body<float>};
}
#else
FloatBodies widest() {
  return {head_rows_body<float>, statistics_body<float>, gradients_body<float>};
}
#endif

}  // namespace

template <>
void head_rows(const HeadRows<float>& rows, int64_t begin, int64_t end) {
  widest().rows(rows, begin, end);
}

template <>
void head_rows(const HeadRows<double>& rows, int64_t begin, int64_t end) {
  head_rows_body(rows, begin, end);
}

template <>
void head_row_statistics(const HeadShard<float>& shard, int64_t begin, int64_t end) {
  widest().statistics(shard, begin, end);
}

template <>
void head_row_statistics(const HeadShard<double>& shard, int64_t begin, int64_t end) {
  statistics_body(shard, begin, end);
}

template <>
void head_row_gradients(const HeadShard<float>& shard, int64_t begin, int64_t end) {
  widest().gradients(shard, begin, end);
}

template <>
void head_row_gradients(const HeadShard<double>& shard, int64_t begin, int64_t end) {
  gradients_body(shard, begin, end);
}

}  // namespace phalanx::kernels
