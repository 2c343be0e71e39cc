#include "phalanx/optim/loss_scaler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

OptimConfig small_scaler() {
  OptimConfig c;
  c.initial_loss_scale = 64;
  c.min_loss_scale = 8;
  c.loss_scale_window = 3;
  c.hysteresis = 2;
  return c;
}

// Scales after each step of a history of good (+) and bad (-) steps.
std::vector<double> scales(LossScaler& scaler, const std::string& history) {
  std::vector<double> result;
  for (const char step : history) {
    scaler.update(step == '+');
    result.push_back(scaler.scale());
  }
  return result;
}

using ::testing::ElementsAre;

TEST(LossScaler, StartsAsMegatronDoes) {
  EXPECT_EQ(LossScaler({}, true).scale(), 4294967296.0);
  EXPECT_EQ(LossScaler({}, false).scale(), 1.0);
}

TEST(LossScaler, GrowsAfterAWindowOfGoodStepsInARow) {
  LossScaler scaler(small_scaler(), true);
  EXPECT_THAT(scales(scaler, "++++++"), ElementsAre(64, 64, 128, 128, 128, 256));
  LossScaler interrupted(small_scaler(), true);
  EXPECT_THAT(scales(interrupted, "++-+++"), ElementsAre(64, 64, 64, 64, 64, 128));
}

// Growth alone refills the hysteresis: the second bad step halves, and so does each one after it.
TEST(LossScaler, BacksOffWithHysteresis) {
  LossScaler scaler(small_scaler(), true);
  EXPECT_THAT(scales(scaler, "--+-+++--"), ElementsAre(64, 32, 32, 16, 16, 16, 32, 32, 16));
}

TEST(LossScaler, NeverFallsBelowTheLeast) {
  LossScaler scaler(small_scaler(), true);
  EXPECT_THAT(scales(scaler, "------"), ElementsAre(64, 32, 16, 8, 8, 8));
}

TEST(LossScaler, AFixedScaleStays) {
  OptimConfig c;
  c.loss_scale = 1024;
  LossScaler scaler(c, true);
  EXPECT_FALSE(scaler.is_dynamic());
  EXPECT_THAT(scales(scaler, "--+"), ElementsAre(1024, 1024, 1024));
}

TEST(LossScaler, ARestoredOneGoesOnAsIfNothingHadStopped) {
  const std::string history = "++-+-+++--++++--+";
  for (size_t cut = 0; cut <= history.size(); ++cut) {
    LossScaler whole(small_scaler(), true), before(small_scaler(), true), after(small_scaler(), true);
    scales(before, history.substr(0, cut));
    after.from_json(parse_json(before.to_json().dump(), "here"), "here");
    scales(after, history.substr(cut));
    scales(whole, history);
    EXPECT_EQ(after.to_json(), whole.to_json()) << cut;
  }
}

TEST(LossScaler, DamagedStateIsNamed) {
  LossScaler scaler(small_scaler(), true);
  const auto message = [&](const Json& json) -> std::string {
    try {
      scaler.from_json(json, "step_3");
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message({{"good_steps", 1}}), ::testing::HasSubstr("scale"));
  EXPECT_THAT(message({{"scale", -1.0}, {"good_steps", 1}, {"hysteresis_left", 1}}),
              ::testing::HasSubstr("step_3: got a loss scale of -1; needed a positive number"));
  LossScaler none({}, false);
  none.from_json({}, "a bf16 run that goes on from an fp16 one");
  EXPECT_EQ(none.scale(), 1.0);
}

}  // namespace
}  // namespace phalanx
