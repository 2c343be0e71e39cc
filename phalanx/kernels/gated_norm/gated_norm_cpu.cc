#include "phalanx/kernels/gated_norm/gated_norm_cpu.h"

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "phalanx/kernels/gated_norm/silu_cpu.h"

// Compiled once for each kind of vectors; plain loops, so that all give the same bits.
#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "phalanx/kernels/gated_norm/gated_norm_cpu.cc"
#include <hwy/foreach_target.h>
// foreach_target.h comes first.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace phalanx::kernels {
namespace HWY_NAMESPACE {
namespace {

// Independent partial sums, in a fixed order for every vector width.
constexpr int64_t kLanes = 32;

// Sum of value(i) over [0, n).
template <typename S, typename Value>
[[gnu::always_inline]] inline S sum(int64_t n, const Value& value) {
  S lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
#pragma omp simd
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += value(i + lane);
  }
  for (int64_t lane = 0; i + lane < n; ++lane) lanes[lane] += value(i + lane);
  for (int64_t width = kLanes / 2; width > 0; width /= 2) {
    for (int64_t lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  }
  return lanes[0];
}

// Calls body(group, first column, columns) for the groups of a row.
template <typename T, typename S, typename Body>
[[gnu::always_inline]] inline void for_groups(const GatedRows<T, S>& p, const Body& body) {
  int64_t begin = 0;
  for (int64_t group = 0; begin < p.columns; ++group) {
    const int64_t end = std::min(p.columns, (group + 1) * p.group_size - p.missing_before);
    body(group, begin, end - begin);
    begin = end;
  }
}

// The columns of one group in one row.
template <typename T, typename S>
struct Piece {
  const T* y;
  const T* z;
  const S* weight;
  int64_t n;

  Piece(const GatedRows<T, S>& p, int64_t row, int64_t first, int64_t count)
      : y(p.y + row * p.y_stride + first),
        z(p.z + row * p.z_stride + first),
        weight(p.weight + first),
        n(count) {}
};

// v: what is normalised.
template <typename T, typename S>
void norm_input(const Piece<T, S>& piece, bool norm_before_gate, S* __restrict v) {
  const T* __restrict y = piece.y;
  const T* __restrict z = piece.z;
  if (norm_before_gate) {
#pragma omp simd
    for (int64_t i = 0; i < piece.n; ++i) v[i] = load(y[i]);
  } else {
#pragma omp simd
    for (int64_t i = 0; i < piece.n; ++i) {
      const S gate = load(z[i]);
      v[i] = load(y[i]) * (gate * silu::sigmoid(gate));
    }
  }
}

template <typename T, typename S>
void apply_piece(const Piece<T, S>& piece, bool norm_before_gate, const S* __restrict v, S rstd,
                 T* __restrict out) {
  const S* __restrict weight = piece.weight;
  const T* __restrict z = piece.z;
  if (norm_before_gate) {
#pragma omp simd
    for (int64_t i = 0; i < piece.n; ++i) {
      const S gate = load(z[i]);
      store(out[i], v[i] * rstd * weight[i] * (gate * silu::sigmoid(gate)));
    }
  } else {
#pragma omp simd
    for (int64_t i = 0; i < piece.n; ++i) store(out[i], v[i] * rstd * weight[i]);
  }
}

template <typename S>
S sum_of_squares(const S* v, int64_t n) {
  return sum<S>(n, [v](int64_t i) { return v[i] * v[i]; });
}

template <typename T, typename S>
void forward_rows(const GatedRows<T, S>& p, S* rstd, T* out, int64_t begin, int64_t end) {
  std::vector<S> v(static_cast<size_t>(std::min(p.columns, p.group_size)));
  for (int64_t row = begin; row < end; ++row) {
    for_groups(p, [&](int64_t group, int64_t first, int64_t count) {
      const Piece<T, S> piece(p, row, first, count);
      norm_input(piece, p.norm_before_gate, v.data());
      const S mean = sum_of_squares(v.data(), count) / static_cast<S>(p.group_size);
      const S r = S(1) / std::sqrt(mean + static_cast<S>(p.epsilon));
      rstd[row * p.groups() + group] = r;
      apply_piece(piece, p.norm_before_gate, v.data(), r, out + row * p.columns + first);
    });
  }
}

template <typename T, typename S>
void squares_rows(const GatedRows<T, S>& p, S* squares, int64_t begin, int64_t end) {
  std::vector<S> v(static_cast<size_t>(std::min(p.columns, p.group_size)));
  for (int64_t row = begin; row < end; ++row) {
    for_groups(p, [&](int64_t group, int64_t first, int64_t count) {
      norm_input(Piece<T, S>(p, row, first, count), p.norm_before_gate, v.data());
      squares[row * p.groups() + group] = sum_of_squares(v.data(), count);
    });
  }
}

template <typename T, typename S>
void apply_rows(const GatedRows<T, S>& p, const S* rstd, T* out, int64_t begin, int64_t end) {
  std::vector<S> v(static_cast<size_t>(std::min(p.columns, p.group_size)));
  for (int64_t row = begin; row < end; ++row) {
    for_groups(p, [&](int64_t group, int64_t first, int64_t count) {
      const Piece<T, S> piece(p, row, first, count);
      norm_input(piece, p.norm_before_gate, v.data());
      apply_piece(piece, p.norm_before_gate, v.data(), rstd[row * p.groups() + group],
                  out + row * p.columns + first);
    });
  }
}

// Of a piece, kept between the sum of products and the gradients: the sigmoid of the gate, n = v rstd, and g' n.
template <typename S>
struct Scratch {
  std::vector<S> sigmoid, normed, product;

