#include "phalanx/kernels/causal_conv1d/causal_conv1d_cpu.h"

#include <algorithm>
#include <type_traits>

#include "phalanx/kernels/gated_norm/silu_cpu.h"

// Compiled once for each kind of vectors; plain loops, so that all give the same bits.
#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "phalanx/kernels/causal_conv1d/causal_conv1d_cpu.cc"
#include <hwy/foreach_target.h>
// foreach_target.h comes first.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace phalanx::kernels {
namespace HWY_NAMESPACE {
namespace {

// Channels at a time: what a strip needs stays in the first cache.
constexpr int64_t kStrip = 256;

// The last `taps` rows of a strip, by row number; rows from 1 - taps on.
template <typename S>
struct Ring {
  alignas(64) S data[kMostTaps * kStrip];

  S* row(int64_t t, int64_t taps) { return data + (t + taps) % taps * kStrip; }
};

// Parameters of a strip side by side: rows of the whole weight may all fall on the same lines of the cache.
template <typename S>
struct StripWeights {
  alignas(64) S weight[kMostTaps * kStrip];
  alignas(64) S bias[kStrip];

  template <typename T>
  StripWeights(const ConvProblem<T, S>& p, int64_t first, int64_t n) {
    for (int64_t k = 0; k < p.taps; ++k)
      std::copy_n(p.weight + k * p.channels + first, n, weight + k * kStrip);
    std::copy_n(p.bias + first, n, bias);
  }
};

// Rows that the taps meet, one a tap.
template <typename S>
struct Met {
  const S* row[kMostTaps] = {};
};

// start + sum over k of w[k] row[k] at channel i, k ascending.
template <int64_t K, typename S>
[[gnu::always_inline]] inline S tap_sum(const S* start, const S* weight, const Met<S>& met, int64_t i) {
  S sum = start[i];
#pragma GCC unroll 4
  for (int64_t k = 0; k < K; ++k) sum += weight[k * kStrip + i] * met.row[k][i];
  return sum;
}

// Calls body(taps as a constant, start): up to four taps are summed inside the body's loop; of more, the sum is its start.
template <typename S, typename Body>
[[gnu::always_inline]] inline void with_taps(int64_t taps, const S* start, const S* weight, const Met<S>& met,
                                             int64_t n, const Body& body) {
  if (taps == 4) return body(std::integral_constant<int64_t, 4>{}, start);
  if (taps == 3) return body(std::integral_constant<int64_t, 3>{}, start);
  if (taps == 2) return body(std::integral_constant<int64_t, 2>{}, start);
  alignas(64) S sum[kStrip];
  std::copy_n(start, n, sum);
  for (int64_t k = 0; k < taps; ++k) {
    const S* __restrict w = weight + k * kStrip;
    const S* __restrict row = met.row[k];
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) sum[i] += w[i] * row[i];
  }
  body(std::integral_constant<int64_t, 0>{}, sum);
}

template <typename T, typename S>
void widen(const T* __restrict from, int64_t n, S* __restrict to) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) to[i] = load(from[i]);
}

// y = silu(c)
template <int64_t K, typename T, typename S>
void store_silu(const S* start, const S* weight, const Met<S>& given, int64_t n, T* __restrict y) {
  const Met<S> met = given;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const S c = tap_sum<K>(start, weight, met, i);
    store(y[i], c * silu::sigmoid(c));
  }
}

// g = dy silu'(c); sums += g row[k], and g
template <int64_t K, typename T, typename S>
void store_gradient(const S* start, const S* weight, const Met<S>& given, const T* __restrict dy, int64_t n,
                    S* __restrict g, S* __restrict sums, S* __restrict bias_sum) {
  const Met<S> met = given;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const S c = tap_sum<K>(start, weight, met, i);
    const S gradient = load(dy[i]) * silu::slope(c, silu::sigmoid(c));
    g[i] = gradient;
#pragma GCC unroll 4
    for (int64_t k = 0; k < K; ++k) sums[k * kStrip + i] += gradient * met.row[k][i];
    bias_sum[i] += gradient;
  }
}

