#include "phalanx/data/blend_index.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

// numpy's sum: eight running sums over at most 128 numbers, halves above that.
double pairwise_sum(std::span<const double> values) {
  const size_t n = values.size();
  if (n < 8) return std::accumulate(values.begin(), values.end(), 0.0);
  if (n > 128) {
    const size_t half = n / 2 - n / 2 % 8;
    return pairwise_sum(values.first(half)) + pairwise_sum(values.subspan(half));
  }
  std::array<double, 8> sums{};
  std::copy_n(values.begin(), 8, sums.begin());
  size_t i = 8;
  for (; i + 8 <= n; i += 8) {
    for (size_t lane = 0; lane < 8; ++lane) sums[lane] += values[i + lane];
  }
  const double all =
      ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
  return std::accumulate(values.begin() + static_cast<int64_t>(i), values.end(), all);
}

using Doubles2 = double __attribute__((vector_size(16)));  // every 64-bit machine has such registers

Doubles2 load2(const double* from) {
  Doubles2 value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

// The errors w max(t, 1) - count of all data sets, and the first of the largest. The largest is found before its place,
// so that nothing waits for a guess which data set is next.
class ErrorRule {
 public:
  explicit ErrorRule(std::span<const double> weights)
      : size_((weights.size() + 3) / 4 * 4), weights_(size_), counts_(size_), errors_(size_) {
    std::copy(weights.begin(), weights.end(), weights_.begin());
    std::fill(counts_.begin() + static_cast<int64_t>(weights.size()), counts_.end(), kNever);
  }

  size_t next(int64_t t) {
    const double time = std::max(static_cast<double>(t), 1.0);
    Doubles2 one{-kNever, -kNever}, two = one;
    for (size_t i = 0; i < size_; i += 4) {
      const Doubles2 a = load2(&weights_[i]) * time - load2(&counts_[i]);
      const Doubles2 b = load2(&weights_[i + 2]) * time - load2(&counts_[i + 2]);
      std::memcpy(&errors_[i], &a, sizeof(a));
      std::memcpy(&errors_[i + 2], &b, sizeof(b));
      one = a > one ? a : one;
      two = b > two ? b : two;
    }
    one = two > one ? two : one;
    const double largest = std::max(one[0], one[1]);
    size_t best = 0;
    while (errors_[best] != largest) ++best;
    return best;
  }

  double count(size_t dataset) const { return counts_[dataset]; }
  void take(size_t dataset) { counts_[dataset] += 1.0; }  // whole numbers, exact
  void drop(size_t dataset) { counts_[dataset] = kNever; }

 private:
  static constexpr double kNever = std::numeric_limits<double>::infinity();

  size_t size_;
  std::vector<double> weights_, counts_, errors_;
};

class BlendWriter {
 public:
  explicit BlendWriter(int64_t size)
      : datasets_(make_index_array<int16_t>(static_cast<size_t>(size))),
        samples_(make_index_array<uint32_t>(static_cast<size_t>(size))) {}

  void put(size_t at, size_t dataset, double sample) {
    datasets_.values[at] = static_cast<int16_t>(dataset);
    samples_.values[at] = static_cast<uint32_t>(sample);
  }
  BlendIndex finish() const { return {datasets_.finish(), samples_.finish()}; }

 private:
  NewIndexArray<int16_t> datasets_;
  NewIndexArray<uint32_t> samples_;
};

void check_count(size_t count, int64_t size) {
  PHALANX_CHECK(count >= 1 && count <= static_cast<size_t>(kMaxBlendedDatasets), "1 to 32766 data sets");
  PHALANX_CHECK(size >= 0 && size <= int64_t{0xffffffff}, "at most 2^32 - 1 samples");
}

}  // namespace

std::vector<double> normalize_weights(std::span<const double> weights) {
  const double sum = pairwise_sum(weights);
  std::vector<double> shares(weights.begin(), weights.end());
  for (double& share : shares) share /= sum;
  return shares;
}

BlendIndex build_blend_index(std::span<const double> weights, int64_t size) {
  check_count(weights.size(), size);
  BlendWriter writer(size);
  ErrorRule rule(weights);
  for (int64_t t = 0; t < size; ++t) {
    const size_t dataset = rule.next(t);
    writer.put(static_cast<size_t>(t), dataset, rule.count(dataset));
    rule.take(dataset);
  }
  return writer.finish();
}

BlendIndex build_exhaustive_blend_index(std::span<const int64_t> sizes) {
  const int64_t total = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
  check_count(sizes.size(), total);
  std::vector<double> weights;
  for (const int64_t size : sizes) {
    PHALANX_CHECK(size > 0, "a data set of a blend has samples");
    weights.push_back(static_cast<double>(size) / static_cast<double>(total));
  }
  BlendWriter writer(total);
  ErrorRule rule(weights);
  for (int64_t t = 0; t < total; ++t) {
    const size_t dataset = rule.next(t);
    writer.put(static_cast<size_t>(t), dataset, rule.count(dataset));
    rule.take(dataset);
    if (rule.count(dataset) == static_cast<double>(sizes[dataset])) rule.drop(dataset);
  }
  return writer.finish();
}

int64_t blend_share(int64_t size, double weight) {
  return static_cast<int64_t>(std::ceil(static_cast<double>(size) * weight));
}

int64_t blend_share_to_build(int64_t size, double weight, double surplus) {
  return static_cast<int64_t>(std::ceil(static_cast<double>(blend_share(size, weight)) * (1.0 + surplus)));
}

}  // namespace phalanx
