#include "phalanx/arch/hybrid_pattern.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace phalanx {
namespace {

int64_t count(const std::string& pattern, char kind) {
  return std::count(pattern.begin(), pattern.end(), kind);
}

// models.md 3.2 and megatron.md 1.6; the first two are upstream's own strings.
TEST(HybridPattern, GoldenStrings) {
  EXPECT_EQ(hybrid_pattern(56, 0.08, 0.5), "M-M-M--M-M*-M-M-M-M--M*-M-M-M-M-M*--M-M-M-M-M*-M--M-M-M-");
  EXPECT_EQ(hybrid_pattern(48, 0.08, 0.5), "M-M-M--M-*M-M-M-M--*M-M-M-M-*M--M-M-M-*M-M--M-M-");
  EXPECT_EQ(hybrid_pattern(10, 0.2, 0.0), "MMM*MM*MMM");
  EXPECT_EQ(hybrid_pattern(8, 0.25, 0.25), "MM*-M*M-");
  EXPECT_EQ(hybrid_pattern(8, 0.5, 0.0), "M*M**M*M");
  EXPECT_EQ(hybrid_pattern(10, 0.0, 0.3), "MM-MMM-MM-");
  EXPECT_EQ(hybrid_pattern(10, 0.3, 0.3), "M-*MM*-*M-");
  EXPECT_EQ(hybrid_pattern(24, 0.08, 0.5), "M-M-M--*M-M-M-M-*M--M-M-");
}

// By hand: a distance of 1.5 counts 1.5, 0.5, -0.5, and only less than a half places a layer.
TEST(HybridPattern, AHalfWaits) {
  EXPECT_EQ(hybrid_pattern(4, 0.25, 0.0), "MM*M");
  EXPECT_EQ(hybrid_pattern(3, 0.0, 0.667), "M--");
}

TEST(HybridPattern, EndsOfTheRange) {
  EXPECT_EQ(hybrid_pattern(5, 0.0, 0.0), "MMMMM");
  EXPECT_EQ(hybrid_pattern(3, 1.0, 0.0), "***");
  EXPECT_EQ(hybrid_pattern(3, 0.0, 1.0), "---");
  EXPECT_EQ(hybrid_pattern(1, 0.5, 0.5), "M");  // both halves round to 0
}

TEST(HybridPattern, HalvesRoundToEven) {
  EXPECT_EQ(hybrid_counts(5, 0.5, 0.0), (HybridCounts{.attention = 2, .mlp = 0, .mamba = 3}));
  EXPECT_EQ(hybrid_counts(7, 0.5, 0.5), (HybridCounts{.attention = 4, .mlp = 4, .mamba = -1}));
  EXPECT_EQ(hybrid_counts(56, 0.08, 0.5), (HybridCounts{.attention = 4, .mlp = 28, .mamba = 24}));
}

// Whatever the shares, as many layers of a kind are placed as were counted.
TEST(HybridPattern, PlacesWhatItCounts) {
  int checked = 0;
  for (int64_t layers = 1; layers <= 100; ++layers) {
    for (int attention = 0; attention <= 50; ++attention) {
      for (int mlp = 0; mlp + attention <= 50; ++mlp) {
        const double a = attention / 50.0;
        const double m = mlp / 50.0;
        const HybridCounts counts = hybrid_counts(layers, a, m);
        if (counts.mamba < 0) continue;
        const std::string pattern = hybrid_pattern(layers, a, m);
        ASSERT_EQ(static_cast<int64_t>(pattern.size()), layers);
        ASSERT_EQ(count(pattern, '*'), counts.attention) << layers << " " << a << " " << m;
        ASSERT_EQ(count(pattern, '-'), counts.mlp) << layers << " " << a << " " << m;
        ++checked;
      }
    }
  }
  EXPECT_GT(checked, 100000);
}

}  // namespace
}  // namespace phalanx
