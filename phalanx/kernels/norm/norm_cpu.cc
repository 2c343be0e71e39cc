#include "phalanx/kernels/norm/norm_cpu.h"

#include <cmath>

#include "phalanx/kernels/element_cpu.h"

namespace phalanx::kernels {
namespace {

// Independent partial sums: enough to hide the latency of an addition, and a fixed order for every vector width.
constexpr int64_t kLanes = 32;

// Sum of value(i) over [0, n).
template <typename S, typename Value>
inline S sum(int64_t n, const Value& value) {
  S lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += value(i + lane);
  }
  for (int64_t lane = 0; i + lane < n; ++lane) lanes[lane] += value(i + lane);
  for (int64_t width = kLanes / 2; width > 0; width /= 2) {
    for (int64_t lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  }
  return lanes[0];
}

}  // namespace

template <typename T, typename S>
void norm_statistics_rows(const NormRows<T>& x, int64_t columns, double epsilon, S* mean, S* rstd,
                          int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    const T* row = x.row(r);
    S centre = 0;
    if (mean != nullptr) {
      centre = sum<S>(columns, [row](int64_t i) { return load(row[i]); }) / static_cast<S>(columns);
      mean[r] = centre;
    }
    const S squares = sum<S>(columns, [row, centre](int64_t i) {
      const S centred = load(row[i]) - centre;
      return centred * centred;
    });
    rstd[r] = S(1) / std::sqrt(squares / static_cast<S>(columns) + static_cast<S>(epsilon));
  }
}

template <typename T, typename S>
void norm_apply_rows(const NormRows<T>& x, const S* mean, const S* rstd, const NormAffine<S>& affine, T* y,
                     int64_t begin, int64_t end) {
  const int64_t columns = affine.columns;
  const S* __restrict weight = affine.weight;
  const S* __restrict bias = affine.bias;
  for (int64_t r = begin; r < end; ++r) {
    const T* __restrict row = x.row(r);
    T* __restrict to = y + r * columns;
    const S centre = mean != nullptr ? mean[r] : S(0);
    const S scale = rstd[r];
    if (bias != nullptr) {
#pragma omp simd
      for (int64_t i = 0; i < columns; ++i) {
        store(to[i], (load(row[i]) - centre) * scale * weight[i] + bias[i]);
      }
    } else {
#pragma omp simd
      for (int64_t i = 0; i < columns; ++i) store(to[i], (load(row[i]) - centre) * scale * weight[i]);
    }
  }
}

template <typename T, typename S>
void norm_backward_rows(const NormRows<T>& dy, const NormRows<T>& x, const S* mean, const S* rstd,
                        const NormAffine<S>& affine, T* dx, S* dweight, S* dbias, int64_t begin,
                        int64_t end) {
  const int64_t columns = affine.columns;
  const S* __restrict weight = affine.weight;
  S* __restrict weight_sum = dweight;
  S* __restrict bias_sum = dbias;
  for (int64_t r = begin; r < end; ++r) {
    const T* __restrict dy_row = dy.row(r);
    const T* __restrict row = x.row(r);
    T* __restrict to = dx + r * columns;
    const S centre = mean != nullptr ? mean[r] : S(0);
    const S scale = rstd[r];
    // With g = dy w and z = (x - mean) rstd:  dx = rstd (g - mean(g) - z mean(g z)).
    S mean_g = 0;
    if (mean != nullptr) {
      mean_g =
          sum<S>(columns, [=](int64_t i) { return load(dy_row[i]) * weight[i]; }) / static_cast<S>(columns);
    }
    const S mean_gz =
        sum<S>(columns,
               [=](int64_t i) { return load(dy_row[i]) * weight[i] * ((load(row[i]) - centre) * scale); }) /
        static_cast<S>(columns);
#pragma omp simd
    for (int64_t i = 0; i < columns; ++i) {
      const S gradient = load(dy_row[i]);
      const S z = (load(row[i]) - centre) * scale;
      store(to[i], scale * (gradient * weight[i] - mean_g - z * mean_gz));
      weight_sum[i] += gradient * z;
    }
    if (bias_sum != nullptr) {
#pragma omp simd
      for (int64_t i = 0; i < columns; ++i) bias_sum[i] += load(dy_row[i]);
    }
  }
}

#define PHALANX_NORM_BODIES(T, S)                                                                          \
  template void norm_statistics_rows(const NormRows<T>&, int64_t, double, S*, S*, int64_t, int64_t);       \
  template void norm_apply_rows(const NormRows<T>&, const S*, const S*, const NormAffine<S>&, T*, int64_t, \
                                int64_t);                                                                  \
  template void norm_backward_rows(const NormRows<T>&, const NormRows<T>&, const S*, const S*,             \
                                   const NormAffine<S>&, T*, S*, S*, int64_t, int64_t);
PHALANX_NORM_BODIES(double, double)
PHALANX_NORM_BODIES(float, float)
PHALANX_NORM_BODIES(uint16_t, float)
#undef PHALANX_NORM_BODIES

}  // namespace phalanx::kernels
