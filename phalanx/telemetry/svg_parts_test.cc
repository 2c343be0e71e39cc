// The pure parts of a plot: axes, text and curves.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "phalanx/telemetry/svg_axis.h"
#include "phalanx/telemetry/svg_curve.h"
#include "phalanx/telemetry/svg_text.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> labels(const Axis& axis) {
  std::vector<std::string> all;
  for (const Tick& tick : axis.ticks) all.push_back(tick.label);
  return all;
}

TEST(SvgAxis, NiceTicks) {
  EXPECT_THAT(labels(make_axis(0, 1, {.padding = 0})), ElementsAre("0", "0.2", "0.4", "0.6", "0.8", "1.0"));
  EXPECT_THAT(labels(make_axis(1, 2000, {.max_ticks = 5})),
              ElementsAre("0", "500", "1,000", "1,500", "2,000"));
  EXPECT_THAT(labels(make_axis(-1.5, 1.5, {.max_ticks = 4})), ElementsAre("−1", "0", "1"));
  EXPECT_THAT(labels(make_axis(0, 3e6, {.padding = 0})), ElementsAre("0", "1M", "2M", "3M"));
  EXPECT_THAT(labels(make_axis(0, 3e-5, {.max_ticks = 4, .padding = 0})),
              ElementsAre("0", "0.00001", "0.00002", "0.00003"));
  EXPECT_THAT(labels(make_axis(0, 3e-8, {.max_ticks = 4, .padding = 0})),
              ElementsAre("0", "1.0×10⁻⁸", "2.0×10⁻⁸", "3.0×10⁻⁸"));
  EXPECT_THAT(labels(make_axis(1, 5, {.max_ticks = 10, .integers = true})),
              ElementsAre("1", "2", "3", "4", "5"));
  EXPECT_EQ(make_axis(0, 1, {.padding = 0}).ticks[3].value, 0.6);  // not 0.6000000000000001
}

TEST(SvgAxis, LogTicks) {
  EXPECT_THAT(labels(make_axis(1, 30, {.max_ticks = 8, .log = true})),
              ElementsAre("1", "2", "5", "10", "20"));
  EXPECT_THAT(labels(make_axis(1e-6, 100, {.max_ticks = 6, .log = true, .padding = 0})),
              ElementsAre("10⁻⁶", "10⁻⁴", "0.01", "1", "100"));
  // Within a decade evenly spaced numbers say more.
  EXPECT_THAT(labels(make_axis(3.1, 3.9, {.max_ticks = 5, .log = true})),
              ElementsAre("3.2", "3.4", "3.6", "3.8"));
  const Axis axis = make_axis(1, 100, {.log = true, .padding = 0});
  EXPECT_DOUBLE_EQ(axis.position(10), 0.5);
}

TEST(SvgAxis, EqualExtremesGetARange) {
  for (const double value : {0.0, 6e-4, -3.0, 1e15, 1e-90}) {
    const Axis axis = make_axis(value, value, {});
    EXPECT_LT(axis.low, value);
    EXPECT_GT(axis.high, value);
    EXPECT_GE(axis.ticks.size(), 2u) << value;
  }
  const Axis axis = make_axis(5, 5, {.log = true});
  EXPECT_NEAR(axis.position(5), 0.5, 1e-12);
}

// Ticks of any range: inside it, ascending, not more than asked for, and no two labels alike.
TEST(SvgAxis, HoldsForRandomRanges) {
  std::mt19937_64 random(5);
  std::uniform_real_distribution<double> exponent(-80, 80);
  std::uniform_real_distribution<double> unit(-1, 1);
  for (int round = 0; round < 20000; ++round) {
    const bool log = round % 2 == 0;
    const double scale = std::pow(10, exponent(random));
    double a = scale * unit(random);
    double b = round % 3 == 0 ? a + scale * 1e-4 * unit(random) : scale * unit(random);
    if (log) a = std::abs(a), b = std::abs(b) * std::pow(10, 5 * unit(random));
    const int max_ticks = 2 + static_cast<int>(random() % 9);
    const Axis axis = make_axis(std::min(a, b), std::max(a, b), {.max_ticks = max_ticks, .log = log});
    ASSERT_LE(axis.ticks.size(), static_cast<size_t>(max_ticks)) << a << " " << b;
    for (size_t i = 0; i < axis.ticks.size(); ++i) {
      ASSERT_GE(axis.position(axis.ticks[i].value), -1e-9) << a << " " << b;
      ASSERT_LE(axis.position(axis.ticks[i].value), 1 + 1e-9) << a << " " << b;
      if (i == 0) continue;
      ASSERT_LT(axis.ticks[i - 1].value, axis.ticks[i].value);
      ASSERT_NE(axis.ticks[i - 1].label, axis.ticks[i].label) << a << " " << b;
    }
  }
}

TEST(SvgAxis, ValueLabels) {
  EXPECT_EQ(value_label(2.3), "2.300");
  EXPECT_EQ(value_label(-0.25), "−0.250");
  EXPECT_EQ(value_label(1234.5678), "1235");
  EXPECT_EQ(value_label(0.0123456), "0.01235");
  EXPECT_EQ(value_label(0), "0");
  EXPECT_EQ(value_label(6e-4), "6.00×10⁻⁴");
  EXPECT_EQ(value_label(1.5e12), "1.50×10¹²");
  EXPECT_EQ(scientific_label(1e5, 0), "10⁵");
}

