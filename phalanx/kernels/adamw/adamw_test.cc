#include "phalanx/kernels/adamw/adamw.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "phalanx/kernels/adamw/adamw_ref.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::kernels {
namespace {

using testing::fused_error;
using testing::random_tensor;
using testing::relative_error;

constexpr double kLr = 0.01;

Tensor scalars_at(int64_t t, const AdamWSpec& spec, double grad_scale = 1.0, double lr = kLr) {
  const auto step = static_cast<double>(t);
  return at::tensor({lr, grad_scale, 1.0 - std::pow(spec.beta1, step), 1.0 - std::pow(spec.beta2, step)},
                    at::kDouble);
}

struct State {
  Tensor param;
  Tensor exp_avg;
  Tensor exp_avg_sq;

  explicit State(const Tensor& p)
      : param(p.clone()), exp_avg(at::zeros_like(p)), exp_avg_sq(at::zeros_like(p)) {}
};

using Update = void (*)(Tensor, const Tensor&, Tensor, Tensor, const Tensor&, const AdamWSpec&, Tensor);

// Printed by torch.optim.AdamW of torch 2.11.0 in float64: lr 0.01, betas (0.9, 0.95), eps 1e-8, three steps with
// gradients (0.25 t, -0.5, 0.001 / t, 0).
TEST(AdamW, EqualsTorchOptim) {
  const std::vector<std::vector<double>> expected = {
      {0.47097504361520165, -1.2200000006, 1.9717296868767582, 0.0},
      {0.46950611297285594, -1.2162837393494002, 1.9657650674878078, 0.0}};
  for (const Update update : {&adamw, &adamw_ref}) {
    for (size_t c = 0; c < 2; ++c) {
      const AdamWSpec spec{.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = c == 0 ? 0.0 : 0.1};
      State state(at::tensor({0.5, -1.25, 2.0, 0.0}, at::kDouble));
      for (int64_t t = 1; t <= 3; ++t) {
        const auto step = static_cast<double>(t);
        const Tensor grad = at::tensor({0.25 * step, -0.5, 1e-3 / step, 0.0}, at::kDouble);
        update(state.param, grad, state.exp_avg, state.exp_avg_sq, scalars_at(t, spec), spec, {});
      }
      EXPECT_LE(relative_error(state.param, at::tensor(expected[c], at::kDouble)), 1e-15);
    }
  }
}

TEST(AdamW, FiveFloatStepsAreAsCloseAsPlainOps) {
  for (const int64_t n : {int64_t{1}, int64_t{17}, int64_t{4097}, int64_t{40003}}) {
    for (const double weight_decay : {0.0, 0.1}) {
      const AdamWSpec spec{.beta2 = 0.95, .weight_decay = weight_decay};
      const Tensor start = random_tensor({n}, 1, at::kFloat);
      State fused(start);
      State plain(start);
      State exact(start.to(at::kDouble));
      for (int64_t t = 1; t <= 5; ++t) {
        const Tensor grad = random_tensor({n}, 10 + static_cast<uint64_t>(t), at::kFloat, 0.01);
        const Tensor scalars = scalars_at(t, spec, 0.37);
        adamw(fused.param, grad, fused.exp_avg, fused.exp_avg_sq, scalars, spec, {});
        adamw_ref(plain.param, grad, plain.exp_avg, plain.exp_avg_sq, scalars, spec, {});
        adamw_ref(exact.param, grad.to(at::kDouble), exact.exp_avg, exact.exp_avg_sq, scalars, spec, {});
        EXPECT_EQ(fused_error(fused.param, plain.param, exact.param), "") << n << " step " << t;
        EXPECT_EQ(fused_error(fused.exp_avg, plain.exp_avg, exact.exp_avg), "") << n << " step " << t;
        EXPECT_EQ(fused_error(fused.exp_avg_sq, plain.exp_avg_sq, exact.exp_avg_sq), "")
            << n << " step " << t;
      }
    }
  }
}

TEST(AdamW, DoubleEqualsTheReference) {
  const AdamWSpec spec{.weight_decay = 0.1};
  State fused(random_tensor({5001}, 2));
  State plain(fused.param);
  for (int64_t t = 1; t <= 3; ++t) {
    const Tensor grad = random_tensor({5001}, 20 + static_cast<uint64_t>(t));
    adamw(fused.param, grad, fused.exp_avg, fused.exp_avg_sq, scalars_at(t, spec), spec, {});
    adamw_ref(plain.param, grad, plain.exp_avg, plain.exp_avg_sq, scalars_at(t, spec), spec, {});
  }
  EXPECT_LE(relative_error(fused.param, plain.param), 1e-15);
}

TEST(AdamW, FirstStepMovesEveryWeightByTheRate) {
  // At t = 1 the bias-corrected ratio is the sign of the gradient, whatever its size.
  const AdamWSpec spec;
  State state(at::zeros({6}, at::kFloat));
  const Tensor grad = at::tensor({1e-3f, -1e-3f, 5.0f, -5.0f, 1e3f, -1e3f});
  adamw(state.param, grad, state.exp_avg, state.exp_avg_sq, scalars_at(1, spec), spec, {});
  EXPECT_LE(relative_error(state.param, grad.sign() * -kLr), 2e-5);
}

TEST(AdamW, GradScaleIsAppliedBeforeTheMoments) {
  const AdamWSpec spec;
  const Tensor grad = random_tensor({100}, 3, at::kFloat);
  State scaled(at::ones({100}));
  State plain(at::ones({100}));
  adamw(scaled.param, grad, scaled.exp_avg, scaled.exp_avg_sq, scalars_at(1, spec, 0.25), spec, {});
  adamw(plain.param, grad * 0.25, plain.exp_avg, plain.exp_avg_sq, scalars_at(1, spec), spec, {});
  EXPECT_TRUE(at::equal(scaled.exp_avg_sq, plain.exp_avg_sq));
  EXPECT_TRUE(at::equal(scaled.param, plain.param));
}

// Every 4099th bit pattern of a float, and the neighbours of all halves' rounding ties.
Tensor many_floats() {
  const Tensor spread = (at::arange(1 << 20, at::kLong) * 4099).to(at::kInt).view(at::kFloat);
  const Tensor halves = at::arange(1 << 15, at::kLong).to(at::kShort).view(at::kHalf).to(at::kFloat);
  const Tensor ties = (halves.slice(0, 0, -1) + halves.slice(0, 1)) * 0.5;
  const Tensor bits = ties.view(at::kInt);
  return at::cat({spread, ties, (bits + 1).view(at::kFloat), (bits - 1).view(at::kFloat), halves, -halves});
}

TEST(AdamW, CopiesRoundToNearestEven) {
  const AdamWSpec spec;
  const Tensor values = many_floats();
  for (const at::ScalarType dtype : {at::kBFloat16, at::kHalf, at::kFloat}) {
    State state(values);
    Tensor copy = at::empty_like(values, values.options().dtype(dtype));
    const Tensor no_rate = scalars_at(1, spec, 1.0, 0.0);  // the weights stay, only the copy is made
    adamw(state.param, at::zeros_like(values), state.exp_avg, state.exp_avg_sq, no_rate, spec, copy);
    const Tensor expected = values.to(dtype);
    const Tensor nan = expected.isnan();
    EXPECT_TRUE(at::equal(copy.isnan(), nan)) << toString(dtype);
    EXPECT_GT(nan.sum().item<int64_t>(), 0);
    const Tensor zero = at::zeros({}, expected.options());
    EXPECT_TRUE(at::equal(at::where(nan, zero, copy), at::where(nan, zero, expected))) << toString(dtype);
  }
}

TEST(AdamW, BitsDoNotDependOnTheThreadCount) {
  const int before = at::get_num_threads();
  const AdamWSpec spec{.weight_decay = 0.01};
  const Tensor start = random_tensor({70001}, 4, at::kFloat);
  const Tensor grad = random_tensor({70001}, 5, at::kFloat);
  std::vector<Tensor> results;
  for (const int threads : {1, 2, 3}) {
    at::set_num_threads(threads);
    State state(start);
    adamw(state.param, grad, state.exp_avg, state.exp_avg_sq, scalars_at(1, spec), spec, {});
    results.push_back(state.param);
  }
  at::set_num_threads(before);
  EXPECT_TRUE(at::equal(results[0], results[1]));
  EXPECT_TRUE(at::equal(results[0], results[2]));
}

TEST(AdamWDeathTest, RefusesWhatTheContractExcludes) {
  const AdamWSpec spec;
  const Tensor x = at::zeros({4}, at::kFloat);
  const Tensor scalars = scalars_at(1, spec);
  EXPECT_DEATH(adamw(x.to(at::kHalf), x, x, x, scalars, spec, {}), "the master is fp32 or fp64");
  EXPECT_DEATH(adamw(x, at::zeros({5}), x, x, scalars, spec, {}), "of one length");
  EXPECT_DEATH(adamw(x, x, x, x, scalars.to(at::kFloat), spec, {}), "scalars are lr, grad_scale, c1, c2");
  EXPECT_DEATH(adamw(x, x, x, x, scalars, spec, at::zeros({3})), "the compute copy is flat");
}

}  // namespace
}  // namespace phalanx::kernels
