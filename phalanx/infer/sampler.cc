#include "phalanx/infer/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "phalanx/base/error.h"

namespace phalanx {

void validate(const SamplingOptions& options) {
  const auto require = [](bool holds, const char* flag, const std::string& got, const char* needed) {
    if (!holds)
      throw Error(ErrorKind::kUsage,
                  {.where = flag, .got = got, .needed = needed, .fix = "change the value"});
  };
  require(options.temperature >= 0 && std::isfinite(options.temperature), "--temperature",
          std::to_string(options.temperature), "a number of at least 0 (0 is greedy)");
  require(options.top_k >= 0, "--top-k", std::to_string(options.top_k), "a count of at least 0 (0 is off)");
  require(options.top_p > 0 && options.top_p <= 1, "--top-p", std::to_string(options.top_p),
          "a share above 0 and up to 1 (1 is off)");
}

int64_t sample_token(std::span<const float> logits, const SamplingOptions& options, double uniform) {
  PHALANX_CHECK(std::none_of(logits.begin(), logits.end(), [](float x) { return std::isnan(x); }),
                "NaN cannot be sorted");
  const auto better = [&logits](int64_t a, int64_t b) {
    const float x = logits[static_cast<size_t>(a)];
    const float y = logits[static_cast<size_t>(b)];
    return x > y || (x == y && a < b);
  };
  std::vector<int64_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  if (options.temperature == 0 || options.top_k == 1)
    return *std::min_element(order.begin(), order.end(), better);

  size_t kept = order.size();
  if (options.top_k > 0) kept = std::min(kept, static_cast<size_t>(options.top_k));
  std::partial_sort(order.begin(), order.begin() + static_cast<int64_t>(kept), order.end(), better);
  order.resize(kept);

  std::vector<double> weight(kept);
  const double top = logits[static_cast<size_t>(order[0])];
  double total = 0;
  for (size_t i = 0; i < kept; ++i) {
    weight[i] = std::exp((logits[static_cast<size_t>(order[i])] - top) / options.temperature);
    total += weight[i];
  }
  if (options.top_p < 1) {
    // The smallest set whose share reaches top_p; the token that crosses it stays.
    double share = 0;
    size_t n = 0;
    while (n < kept && share < options.top_p * total) share += weight[n++];
    kept = n;
    total = share;
  }
  double left = uniform * total;
  for (size_t i = 0; i < kept; ++i) {
    left -= weight[i];
    if (left < 0) return order[i];
  }
  return order[kept - 1];
}

}  // namespace phalanx
