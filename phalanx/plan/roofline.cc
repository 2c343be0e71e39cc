#include "phalanx/plan/roofline.h"

#include <algorithm>

namespace phalanx {
namespace {

constexpr int64_t kLong = 256;
constexpr int64_t kShort = 128;

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

}  // namespace

double product_seconds(const Product& product, const Cluster& cluster) {
  const auto [m, n, k, batch] = product;
  const int64_t upright = ceil_div(m, kLong) * ceil_div(n, kShort);
  const int64_t lying = ceil_div(m, kShort) * ceil_div(n, kLong);
  const int64_t waves = ceil_div(std::min(upright, lying) * batch, cluster.multiprocessors);
  const auto whole_tiles = static_cast<double>(waves * cluster.multiprocessors);
  // As many operations as full tiles in full waves would do.
  const double flops = 2.0 * whole_tiles * kLong * kShort * static_cast<double>(k);
  const auto b = static_cast<double>(batch);
  const double elements =
      b * (static_cast<double>(m * k) + static_cast<double>(k * n) + static_cast<double>(m * n));
  return std::max(flops / (cluster.matmul_efficiency * cluster.peak_flops),
                  memory_seconds(2 * elements, cluster));
}

double memory_seconds(double bytes, const Cluster& cluster) {
  return bytes / (cluster.memory_efficiency * cluster.memory_bandwidth);
}

}  // namespace phalanx