  explicit Scratch(int64_t n)
      : sigmoid(static_cast<size_t>(n)), normed(static_cast<size_t>(n)), product(static_cast<size_t>(n)) {}
};

// g' = dout w, times silu(z) when the norm comes first.
template <bool kFirst, typename T, typename S>
void fill_products(const Piece<T, S>& piece, const T* __restrict dout, S rstd, Scratch<S>& scratch) {
  const T* __restrict y = piece.y;
  const T* __restrict z = piece.z;
  const S* __restrict weight = piece.weight;
  S* __restrict sigmoid = scratch.sigmoid.data();
  S* __restrict normed = scratch.normed.data();
  S* __restrict product = scratch.product.data();
#pragma omp simd
  for (int64_t i = 0; i < piece.n; ++i) {
    const S gate = load(z[i]);
    const S s = silu::sigmoid(gate);
    const S open = gate * s;
    const S n = (kFirst ? load(y[i]) : load(y[i]) * open) * rstd;
    const S g = load(dout[i]) * weight[i];
    sigmoid[i] = s;
    normed[i] = n;
    product[i] = (kFirst ? g * open : g) * n;
  }
}

template <typename T, typename S>
S sum_of_products(const Piece<T, S>& piece, bool norm_before_gate, const T* dout, S rstd,
                  Scratch<S>& scratch) {
  if (norm_before_gate) {
    fill_products<true>(piece, dout, rstd, scratch);
  } else {
    fill_products<false>(piece, dout, rstd, scratch);
  }
  const S* product = scratch.product.data();
  return sum<S>(piece.n, [product](int64_t i) { return product[i]; });
}

// dv = rstd (g' - n mean(g' n))
template <bool kFirst, typename T, typename S>
void gradients_of_piece(const Piece<T, S>& piece, const T* __restrict dout, S rstd, S mean,
                        const Scratch<S>& scratch, T* __restrict dy, T* __restrict dz,
                        S* __restrict dweight) {
  const T* __restrict y = piece.y;
  const T* __restrict z = piece.z;
  const S* __restrict weight = piece.weight;
  const S* __restrict sigmoid = scratch.sigmoid.data();
  const S* __restrict normed = scratch.normed.data();
#pragma omp simd
  for (int64_t i = 0; i < piece.n; ++i) {
    const S gate = load(z[i]);
    const S open = gate * sigmoid[i];
    const S slope = silu::slope(gate, sigmoid[i]);
    const S g = load(dout[i]);
    if constexpr (kFirst) {
      store(dy[i], rstd * (g * weight[i] * open - normed[i] * mean));
      store(dz[i], g * (normed[i] * weight[i]) * slope);
      dweight[i] += g * open * normed[i];
    } else {
      const S dv = rstd * (g * weight[i] - normed[i] * mean);
      store(dy[i], dv * open);
      store(dz[i], dv * load(y[i]) * slope);
      dweight[i] += g * normed[i];
    }
  }
}

template <typename T, typename S>
void products_rows(const GatedRows<T, S>& p, const GatedGradients<T, S>& g, S* products, int64_t begin,
                   int64_t end) {
  Scratch<S> scratch(std::min(p.columns, p.group_size));
  for (int64_t row = begin; row < end; ++row) {
    for_groups(p, [&](int64_t group, int64_t first, int64_t count) {
      const int64_t at = row * p.groups() + group;
      products[at] = sum_of_products(Piece<T, S>(p, row, first, count), p.norm_before_gate,
                                     g.dout + row * g.dout_stride + first, g.rstd[at], scratch);
    });
  }
}

template <typename T, typename S>
void backward_rows(const GatedRows<T, S>& p, const GatedGradients<T, S>& g, const S* products, S* dweight,
                   int64_t begin, int64_t end) {
  Scratch<S> scratch(std::min(p.columns, p.group_size));
  for (int64_t row = begin; row < end; ++row) {
    for_groups(p, [&](int64_t group, int64_t first, int64_t count) {
      const int64_t at = row * p.groups() + group;
      const Piece<T, S> piece(p, row, first, count);
      const T* dout = g.dout + row * g.dout_stride + first;
      const S own = sum_of_products(piece, p.norm_before_gate, dout, g.rstd[at], scratch);
      const S mean = (products != nullptr ? products[at] : own) / static_cast<S>(p.group_size);
      T* dy = g.dy + row * p.columns + first;
      T* dz = g.dz + row * g.dz_stride + first;
      if (p.norm_before_gate) {
        gradients_of_piece<true>(piece, dout, g.rstd[at], mean, scratch, dy, dz, dweight + first);
      } else {
        gradients_of_piece<false>(piece, dout, g.rstd[at], mean, scratch, dy, dz, dweight + first);
      }
    });
  }
}

// Dispatch tables hold plain functions.
#define PHALANX_GATED_BODIES(NAME, T, S)                                                                   \
  void Forward##NAME(const GatedRows<T, S>& p, S* rstd, T* out, int64_t begin, int64_t end) {              \
    forward_rows(p, rstd, out, begin, end);                                                                \
  }                                                                                                        \
  void Squares##NAME(const GatedRows<T, S>& p, S* squares, int64_t begin, int64_t end) {                   \
    squares_rows(p, squares, begin, end);                                                                  \
  }                                                                                                        \
  void Apply##NAME(const GatedRows<T, S>& p, const S* rstd, T* out, int64_t begin, int64_t end) {          \
    apply_rows(p, rstd, out, begin, end);                                                                  \
  }                                                                                                        \
  void Products##NAME(const GatedRows<T, S>& p, const GatedGradients<T, S>& g, S* products, int64_t begin, \
                      int64_t end) {                                                                       \
    products_rows(p, g, products, begin, end);                                                             \
  }                                                                                                        \
  void Backward##NAME(const GatedRows<T, S>& p, const GatedGradients<T, S>& g, const S* products,          \
                      S* dweight, int64_t begin, int64_t end) {                                            \
    backward_rows(p, g, products, dweight, begin, end);                                                    \
  }
