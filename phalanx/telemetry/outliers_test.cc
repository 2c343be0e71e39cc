#include "phalanx/telemetry/outliers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>

#include "phalanx/telemetry/test_errors.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;

struct Noise {
  std::mt19937 random{7};
  double operator()(double mean, double spread) {
    return std::normal_distribution<double>(mean, spread)(random);
  }
};

// Fills both windows with ordinary steps 1..n.
void warm_up(OutlierDetector& detector, int steps) {
  Noise noise;
  for (int step = 1; step <= steps; ++step) {
    ASSERT_TRUE(detector.observe(step, noise(3.0, 0.05), noise(1.0, 0.1)).ok());
  }
}

TEST(Outliers, TheScoreIsThatOfTheWindowWithTheValue) {
  ZScoreWindow window(4);
  for (const double value : {9.0, 1.0, 2.0, 3.0}) EXPECT_TRUE(std::isnan(window.observe(value, 1).z));
  const ZScoreWindow::Score score = window.observe(6.0, 2.0);  // the window is 1 2 3 6
  EXPECT_DOUBLE_EQ(score.mean, 3.0);
  EXPECT_DOUBLE_EQ(score.z, 3.0 / std::sqrt(3.5));
  EXPECT_FALSE(score.spike);
  EXPECT_TRUE(window.observe(60.0, 1.5).spike);    // 2 3 6 60
  EXPECT_FALSE(window.observe(-60.0, 1.5).spike);  // downward is no spike
}

TEST(Outliers, NoVerdictBeforeTheWindowIsFull) {
  OutlierDetector detector;
  warm_up(detector, 127);
  EXPECT_TRUE(detector.observe(128, 500.0, 500.0).ok());
}

TEST(Outliers, SpikesAreNamedWithTheirSize) {
  OutlierDetector detector;
  warm_up(detector, 200);
  const OutlierVerdict loss = detector.observe(201, 9.3125, 1.0);
  EXPECT_EQ(loss.kind, OutlierKind::kLossSpike);
  EXPECT_GT(loss.loss_z, 11.0);
  EXPECT_LT(loss.loss_z, std::sqrt(127.0));  // what one value among 128 can reach
  EXPECT_THAT(loss.message,
              ::testing::MatchesRegex("step 201: loss 9\\.312 is 11\\.[0-9] standard deviations above its "
                                      "mean 3\\.0[0-9]+ of the last 128 steps"));
  const OutlierVerdict norm = detector.observe(202, 3.0, 40.0);
  EXPECT_EQ(norm.kind, OutlierKind::kGradNormSpike);
  EXPECT_THAT(norm.message, HasSubstr("step 202: gradient norm 40 is 11."));
  const OutlierVerdict both = detector.observe(203, 9.0, 40.0);
  EXPECT_EQ(both.kind, OutlierKind::kLossSpike);
  EXPECT_THAT(both.message, HasSubstr("steps; gradient norm 40 is"));
  EXPECT_TRUE(detector.observe(204, 3.0, 1.0).ok());
}

TEST(Outliers, OneSpikeDoesNotHideTheNextButANewLevelIsAccepted) {
  OutlierDetector detector;
  warm_up(detector, 128);
  EXPECT_FALSE(detector.observe(129, 5.0, 1.0).ok());
  EXPECT_FALSE(detector.observe(130, 5.0, 1.0).ok());  // would pass if the first had entered the window
  for (int step = 131; step < 140; ++step) detector.observe(step, 5.0, 1.0);
  EXPECT_TRUE(detector.observe(140, 5.0, 1.0).ok());
}

TEST(Outliers, NonFiniteValuesAreCaughtFromTheFirstStepAndNeverEnter) {
  OutlierDetector detector;
  const OutlierVerdict nan = detector.observe(1, std::nan(""), 1.0);
  EXPECT_EQ(nan.kind, OutlierKind::kNonFinite);
  EXPECT_EQ(nan.message, "step 1: loss is NaN");
  EXPECT_EQ(detector.observe(2, 3.0, INFINITY).message, "step 2: gradient norm is infinite");
  EXPECT_EQ(detector.observe(3, -INFINITY, std::nan("")).message,
            "step 3: loss is minus infinite; gradient norm is NaN");
  warm_up(detector, 300);
  EXPECT_EQ(detector.observe(301, 9.0, std::nan("")).kind, OutlierKind::kNonFinite);
}

