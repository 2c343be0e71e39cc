#include "phalanx/data/blend_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <utility>

#include "phalanx/base/json.h"

namespace phalanx {
namespace {

using testing::ElementsAre;

using Pairs = std::vector<std::pair<int, int>>;

Pairs pairs_of(const BlendIndex& index) {
  Pairs pairs;
  for (size_t t = 0; t < index.datasets.size(); ++t) {
    pairs.emplace_back(index.datasets[t], static_cast<int>(index.samples[t]));
  }
  return pairs;
}

uint64_t hash_of(const BlendIndex& index) {
  uint64_t hash = 1469598103934665603u;
  for (const auto& [dataset, sample] : pairs_of(index)) {
    for (const int value : {dataset, sample}) hash = (hash ^ static_cast<uint64_t>(value)) * 1099511628211u;
  }
  return hash;
}

const Json& cases() {
  static const Json json =
      read_json_file(std::string(PHALANX_SOURCE_DIR) + "/tests/fixtures/data/order_cases.json");
  return json;
}

TEST(BlendIndex, VectorsOfThePeer) {
  EXPECT_EQ(
      pairs_of(build_blend_index(std::vector<double>{.5, .25, .25}, 12)),
      (Pairs{
          {0, 0}, {1, 0}, {2, 0}, {0, 1}, {0, 2}, {1, 1}, {2, 1}, {0, 3}, {0, 4}, {1, 2}, {2, 2}, {0, 5}}));
  EXPECT_EQ(pairs_of(build_blend_index(std::vector<double>{.3, .7}, 10)),
            (Pairs{{1, 0}, {0, 0}, {1, 1}, {1, 2}, {0, 1}, {1, 3}, {1, 4}, {0, 2}, {1, 5}, {1, 6}}));
  EXPECT_EQ(pairs_of(build_exhaustive_blend_index(std::vector<int64_t>{3, 1, 4})),
            (Pairs{{2, 0}, {0, 0}, {1, 0}, {2, 1}, {0, 1}, {2, 2}, {0, 2}, {2, 3}}));
}

TEST(BlendIndex, CasesOfAnotherProgram) {
  int compared = 0;
  for (const Json& c : cases().at("blends")) {
    const std::vector<double> weights = normalize_weights(c.at("weights").get<std::vector<double>>());
    const BlendIndex index = build_blend_index(weights, c.at("size").get<int64_t>());
    ASSERT_EQ(hash_of(index), std::stoull(c.at("hash").get<std::string>(), nullptr, 16)) << c.dump();
    ++compared;
  }
  for (const Json& c : cases().at("exhaustive")) {
    const BlendIndex index = build_exhaustive_blend_index(c.at("sizes").get<std::vector<int64_t>>());
    ASSERT_EQ(hash_of(index), std::stoull(c.at("hash").get<std::string>(), nullptr, 16)) << c.dump();
    ++compared;
  }
  EXPECT_EQ(compared, 180);
}

// At every moment each data set has given its share, to within one sample.
TEST(BlendIndex, CountsFollowTheWeights) {
  const std::vector<double> weights = normalize_weights(std::vector<double>{5, 1, 0.01, 3, 7});
  const BlendIndex index = build_blend_index(weights, 20000);
  std::vector<double> counts(weights.size());
  for (size_t t = 0; t < index.datasets.size(); ++t) {
    const auto d = static_cast<size_t>(index.datasets[t]);
    ASSERT_EQ(index.samples[t], counts[d]);
    counts[d] += 1;
    for (size_t i = 0; i < weights.size(); ++i) {
      ASSERT_NEAR(counts[i], weights[i] * static_cast<double>(t + 1), 2.0);
    }
  }
}

TEST(BlendIndex, ExhaustiveUsesEverySampleOnce) {
  const std::vector<int64_t> sizes = {7, 1, 300, 42, 42};
  const BlendIndex index = build_exhaustive_blend_index(sizes);
  std::vector<int64_t> next(sizes.size());
  for (size_t t = 0; t < index.datasets.size(); ++t) {
    ASSERT_EQ(index.samples[t], next[static_cast<size_t>(index.datasets[t])]++);
  }
  EXPECT_EQ(next, sizes);
}

// numpy.sum of 1/1 .. 1/n, printed with %a: the plain sum differs in the last bits from n = 8 on.
TEST(NormalizeWeights, AddsAsNumpyDoes) {
  const auto first_of = [](int n) {
    std::vector<double> weights;
    for (int i = 1; i <= n; ++i) weights.push_back(1.0 / i);
    return normalize_weights(weights)[0];
  };
  EXPECT_EQ(first_of(7), 0x1.8aee5e805a453p-2);
  EXPECT_EQ(first_of(9), 0x1.69f82bf413f74p-2);
  EXPECT_EQ(first_of(15), 0x1.34992d9e774cdp-2);
  EXPECT_EQ(first_of(100), 0x1.8acdf3dfca427p-3);
  EXPECT_EQ(first_of(130), 0x1.77e08111e42e4p-3);
  EXPECT_EQ(first_of(300), 0x1.45f9f3be2ac8ap-3);
  EXPECT_EQ(first_of(1000), 0x1.1198c03bbe741p-3);
  EXPECT_THAT(normalize_weights(std::vector<double>{2, 6}), ElementsAre(0.25, 0.75));
}

TEST(BlendShare, RoundsUpTwice) {
  EXPECT_EQ(blend_share(1000, 0.3), 300);
  EXPECT_EQ(blend_share(1001, 0.3), 301);
  EXPECT_EQ(blend_share_to_build(1000, 0.3), 302);  // 301.5
  EXPECT_EQ(blend_share_to_build(0, 0.3), 0);
  EXPECT_EQ(blend_share_to_build(1, 0.001), 2);  // ceil(1 x 1.005)
  EXPECT_EQ(blend_share_to_build(1000, 0.3, 0.5), 450);
}

}  // namespace
}  // namespace phalanx
