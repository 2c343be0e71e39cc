#include "phalanx/arch/init_value.h"

#include <gtest/gtest.h>

#include <cmath>

namespace phalanx {
namespace {

double softplus(double x) {
  return std::log1p(std::exp(x));
}

TEST(InitValue, Constants) {
  EXPECT_EQ(init_value({.name = "a", .shape = {4}, .init = InitKind::kZero}, 3, 0.7), 0.0);
  EXPECT_EQ(init_value({.name = "a", .shape = {4}, .init = InitKind::kOne}, 3, 0.7), 1.0);
}

TEST(InitValue, UniformSpansItsRange) {
  const LogicalTensor conv{
      .name = "c", .shape = {6, 4}, .init = InitKind::kUniform, .init_low = -0.5, .init_high = 0.5};
  EXPECT_EQ(init_value(conv, 9, 0.0), -0.5);
  EXPECT_EQ(init_value(conv, 9, 0.5), 0.0);
  EXPECT_EQ(init_value(conv, 2, 0.75), 0.25);
}

TEST(InitValue, LogUniformIsTheLogOfAUniform) {
  const LogicalTensor decay{
      .name = "A_log", .shape = {8}, .init = InitKind::kLogUniform, .init_low = 1.0, .init_high = 16.0};
  EXPECT_EQ(init_value(decay, 0, 0.0), 0.0);
  EXPECT_DOUBLE_EQ(std::exp(init_value(decay, 0, 0.5)), 8.5);
  EXPECT_DOUBLE_EQ(std::exp(init_value(decay, 0, 0.2)), 4.0);
}

// softplus of the bias is the step size: log-uniform in the range, or the floor.
TEST(InitValue, StepBiasIsAnInverseSoftplus) {
  LogicalTensor bias{.name = "dt_bias",
                     .shape = {8},
                     .init = InitKind::kInverseSoftplus,
                     .init_low = 1e-3,
                     .init_high = 0.1,
                     .init_floor = 1e-4};
  EXPECT_NEAR(softplus(init_value(bias, 0, 0.0)), 1e-3, 1e-17);
  EXPECT_NEAR(softplus(init_value(bias, 0, 0.5)), 1e-2, 1e-16);
  EXPECT_NEAR(init_value(bias, 0, 0.0), -6.9073, 5e-5);
  for (double u = 0.0; u < 1.0; u += 1.0 / 64) {
    EXPECT_NEAR(softplus(init_value(bias, 0, u)), 1e-3 * std::pow(100.0, u), 1e-15);
  }
  bias.init_floor = 0.02;
  EXPECT_NEAR(softplus(init_value(bias, 0, 0.5)), 0.02, 1e-16);
  EXPECT_NEAR(softplus(init_value(bias, 0, 0.9)), 1e-3 * std::pow(100.0, 0.9), 1e-15);
}

TEST(InitValue, LogCountRestartsInEveryRow) {
  const LogicalTensor decay{.name = "A_log", .shape = {3, 4}, .init = InitKind::kLogCount};
  for (int64_t e = 0; e < 12; ++e)
    EXPECT_DOUBLE_EQ(std::exp(init_value(decay, e, 0.3)), static_cast<double>(e % 4 + 1)) << e;
}

TEST(InitValueDeathTest, NormalNumbersAreMadeElsewhere) {
  EXPECT_DEATH(
      static_cast<void>(init_value({.name = "w", .shape = {2, 2}, .init = InitKind::kNormal}, 0, 0.5)),
      "normal numbers are not made one by one: w");
}

}  // namespace
}  // namespace phalanx
