#include "phalanx/kernels/grad_norm/grad_norm_cpu.h"

namespace phalanx::kernels {

template <typename T>
double block_sum_of_squares(const T* x, int64_t n) {
  constexpr int64_t kLanes = 16;
  double lanes[kLanes] = {};
  const int64_t whole = n - n % kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
#pragma omp simd
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const auto value = static_cast<double>(x[i + lane]);
      lanes[lane] += value * value;
    }
  }
  for (int64_t i = whole; i < n; ++i) {
    const auto value = static_cast<double>(x[i]);
    lanes[i - whole] += value * value;
  }
  double total = 0.0;
  for (const double lane : lanes) total += lane;
  return total;
}

template double block_sum_of_squares(const float*, int64_t);
template double block_sum_of_squares(const double*, int64_t);

}  // namespace phalanx::kernels