TEST(Outliers, RoundingNoiseIsNoSpikeAndZeroTurnsOff) {
  OutlierDetector detector;
  for (int step = 1; step <= 128; ++step) detector.observe(step, 2.0, 0.0);
  EXPECT_TRUE(detector.observe(129, 2.0 + 1e-7, 0.0).ok());
  OutlierDetector off({.loss_z = 0, .grad_norm_z = 0});
  warm_up(off, 128);
  const OutlierVerdict verdict = off.observe(129, 1e6, 1e6);
  EXPECT_TRUE(verdict.ok());
  EXPECT_GT(verdict.loss_z, 11.0);
}

TEST(Outliers, ARestoredStateGoesOnWithTheSameBits) {
  Noise noise;
  OutlierDetector whole({.window = 16, .loss_z = 3, .grad_norm_z = 3});
  OutlierDetector resumed({.window = 16, .loss_z = 3, .grad_norm_z = 3});
  int spikes = 0;
  for (int step = 1; step <= 400; ++step) {
    if (step % 7 == 0) {
      const std::string text = resumed.to_json().dump();
      resumed = OutlierDetector({.window = 16, .loss_z = 3, .grad_norm_z = 3});
      resumed.from_json(parse_json(text, "state"), "state");
    }
    const double loss = noise(3, 0.5) + (step % 50 == 0 || step % 50 == 1 ? 9 : 0);
    const double norm = noise(1, 0.2);
    const OutlierVerdict a = whole.observe(step, loss, norm);
    const OutlierVerdict b = resumed.observe(step, loss, norm);
    ASSERT_EQ(a.kind, b.kind) << step;
    ASSERT_EQ(a.message, b.message);
    ASSERT_EQ(std::bit_cast<uint64_t>(a.loss_z), std::bit_cast<uint64_t>(b.loss_z)) << step;
    spikes += a.ok() ? 0 : 1;
  }
  EXPECT_GT(spikes, 8);
}

TEST(Outliers, ASmallerWindowKeepsTheNewest) {
  ZScoreWindow wide(8);
  for (int i = 1; i <= 8; ++i) wide.observe(i, 0);
  ZScoreWindow narrow(2);
  narrow.from_json(wide.to_json(), "state");
  EXPECT_EQ(narrow.to_json().dump(), R"({"values":[7.0,8.0],"spikes_in_a_row":0})");
}

TEST(Outliers, BadStatesAreRefusedAndChangeNothing) {
  OutlierDetector detector;
  warm_up(detector, 5);
  const std::string before = detector.to_json().dump();
  const auto refuse = [&](const std::string& from, const std::string& to) {
    std::string text = before;
    text.replace(text.find(from), from.size(), to);
    const Error error = error_of([&] { detector.from_json(parse_json(text, "s.json"), "s.json"); });
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput) << to;
    return std::string(error.what());
  };
  EXPECT_THAT(refuse("\"version\":1", "\"version\":2"),
              HasSubstr("s.json: field 'version': got 2; needed 1"));
  EXPECT_THAT(refuse("\"grad_norm\":{\"values\":[", "\"grad_norm\":{\"values\":[null,"),
              HasSubstr("s.json: grad_norm: field 'values'"));
  EXPECT_THAT(refuse("\"grad_norm\":", "\"grad_norn\":"), HasSubstr("field 'grad_norm': got no such field"));
  EXPECT_THAT(refuse("\"spikes_in_a_row\":0", "\"spikes_in_a_row\":-1"), HasSubstr("needed 0 or more"));
  EXPECT_EQ(error_of([&] { detector.from_json(Json::array(), "s.json"); }).kind(), ErrorKind::kBadInput);
  EXPECT_EQ(detector.to_json().dump(), before);
}

}  // namespace
}  // namespace phalanx