TEST(SvgText, WidthCutAndEscape) {
  EXPECT_LT(text_width("iii", 12), text_width("mmm", 12));
  EXPECT_DOUBLE_EQ(text_width("ab", 24), 2 * text_width("ab", 12));
  EXPECT_DOUBLE_EQ(text_width("ü", 10), 6.5);  // one glyph, two bytes
  EXPECT_EQ(fit_text("short", 12, 100), "short");
  const std::string cut = fit_text("a rather long legend entry", 12, 100);
  EXPECT_TRUE(cut.starts_with("a rather") && cut.ends_with("…")) << cut;
  EXPECT_LE(text_width(cut, 12), 100);
  EXPECT_EQ(fit_text("anything", 12, 0), "…");
  EXPECT_EQ(xml_escape("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
  EXPECT_EQ(xml_escape("é漢\U0001F600"), "é漢\U0001F600");
  EXPECT_EQ(xml_escape(std::string_view("a\0\x01\tb", 5)), "a\tb");
  // Lone continuation byte, cut sequence, overlong slash, surrogate, beyond the last code point.
  EXPECT_EQ(xml_escape("\x80"), "�");
  EXPECT_EQ(xml_escape("\xE6\xBC"), "��");
  EXPECT_EQ(xml_escape("\xC0\xAF"), "��");
  EXPECT_EQ(xml_escape("\xED\xA0\x80"), "���");
  EXPECT_EQ(xml_escape("\xF5\x80\x80\x80"), "����");
}

TEST(SvgText, SpreadLabels) {
  EXPECT_THAT(spread_labels({}, 15, 0, 400), ElementsAre());
  EXPECT_THAT(spread_labels({100, 200}, 15, 0, 400), ElementsAre(100, 200));
  EXPECT_THAT(spread_labels({101, 100}, 15, 0, 400), ElementsAre(108, 93));
  EXPECT_THAT(spread_labels({0, 1}, 15, 0, 400), ElementsAre(0, 15));
  EXPECT_THAT(spread_labels({400, 399, 398}, 15, 0, 400), ElementsAre(400, 385, 370));
  EXPECT_THAT(spread_labels({5, 5, 5}, 15, 0, 20), ElementsAre(0, 10, 20));
}

TEST(SvgText, SpreadLabelsKeepsGapOrderAndBounds) {
  std::mt19937 random(3);
  std::uniform_real_distribution<double> where(-50, 450);
  for (int round = 0; round < 2000; ++round) {
    std::vector<double> wanted(1 + random() % 20);
    for (double& y : wanted) y = where(random);
    const std::vector<double> placed = spread_labels(wanted, 15, 0, 400);
    for (size_t i = 0; i < wanted.size(); ++i) {
      ASSERT_GE(placed[i], -1e-9);
      ASSERT_LE(placed[i], 400 + 1e-9);
      for (size_t j = 0; j < i; ++j) {
        ASSERT_GE(std::abs(placed[i] - placed[j]), 15 - 1e-9);
        ASSERT_EQ(placed[i] < placed[j], wanted[i] < wanted[j]);
      }
    }
  }
}

TEST(SvgCurve, SmoothingIsUnbiasedAndSkipsGaps) {
  EXPECT_THAT(smooth({3, 3, 3}, 0.9),
              ElementsAre(testing::DoubleEq(3), testing::DoubleEq(3), testing::DoubleEq(3)));
  const std::vector<double> out = smooth({1, NAN, 3, INFINITY, 5}, 0.5);
  EXPECT_DOUBLE_EQ(out[0], 1);
  EXPECT_TRUE(std::isnan(out[1]));
  EXPECT_DOUBLE_EQ(out[2], (0.25 * 1 + 0.5 * 3) / 0.75);
  EXPECT_TRUE(std::isinf(out[3]));
  EXPECT_DOUBLE_EQ(out[4], (0.125 * 1 + 0.25 * 3 + 0.5 * 5) / 0.875);
  EXPECT_THAT(smooth({1, 2}, 0), ElementsAre(1, 2));
}

TEST(SvgCurve, SplitsAtGaps) {
  const std::vector<Curve> curves =
      split_at_gaps({{0, NAN}, {1, 1}, {2, 2}, {3, NAN}, {NAN, 4}, {5, 5}, {6, NAN}});
  ASSERT_EQ(curves.size(), 2u);
  EXPECT_EQ(path_data(curves[0]), "M1.0,1.0L2.0,2.0");
  EXPECT_EQ(path_data(curves[1]), "M5.0,5.0");
}

TEST(SvgCurve, ThinningKeepsSpikes) {
  Curve curve;
  for (int i = 0; i < 100000; ++i) curve.push_back({i * 0.008, 100});
  curve[41234].y = 7;
  curve[77777].y = 321;
  const Curve kept = thin(curve);
  EXPECT_LE(kept.size(), 4u * 800);
  const auto has = [&kept](double y) {
    return std::any_of(kept.begin(), kept.end(), [y](const PlotPoint& p) { return p.y == y; });
  };
  EXPECT_TRUE(has(7) && has(321));
  EXPECT_EQ(kept.back().x, curve.back().x);
  EXPECT_TRUE(std::is_sorted(kept.begin(), kept.end(), [](auto& a, auto& b) { return a.x < b.x; }));
  EXPECT_EQ(path_data(thin({{0, 1}, {1, 2}, {2, 3}})), "M0.0,1.0L1.0,2.0L2.0,3.0");
}

}  // namespace
}  // namespace phalanx
