#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>

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

TEST(LrSchedule, AWarmUpEndsBeforeTheDecay) {
  const auto refused = [](const OptimConfig& c, int64_t train_samples) -> std::string {
    try {
      LrSchedule(c, train_samples, 10);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  OptimConfig c;
  c.lr_warmup_iters = 10;
  EXPECT_EQ(refused(c, 101), "");
  EXPECT_EQ(refused(c, 0), "") << "an evaluation trains nothing";
  EXPECT_EQ(
      refused(c, 100),
      "[optim]: got a warm-up of 100 samples, and the learning rate falls until sample 100; needed a warm-up that "
      "ends before the decay does. Fix: set lr_warmup_iters (or lr_warmup_samples) lower, or train longer");
  c.lr_decay_iters = 9;
  EXPECT_THAT(refused(c, 1000),
              ::testing::HasSubstr("a warm-up of 100 samples, and the learning rate falls until sample 90"));
}

TEST(LrSchedule, ALowRateAloneIsEnough) {
  OptimConfig c;
  c.lr = 1e-5;  // below the usual min_lr
  validate(c);
  EXPECT_EQ(LrSchedule(c, 100, 10).at(50), 1e-5);
  c.lr = 1e-3;
  EXPECT_EQ(LrSchedule(c, 100, 10).at(1000), 3e-5);
  resolve(c);
  EXPECT_EQ(c.min_lr, 3e-5);
  c.lr = 1e-5;  // now somebody gave it
  EXPECT_THROW(validate(c), Error);
  c.min_lr = 0.0;
  validate(c);
  EXPECT_EQ(LrSchedule(c, 100, 10).at(1000), 0.0);
}

std::string refused_by_validate(const OptimConfig& c) {
  try {
    validate(c);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(OptimConfig, ListsEveryViolation) {
  OptimConfig c;
  c.lr = -1;
  c.beta1 = 1.0;
  c.lr_decay_style = LrDecayStyle::kWsd;
  EXPECT_EQ(
      refused_by_validate(c),
      "[optim]: got lr -1, lr_decay_style wsd without the length of its decay, beta1 1; needed lr: a finite number "
      "of at least 0; lr_decay_style: lr_wsd_decay_iters or lr_wsd_decay_samples; beta1: 0 up to, but not, 1. Fix: "
      "set lr to e.g. 3e-4; set lr_wsd_decay_iters to e.g. a tenth of the steps; set beta1 to e.g. 0.9");
}

TEST(OptimConfig, EverySettingHasBounds) {
  EXPECT_EQ(refused_by_validate({}), "");
  struct Case {
    void (*set)(OptimConfig&);
    const char* message;
  };
  const Case cases[] = {
      {[](OptimConfig& c) { c.lr = std::nan(""); }, "got lr nan; needed lr: a finite number of at least 0"},
      {[](OptimConfig& c) { c.min_lr = 1.0; },
       "got min_lr 1; needed min_lr: 0 to lr, which is 0.0003. Fix: set min_lr to "},
      {[](OptimConfig& c) { c.min_lr = -1.0; }, "got min_lr -1;"},
      {[](OptimConfig& c) { c.lr_warmup_init = 1; }, "got lr_warmup_init 1; needed lr_warmup_init: 0 to lr"},
      {[](OptimConfig& c) { c.lr_decay_iters = -5; }, "got lr_decay_iters -5; needed lr_decay_iters: 1 to "},
      {[](OptimConfig& c) { c.lr_decay_samples = 0; }, "got lr_decay_samples 0;"},
      {[](OptimConfig& c) { c.lr_warmup_iters = -1; },
       "got lr_warmup_iters -1; needed lr_warmup_iters: 0 to "},
      {[](OptimConfig& c) { c.lr_warmup_samples = INT64_MAX; }, "got lr_warmup_samples 9223372036854775807;"},
      {[](OptimConfig& c) { c.lr_wsd_decay_iters = -2; }, "got lr_wsd_decay_iters -2;"},
      {[](OptimConfig& c) { c.lr_wsd_decay_samples = -2; }, "got lr_wsd_decay_samples -2;"},
      {[](OptimConfig& c) { c.lr_decay_iters = c.lr_decay_samples = 3; },
       "got lr_decay_iters and lr_decay_samples both given; needed lr_decay_iters: one of the two. Fix: drop "},
      {[](OptimConfig& c) { c.lr_warmup_iters = c.lr_warmup_samples = 3; },
       "got lr_warmup_iters and lr_warmup_samples both"},
      {[](OptimConfig& c) { c.lr_wsd_decay_iters = c.lr_wsd_decay_samples = 3; },
       "got lr_wsd_decay_iters and"},
      {[](OptimConfig& c) { c.lr_warmup_iters = 3, c.lr_warmup_fraction = 0.1; },
       "got lr_warmup_fraction and lr_warmup_iters both given"},
      {[](OptimConfig& c) { c.lr_warmup_fraction = 1.0; }, "got lr_warmup_fraction 1;"},
      {[](OptimConfig& c) { c.beta2 = -0.1; },
       "got beta2 -0.1; needed beta2: 0 up to, but not, 1. Fix: set beta2 to e.g."},
      {[](OptimConfig& c) { c.epsilon = 0; }, "got epsilon 0;"},
      {[](OptimConfig& c) { c.weight_decay = -1; }, "got weight_decay -1;"},
      {[](OptimConfig& c) { c.clip_grad = -1; }, "got clip_grad -1;"},
      {[](OptimConfig& c) { c.loss_scale = 128.0; },
       "got loss_scale 128; needed loss_scale: none: loss scaling belongs to fp16"},
      {[](OptimConfig& c) { c.initial_loss_scale = 65536; }, "got initial_loss_scale 65536;"},
      {[](OptimConfig& c) { c.min_loss_scale = 2; }, "got min_loss_scale 2;"},
      {[](OptimConfig& c) { c.loss_scale_window = 500; }, "got loss_scale_window 500;"},
      {[](OptimConfig& c) { c.hysteresis = 3; },
       "got hysteresis 3; needed hysteresis: none: loss scaling belongs to fp16. Fix: leave hysteresis out, or "
       "train with train.dtype=fp16"},
  };
  for (const Case& one : cases) {
    OptimConfig c;
    one.set(c);
    const std::string message = refused_by_validate(c);
    EXPECT_THAT(message, ::testing::HasSubstr(one.message));
    EXPECT_THAT(message, ::testing::HasSubstr(". Fix: "));
  }
}

TEST(OptimConfig, LossScalesHaveBoundsInFp16) {
  const auto refused = [](void (*set)(OptimConfig&)) -> std::string {
    OptimConfig c;
    set(c);
    try {
      validate(c, /*fp16=*/true);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(refused([](OptimConfig& c) { c.loss_scale = 1024; }), "");
  EXPECT_EQ(
      refused([](OptimConfig& c) { c.initial_loss_scale = 2, c.loss_scale_window = 1, c.hysteresis = 1; }),
      "");
  EXPECT_THAT(refused([](OptimConfig& c) { c.loss_scale = 0; }),
              ::testing::HasSubstr("got loss_scale 0; needed loss_scale: a positive number"));
  EXPECT_THAT(refused([](OptimConfig& c) { c.min_loss_scale = std::nan(""); }),
              ::testing::HasSubstr("needed min_loss_scale: a positive number"));
  EXPECT_THAT(refused([](OptimConfig& c) { c.initial_loss_scale = 0.5; }),
              ::testing::HasSubstr("needed initial_loss_scale: at least min_loss_scale, which is 1"));
  EXPECT_THAT(refused([](OptimConfig& c) { c.loss_scale_window = 0; }),
              ::testing::HasSubstr("got loss_scale_window 0; needed loss_scale_window: 1 step or more"));
  EXPECT_THAT(refused([](OptimConfig& c) { c.hysteresis = 0; }), ::testing::HasSubstr("got hysteresis 0;"));
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

// What a half model keeps in fp32 (A_log of a state-space layer) has its weight in fp32, and the same update.
TEST(Optimizer, AHalfModelMayKeepParametersInFp32) {
  const auto make = [](const char* name, at::ScalarType dtype) {
    Parameter p;
    p.name = name;
    p.data = random_tensor({5}, 3, at::kFloat).to(dtype);
    p.segments = {
        {.name = name, .global_shape = {5}, .global_box = Box::whole({5}), .local_box = Box::whole({5})}};
    return p;
  };
  Parameter half = make("weight", at::kBFloat16);
  Parameter wide = make("A_log", at::kFloat);
  Parameter alone = make("A_log", at::kFloat);
  const Tensor before = wide.data.clone();
  OptimConfig config;
  config.clip_grad = 0;
  Optimizer both({&half, &wide}, config, at::kFloat);
  Optimizer one({&alone}, config, at::kFloat);
  const auto update = [](Optimizer& optimizer, const std::vector<Parameter*>& parameters) {
    optimizer.begin_step(1);
    WeightGrads grads;
    grads.on_applied = [&](Parameter& p) { optimizer.on_applied(p); };
    for (Parameter* p : parameters) grads.add(*p, at::full({5}, 0.25, at::TensorOptions(at::kFloat)));
    EXPECT_TRUE(optimizer.step(1e-3, 1.0).applied);
    optimizer.finish_step();
  };
  update(both, {&half, &wide});
  update(one, {&alone});
  EXPECT_EQ(half.data.scalar_type(), at::kBFloat16);
  EXPECT_EQ(wide.data.scalar_type(), at::kFloat);
  EXPECT_FALSE(wide.data.equal(before));
  EXPECT_TRUE(wide.data.equal(alone.data));
  EXPECT_TRUE(both.has_separate_masters());
  ASSERT_EQ(both.state().size(), 2U);
  EXPECT_TRUE(both.state()[1].master.equal(wide.data));
  EXPECT_EQ(both.bytes(), 2 * 64 * 4 * 4) << "gradient, master and two moments of 64 elements each";
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