template <int64_t K, typename T, typename S>
void store_sum(const S* start, const S* weight, const Met<S>& given, int64_t n, T* __restrict to) {
  const Met<S> met = given;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) store(to[i], tap_sum<K>(start, weight, met, i));
}

// Asks for a strip of a row that will be needed soon: one page holds few strips, so that the machine does not foresee it.
template <typename T>
void prefetch(const T* row, int64_t n) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t i = 0; i < n; i += kLine) __builtin_prefetch(row + i, 0, 2);
}
constexpr int64_t kAhead = 2;  // rows

// Row `t`, which may lie before the first, of a strip into the ring.
template <typename T, typename S>
void load_row(const ConvProblem<T, S>& p, int64_t b, int64_t t, int64_t first, int64_t n, Ring<S>& ring) {
  S* to = ring.row(t, p.taps);
  if (t >= 0) return widen(p.x.row(b, t) + first, n, to);
  if (p.window.data != nullptr) return widen(p.window.row(b, p.taps - 1 + t) + first, n, to);
  std::fill_n(to, n, S(0));
}

// The inputs of row t; zeros for those of other documents.
template <typename T, typename S>
Met<S> inputs_of_row(const ConvProblem<T, S>& p, int64_t b, int64_t t, Ring<S>& ring, const S* zeros) {
  const int64_t* document = p.document != nullptr ? p.document + b * p.rows : nullptr;
  Met<S> met;
  for (int64_t k = 0; k < p.taps; ++k) {
    const int64_t from = t - (p.taps - 1) + k;
    const bool other = document != nullptr && document[std::max<int64_t>(from, 0)] != document[t];
    met.row[k] = other ? zeros : ring.row(from, p.taps);
  }
  return met;
}

template <typename T, typename S>
void forward_strip(const ConvProblem<T, S>& p, const ConvTile& tile, int64_t first, int64_t n,
                   const ConvRows<T>& y) {
  alignas(64) const S zeros[kStrip] = {};
  const StripWeights<S> w(p, first, n);
  Ring<S> ring;
  for (int64_t t = tile.first_row - p.taps + 1; t < tile.first_row; ++t)
    load_row(p, tile.sample, t, first, n, ring);
  for (int64_t t = tile.first_row; t < tile.end_row; ++t) {
    if (t + kAhead < tile.end_row) {
      prefetch(p.x.row(tile.sample, t + kAhead) + first, n);
      prefetch(y.row(tile.sample, t + kAhead) + first, n);
    }
    load_row(p, tile.sample, t, first, n, ring);
    const Met<S> met = inputs_of_row(p, tile.sample, t, ring, zeros);
    with_taps(p.taps, w.bias, w.weight, met, n, [&](auto taps, const S* start) {
      store_silu<taps>(start, w.weight, met, n, y.row(tile.sample, t) + first);
    });
  }
}

// The g of the rows whose taps meet input row u: tap k is that of row u + (taps - 1) - k.
template <typename T, typename S>
Met<S> gradients_at_row(const ConvProblem<T, S>& p, int64_t b, int64_t u, Ring<S>& ring, const S* zeros) {
  const int64_t* document = p.document != nullptr ? p.document + b * p.rows : nullptr;
  Met<S> met;
  for (int64_t k = 0; k < p.taps; ++k) {
    const int64_t from = u + (p.taps - 1) - k;
    const bool outside = from < 0 || from >= p.rows;
    const bool other = !outside && document != nullptr && document[from] != document[std::max<int64_t>(u, 0)];
    met.row[k] = outside || other ? zeros : ring.row(from, p.taps);
  }
  return met;
}

// Of a strip: the sums of its tile, and a place for those that belong to the next one.
template <typename S>
struct StripSums {
  alignas(64) S weight[kMostTaps * kStrip];
  alignas(64) S bias[kStrip];

  explicit StripSums(int64_t taps) {
    std::fill_n(weight, taps * kStrip, S(0));
    std::fill_n(bias, kStrip, S(0));
  }
  void add(const Met<S>& met, const S* __restrict g, int64_t taps, int64_t n) {
    for (int64_t k = 0; k < taps; ++k) {
      const S* __restrict row = met.row[k];
      S* __restrict sum = weight + k * kStrip;
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) sum[i] += g[i] * row[i];
    }
  }
  void add_to(S* total, int64_t taps, int64_t stride, int64_t n) const {
    for (int64_t k = 0; k <= taps; ++k) {
      const S* own = k < taps ? weight + k * kStrip : bias;
      for (int64_t i = 0; i < n; ++i) total[k * stride + i] += own[i];
    }
  }
};

