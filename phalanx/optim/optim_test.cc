#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/base/error.h"
#include "phalanx/optim/lr_schedule.h"
#include "phalanx/optim/optimizer.h"
#include "phalanx/tensor/gradient_check.h"
#include "phalanx/tensor/weight_grads.h"

namespace phalanx {
namespace {

using testing::random_tensor;

// Values worked out by hand from the equations in lr_schedule.h: 100 samples a step of 10, warm-up of 20 samples.
OptimConfig base_config(LrDecayStyle style) {
  OptimConfig c;
  c.lr = 1.0;
  c.min_lr = 0.1;
  c.lr_decay_style = style;
  c.lr_warmup_samples = 20;
  return c;
}

TEST(LrSchedule, WarmUpIsLinearFromItsFirstValue) {
  OptimConfig c = base_config(LrDecayStyle::kCosine);
  c.lr_warmup_init = 0.5;
  const LrSchedule s(c, 100, 10);
  EXPECT_DOUBLE_EQ(s.at(0), 0.5);
  EXPECT_DOUBLE_EQ(s.at(10), 0.75);
  EXPECT_DOUBLE_EQ(s.at(20), 1.0);
}

TEST(LrSchedule, Shapes) {
  EXPECT_DOUBLE_EQ(LrSchedule(base_config(LrDecayStyle::kConstant), 100, 10).at(60), 1.0);
  EXPECT_DOUBLE_EQ(LrSchedule(base_config(LrDecayStyle::kLinear), 100, 10).at(60), 0.1 + 0.5 * 0.9);
  EXPECT_DOUBLE_EQ(LrSchedule(base_config(LrDecayStyle::kCosine), 100, 10).at(60), 0.1 + 0.5 * 0.9);
  EXPECT_NEAR(LrSchedule(base_config(LrDecayStyle::kCosine), 100, 10).at(40), 0.1 + 0.9 * 0.8535533905932737,
              1e-15);
  EXPECT_DOUBLE_EQ(LrSchedule(base_config(LrDecayStyle::kInverseSquareRoot), 100, 10).at(80), 0.5);
  EXPECT_DOUBLE_EQ(LrSchedule(base_config(LrDecayStyle::kLinear), 100, 10).at(100), 0.1);
  EXPECT_DOUBLE_EQ(LrSchedule(base_config(LrDecayStyle::kLinear), 100, 10).at(1000), 0.1);
}

TEST(LrSchedule, WarmUpStableDecay) {
  const auto at = [](WsdDecayStyle style, int64_t n) {
    OptimConfig c = base_config(LrDecayStyle::kWsd);
    c.lr_wsd_decay_style = style;
    c.lr_wsd_decay_iters = 4;  // 40 samples
    return LrSchedule(c, 100, 10).at(n);
  };
  EXPECT_DOUBLE_EQ(at(WsdDecayStyle::kLinear, 60), 1.0);
  EXPECT_DOUBLE_EQ(at(WsdDecayStyle::kLinear, 80), 0.1 + 0.5 * 0.9);
  EXPECT_DOUBLE_EQ(at(WsdDecayStyle::kCosine, 80), 0.1 + 0.5 * 0.9);
  EXPECT_DOUBLE_EQ(at(WsdDecayStyle::kMinusSqrt, 70), 0.1 + 0.5 * 0.9);
  EXPECT_NEAR(at(WsdDecayStyle::kExponential, 80), 0.1 + (2 * std::pow(0.5, 0.5) - 1) * 0.9, 1e-15);
  EXPECT_DOUBLE_EQ(at(WsdDecayStyle::kExponential, 100), 0.1);
}

TEST(LrSchedule, FractionMultipliesTheDecayLength) {
  OptimConfig c = base_config(LrDecayStyle::kLinear);
  c.lr_warmup_samples = 0;
  c.lr_decay_iters = 5;
  c.lr_warmup_fraction = 0.2;  // of 50 samples
  const LrSchedule s(c, 100, 10);
  EXPECT_DOUBLE_EQ(s.at(5), 0.5);
  EXPECT_DOUBLE_EQ(s.at(30), 0.1 + 0.5 * 0.9);
}

TEST(OptimConfig, ListsEveryViolation) {
  OptimConfig c;
  c.lr = -1;
  c.beta1 = 1.0;
  c.lr_decay_style = LrDecayStyle::kWsd;
  try {
    validate(c);
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(),
                ::testing::AllOf(::testing::HasSubstr("optim.lr must be finite"),
                                 ::testing::HasSubstr("beta1"), ::testing::HasSubstr("lr_wsd_decay_iters")));
  }
}

Parameter test_parameter(const std::string& name, Shape shape, uint64_t seed, bool decay,
                         at::ScalarType dtype) {
  Parameter p;
  p.name = name;
  p.data = random_tensor(shape, seed, dtype);
  Segment segment;
  segment.name = name;
  segment.global_shape = shape;
  segment.global_box = segment.local_box = Box::whole(shape);
  segment.decay = decay;
  p.segments = {segment};
  return p;
}

// Two steps against the equations written out in fp64, with clipping, decay on one parameter only, and a bias in between.
TEST(Optimizer, MatchesTheEquations) {
  Parameter bias = test_parameter("bias", {3}, 1, false, at::kDouble);
  Parameter weight = test_parameter("weight", {5, 7}, 2, true, at::kDouble);
  const Tensor start[2] = {bias.data.clone(), weight.data.clone()};
  OptimConfig config;
  config.clip_grad = 0.7;
  config.weight_decay = 0.2;
  Optimizer optimizer({&bias, &weight}, config, at::kDouble);
  Tensor p[2] = {start[0].clone(), start[1].clone()};
  Tensor m[2] = {at::zeros_like(p[0]), at::zeros_like(p[1])},
         v[2] = {at::zeros_like(p[0]), at::zeros_like(p[1])};
  WeightGrads grads;
  for (int step = 1; step <= 2; ++step) {
    const Tensor g[2] = {random_tensor({3}, 10 + step), random_tensor({5, 7}, 20 + step)};
    grads.add(bias, g[0]);
    grads.add(weight, g[1]);
    const auto result = optimizer.step(0.01, 1.0);
    optimizer.finish_step();
    const double norm = std::sqrt((g[0].square().sum() + g[1].square().sum()).item<double>());
    EXPECT_NEAR(result.grad_norm, norm, 1e-13);
    for (int i = 0; i < 2; ++i) {
      const Tensor clipped = g[i] * (0.7 / (norm + 1e-6));
      m[i] = 0.9 * m[i] + 0.1 * clipped;
      v[i] = 0.95 * v[i] + 0.05 * clipped * clipped;
      const Tensor update =
          (m[i] / (1 - std::pow(0.9, step))) / ((v[i] / (1 - std::pow(0.95, step))).sqrt() + 1e-8);
      p[i] = p[i] - 0.01 * (i == 1 ? 0.2 : 0.0) * p[i] - 0.01 * update;
    }
    EXPECT_LT(testing::relative_error(bias.data, p[0]), 1e-13);
    EXPECT_LT(testing::relative_error(weight.data, p[1]), 1e-13);
  }
}

TEST(Optimizer, ANormThatIsNotFiniteChangesNothing) {
  Parameter weight = test_parameter("weight", {4}, 2, true, at::kFloat);
  Optimizer optimizer({&weight}, {}, at::kFloat);
  const Tensor before = weight.data.clone();
  WeightGrads grads;
  grads.add(weight, at::full({4}, std::numeric_limits<float>::infinity()));
  EXPECT_FALSE(optimizer.step(0.1, 1.0).applied);
  EXPECT_TRUE(at::equal(weight.data, before));
  EXPECT_EQ(optimizer.updates(), 0);
}

TEST(Optimizer, AParameterWithoutGradientKeepsNoOldOne) {
  Parameter a = test_parameter("a", {4}, 1, false, at::kDouble),
            b = test_parameter("b", {4}, 2, false, at::kDouble);
  Optimizer optimizer({&a, &b}, {}, at::kDouble);
  WeightGrads grads;
  grads.add(a, at::ones({4}, at::kDouble));
  grads.add(b, at::ones({4}, at::kDouble));
  optimizer.step(0.1, 1.0);
  optimizer.finish_step();
  grads.add(a, at::ones({4}, at::kDouble));
  EXPECT_DOUBLE_EQ(optimizer.step(0.1, 1.0).grad_norm, 2.0);
}

TEST(Optimizer, Bf16KeepsFp32Masters) {
  Parameter weight = test_parameter("weight", {64}, 2, true, at::kBFloat16);
  Optimizer optimizer({&weight}, {}, at::kFloat);
  EXPECT_TRUE(optimizer.has_separate_masters());
  EXPECT_EQ(weight.main_grad.scalar_type(), at::kFloat);
  WeightGrads grads;
  // Updates far below a bf16 step must add up in the master.
  for (int step = 0; step < 50; ++step) {
    grads.add(weight, at::ones({64}));
    optimizer.step(1e-5, 1.0);
    optimizer.finish_step();
  }
  const auto state = optimizer.state()[0];
  EXPECT_TRUE(at::equal(state.master.to(at::kBFloat16), weight.data));
  EXPECT_GT((state.master - random_tensor({64}, 2, at::kBFloat16).to(at::kFloat)).abs().min().item<double>(),
            2e-4);
}

TEST(Optimizer, FrozenParametersHaveNoState) {
  Parameter a = test_parameter("a", {4}, 1, true, at::kFloat),
            b = test_parameter("b", {4}, 2, true, at::kFloat);
  b.trainable = false;
  Optimizer optimizer({&a, &b}, {}, at::kFloat);
  EXPECT_EQ(optimizer.state().size(), 1u);
  EXPECT_FALSE(b.main_grad.defined());
}

}  // namespace
}  // namespace phalanx