PHALANX_GATED_BODIES(Double, double, double)
PHALANX_GATED_BODIES(Float, float, float)
PHALANX_GATED_BODIES(Bfloat16, uint16_t, float)
#undef PHALANX_GATED_BODIES

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace phalanx::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phalanx::kernels {

#define PHALANX_GATED_EXPORT(NAME) \
  HWY_EXPORT(NAME##Double);        \
  HWY_EXPORT(NAME##Float);         \
  HWY_EXPORT(NAME##Bfloat16);
PHALANX_GATED_EXPORT(Forward)
PHALANX_GATED_EXPORT(Squares)
PHALANX_GATED_EXPORT(Apply)
PHALANX_GATED_EXPORT(Products)
PHALANX_GATED_EXPORT(Backward)
#undef PHALANX_GATED_EXPORT

// The table of storage T.
#define PHALANX_GATED_CALL(NAME, ...)                  \
  if constexpr (std::is_same_v<T, double>) {           \
    HWY_DYNAMIC_DISPATCH(NAME##Double)(__VA_ARGS__);   \
  } else if constexpr (std::is_same_v<T, float>) {     \
    HWY_DYNAMIC_DISPATCH(NAME##Float)(__VA_ARGS__);    \
  } else {                                             \
    HWY_DYNAMIC_DISPATCH(NAME##Bfloat16)(__VA_ARGS__); \
  }

template <typename T, typename S>
void gated_forward_rows(const GatedRows<T, S>& rows, S* rstd, T* out, int64_t begin, int64_t end) {
  PHALANX_GATED_CALL(Forward, rows, rstd, out, begin, end)
}

template <typename T, typename S>
void gated_squares_rows(const GatedRows<T, S>& rows, S* squares, int64_t begin, int64_t end) {
  PHALANX_GATED_CALL(Squares, rows, squares, begin, end)
}

template <typename T, typename S>
void gated_apply_rows(const GatedRows<T, S>& rows, const S* rstd, T* out, int64_t begin, int64_t end) {
  PHALANX_GATED_CALL(Apply, rows, rstd, out, begin, end)
}

template <typename T, typename S>
void gated_products_rows(const GatedRows<T, S>& rows, const GatedGradients<T, S>& g, S* products,
                         int64_t begin, int64_t end) {
  PHALANX_GATED_CALL(Products, rows, g, products, begin, end)
}

template <typename T, typename S>
void gated_backward_rows(const GatedRows<T, S>& rows, const GatedGradients<T, S>& g, const S* products,
                         S* dweight, int64_t begin,
                         int64_t end){PHALANX_GATED_CALL(Backward, rows, g, products, dweight, begin, end)}

#define PHALANX_GATED_INSTANCES(T, S)                                                                  \
  template void gated_forward_rows(const GatedRows<T, S>&, S*, T*, int64_t, int64_t);                  \
  template void gated_squares_rows(const GatedRows<T, S>&, S*, int64_t, int64_t);                      \
  template void gated_apply_rows(const GatedRows<T, S>&, const S*, T*, int64_t, int64_t);              \
  template void gated_products_rows(const GatedRows<T, S>&, const GatedGradients<T, S>&, S*, int64_t,  \
                                    int64_t);                                                          \
  template void gated_backward_rows(const GatedRows<T, S>&, const GatedGradients<T, S>&, const S*, S*, \
                                    int64_t, int64_t);
PHALANX_GATED_INSTANCES(double, double) PHALANX_GATED_INSTANCES(float, float)
    PHALANX_GATED_INSTANCES(uint16_t, float)
#undef PHALANX_GATED_INSTANCES
#undef PHALANX_GATED_CALL

}  // namespace phalanx::kernels
#endif  // HWY_ONCE