// Rows ascend: g of row t goes into the ring, then the input row u = t - (taps - 1) has met all its taps. The taps - 1 rows
// after the tile are worked out here too, but their sums belong to the next tile.
template <typename T, typename S>
void backward_strip(const ConvProblem<T, S>& p, const ConvRows<const T>& dy, const ConvTile& tile,
                    int64_t first, int64_t n, const ConvOutputs<T, S>& out) {
  alignas(64) const S zeros[kStrip] = {};
  const StripWeights<S> w(p, first, n);
  Ring<S> inputs, gradients;
  StripSums<S> sums(p.taps), after(p.taps);
  const int64_t b = tile.sample;
  const int64_t halo = p.taps - 1;
  const bool with_window = tile.first_row == 0 && out.dwindow.data != nullptr;
  for (int64_t t = tile.first_row - halo; t < tile.first_row; ++t) load_row(p, b, t, first, n, inputs);
  for (int64_t t = tile.first_row; t < tile.end_row + halo; ++t) {
    if (t + kAhead < tile.end_row) {
      prefetch(p.x.row(b, t + kAhead) + first, n);
      prefetch(dy.row(b, t + kAhead) + first, n);
      prefetch(out.dx.row(b, t + kAhead) + first, n);
    }
    if (t < p.rows) {
      load_row(p, b, t, first, n, inputs);
      const Met<S> met = inputs_of_row(p, b, t, inputs, zeros);
      S* g = gradients.row(t, p.taps);
      StripSums<S>& to = t < tile.end_row ? sums : after;
      with_taps(p.taps, w.bias, w.weight, met, n, [&](auto taps, const S* start) {
        store_gradient<taps>(start, w.weight, met, dy.row(b, t) + first, n, g, to.weight, to.bias);
        if constexpr (taps == 0) to.add(met, g, p.taps, n);
      });
    }
    const int64_t u = t - halo;
    if (u < tile.first_row && !(with_window && u < 0)) continue;
    const Met<S> met = gradients_at_row(p, b, u, gradients, zeros);
    with_taps(p.taps, zeros, w.weight, met, n, [&](auto taps, const S* start) {
      if (u < 0) {
        store_sum<taps>(start, w.weight, met, n, out.dwindow.row(b, u + halo) + first);
      } else {
        store_sum<taps>(start, w.weight, met, n, out.dx.row(b, u) + first);
      }
    });
  }
  sums.add_to(out.sums + first, p.taps, p.channels, n);
}

template <typename T, typename S>
void forward_tile(const ConvProblem<T, S>& p, const ConvTile& tile, const ConvRows<T>& y) {
  for (int64_t first = tile.first_channel; first < tile.end_channel; first += kStrip) {
    forward_strip(p, tile, first, std::min(kStrip, tile.end_channel - first), y);
  }
}

template <typename T, typename S>
void backward_tile(const ConvProblem<T, S>& p, const ConvRows<const T>& dy, const ConvTile& tile,
                   const ConvOutputs<T, S>& out) {
  for (int64_t first = tile.first_channel; first < tile.end_channel; first += kStrip) {
    backward_strip(p, dy, tile, first, std::min(kStrip, tile.end_channel - first), out);
  }
}

template <typename T, typename S>
void step_row(const ConvProblem<T, S>& p, const ConvStep<T, S>& step, int64_t begin, int64_t end) {
  Ring<S> ring;
  for (int64_t first = begin; first < end; first += kStrip) {
    const int64_t n = std::min(kStrip, end - first);
    const StripWeights<S> w(p, first, n);
    Met<S> met;
    const T* x = step.x + first;
    T* window = step.window + first;
    const int64_t newest = p.taps - 1;
    for (int64_t k = 0; k <= newest; ++k) {
      S* row = ring.row(k, p.taps);
      widen(k < newest ? window + k * step.window_stride : x, n, row);
      met.row[k] = row;
    }
    for (int64_t k = 0; k < newest; ++k) {
      const T* next = k + 1 < newest ? window + (k + 1) * step.window_stride : x;
      std::copy_n(next, n, window + k * step.window_stride);
    }
    with_taps(p.taps, w.bias, w.weight, met, n,
              [&](auto taps, const S* start) { store_silu<taps>(start, w.weight, met, n, step.y + first); });
  }
}

// Dispatch tables hold plain functions.
#define PHALANX_CONV_BODIES(NAME, T, S)                                                                 \
  void Forward##NAME(const ConvProblem<T, S>& p, const ConvTile& tile, const ConvRows<T>& y) {          \
    forward_tile(p, tile, y);                                                                           \
  }                                                                                                     \
  void Backward##NAME(const ConvProblem<T, S>& p, const ConvRows<const T>& dy, const ConvTile& tile,    \
                      const ConvOutputs<T, S>& out) {                                                   \
    backward_tile(p, dy, tile, out);                                                                    \
  }                                                                                                     \
  void Step##NAME(const ConvProblem<T, S>& p, const ConvStep<T, S>& step, int64_t begin, int64_t end) { \
    step_row(p, step, begin, end);                                                                      \
  }
PHALANX_CONV_BODIES(Double, double, double)
PHALANX_CONV_BODIES(Float, float, float)
PHALANX_CONV_BODIES(Bfloat16, uint16_t, float)
#undef PHALANX_CONV_BODIES

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace phalanx::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phalanx::kernels {

HWY_EXPORT(ForwardDouble);
HWY_EXPORT(ForwardFloat);
HWY_EXPORT(ForwardBfloat16);
HWY_EXPORT(BackwardDouble);
HWY_EXPORT(BackwardFloat);
HWY_EXPORT(BackwardBfloat16);
HWY_EXPORT(StepDouble);
HWY_EXPORT(StepFloat);
HWY_EXPORT(StepBfloat16);

// The table of storage T.
#define PHALANX_CONV_CALL(NAME, ...)                   \
  if constexpr (std::is_same_v<T, double>) {           \
    HWY_DYNAMIC_DISPATCH(NAME##Double)(__VA_ARGS__);   \
  } else if constexpr (std::is_same_v<T, float>) {     \
    HWY_DYNAMIC_DISPATCH(NAME##Float)(__VA_ARGS__);    \
  } else {                                             \
    HWY_DYNAMIC_DISPATCH(NAME##Bfloat16)(__VA_ARGS__); \
  }

template <typename T, typename S>
void conv_forward_tile(const ConvProblem<T, S>& problem, const ConvTile& tile, const ConvRows<T>& y) {
  PHALANX_CONV_CALL(Forward, problem, tile, y)
}

template <typename T, typename S>
void conv_backward_tile(const ConvProblem<T, S>& problem, const ConvRows<const T>& dy, const ConvTile& tile,
                        const ConvOutputs<T, S>& out) {
  PHALANX_CONV_CALL(Backward, problem, dy, tile, out)
}

template <typename T, typename S>
void conv_step(const ConvProblem<T, S>& problem, const ConvStep<T, S>& step, int64_t begin,
               int64_t end){PHALANX_CONV_CALL(Step, problem, step, begin, end)}

#define PHALANX_CONV_INSTANCES(T, S)                                                                    \
  template void conv_forward_tile(const ConvProblem<T, S>&, const ConvTile&, const ConvRows<T>&);       \
  template void conv_backward_tile(const ConvProblem<T, S>&, const ConvRows<const T>&, const ConvTile&, \
                                   const ConvOutputs<T, S>&);                                           \
  template void conv_step(const ConvProblem<T, S>&, const ConvStep<T, S>&, int64_t, int64_t);
PHALANX_CONV_INSTANCES(double, double) PHALANX_CONV_INSTANCES(float, float)
    PHALANX_CONV_INSTANCES(uint16_t, float)
#undef PHALANX_CONV_INSTANCES
#undef PHALANX_CONV_CALL

}  // namespace phalanx::kernels
#endif  // HWY_ONCE
