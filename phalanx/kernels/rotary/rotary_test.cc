#include "phalanx/kernels/rotary/rotary.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "phalanx/kernels/rotary/rotary_ref.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::kernels {
namespace {

using testing::autograd_gradients;
using testing::fused_error;
using testing::random_tensor;
using testing::relative_error;

struct Angles {
  Tensor cos;
  Tensor sin;
};

// The equation of the header, one angle at a time.
Angles angles_of(const Tensor& position, const RotarySpec& spec) {
  const std::vector<double> f = rotary_frequencies(spec);
  std::vector<double> cos;
  std::vector<double> sin;
  for (int64_t t = 0; t < position.numel(); ++t) {
    for (const double frequency : f) {
      const double angle = static_cast<double>(position.const_data_ptr<int64_t>()[t]) * frequency;
      cos.push_back(std::cos(angle));
      sin.push_back(std::sin(angle));
    }
  }
  const std::vector<int64_t> shape = {position.numel(), spec.rotary_dim / 2};
  return {at::tensor(cos, at::kDouble).view(shape), at::tensor(sin, at::kDouble).view(shape)};
}

struct Case {
  std::vector<int64_t> shape;  // T, A, D
  int64_t rotary_dim;
  int64_t first_position;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {{{1, 1, 2}, 2, 0},
                                        {{7, 3, 8}, 8, 5},
                                        {{33, 2, 64}, 16, 0},
                                        {{3, 5, 10}, 6, 100000},
                                        {{130, 12, 64}, 64, 0}};
  return all;
}

TEST(Rotary, MatchesTheEquationAndBackwardIsTheInverse) {
  for (const Case& c : cases()) {
    const RotarySpec spec{.rotary_dim = c.rotary_dim};
    const Tensor position = at::arange(c.shape[0], at::kLong).remainder(50) + c.first_position;
    const Angles angles = angles_of(position, spec);
    const Tensor x = random_tensor(c.shape, 1);
    Tensor y = x.clone();
    rotary_(y, position, spec, false);
    EXPECT_LE(relative_error(y, rotary_ref(x, angles.cos, angles.sin, false)), 1e-14);

    const Tensor dy = random_tensor(c.shape, 2);
    const auto f = [&](const std::vector<Tensor>& in) {
      return std::vector<Tensor>{rotary_ref(in[0], angles.cos, angles.sin, false)};
    };
    Tensor dx = dy.clone();
    rotary_(dx, position, spec, true);
    EXPECT_LE(relative_error(dx, autograd_gradients(f, {x}, {dy})[0]), 1e-10);
    rotary_(y, position, spec, true);
    EXPECT_LE(relative_error(y, x), 1e-14);
  }
}

TEST(Rotary, ReferenceTurnsAPairByHand) {
  // (1, 2) turned by 90 degrees is (-2, 1); the third column passes through.
  const Tensor x = at::tensor({1.0, 2.0, 3.0}, at::kDouble).view({1, 1, 3});
  const Tensor zero = at::zeros({1, 1}, at::kDouble);
  const Tensor one = at::ones({1, 1}, at::kDouble);
  EXPECT_TRUE(
      at::equal(rotary_ref(x, zero, one, false).flatten(), at::tensor({-2.0, 1.0, 3.0}, at::kDouble)));
  EXPECT_TRUE(at::equal(rotary_ref(x, zero, one, true).flatten(), at::tensor({2.0, -1.0, 3.0}, at::kDouble)));
}

TEST(Rotary, FloatAndHalfAreAsCloseAsPlainOps) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const Case& c : cases()) {
      const RotarySpec spec{.rotary_dim = c.rotary_dim, .base = 500000.0};
      const Tensor position = at::arange(c.shape[0], at::kLong) + c.first_position;
      const Angles angles = angles_of(position, spec);
      const Tensor x = random_tensor(c.shape, 3, dtype);
      for (const bool inverse : {false, true}) {
        Tensor y = x.clone();
        rotary_(y, position, spec, inverse);
        const Tensor plain = rotary_ref(x, angles.cos.to(at::kFloat), angles.sin.to(at::kFloat), inverse);
        const Tensor exact = rotary_ref(x.to(at::kDouble), angles.cos, angles.sin, inverse);
        EXPECT_EQ(fused_error(y, plain, exact), "") << toString(dtype);
        // Rounded once, to nearest even, like the plain operations.
        EXPECT_TRUE(dtype == at::kFloat || at::equal(y, plain)) << toString(dtype);
      }
    }
  }
}

TEST(Rotary, StridedViewsChangeInPlaceAndNothingElseDoes) {
  const RotarySpec spec{.rotary_dim = 4};
  const int64_t T = 9, A = 3, D = 6;
  const Tensor position = at::arange(T, at::kLong);
  const Tensor wide = random_tensor({T, 5 * D + A * D}, 4);
  Tensor changed = wide.clone();
  rotary_(changed.narrow(1, 2 * D, A * D).view({T, A, D}), position, spec, false);
  Tensor dense = wide.narrow(1, 2 * D, A * D).clone().view({T, A, D});
  rotary_(dense, position, spec, false);
  Tensor expected = wide.clone();
  expected.narrow(1, 2 * D, A * D).copy_(dense.view({T, A * D}));
  EXPECT_TRUE(at::equal(changed, expected));
  EXPECT_FALSE(at::equal(changed, wide));

  // Columns outermost: no unit stride anywhere that helps.
  Tensor column_major = random_tensor({D, A, T}, 5);
  Tensor copy = column_major.permute({2, 1, 0}).contiguous();
  rotary_(column_major.permute({2, 1, 0}), position, spec, false);
  rotary_(copy, position, spec, false);
  EXPECT_TRUE(at::equal(column_major.permute({2, 1, 0}), copy));
}

TEST(Rotary, OnlyThePositionOfARowMatters) {
  const RotarySpec spec{.rotary_dim = 8};
  const Tensor x = random_tensor({1, 2, 8}, 6, at::kFloat);
  const Tensor position = at::tensor(std::vector<int64_t>{3, 0, 3, 7, 3, 0, 1, 2, 3}, at::kLong);
  Tensor y = x.expand({9, 2, 8}).clone();
  rotary_(y, position, spec, false);
  for (int64_t t = 0; t < 9; ++t) {
    Tensor alone = x.clone();
    rotary_(alone, position.narrow(0, t, 1), spec, false);  // a table of one row instead of eight
    EXPECT_TRUE(at::equal(alone[0], y[t])) << t;
  }
  // Scores depend on the distance alone.
  Tensor q = random_tensor({2, 1, 8}, 7);
  q[1] = q[0];
  Tensor k = random_tensor({2, 1, 8}, 8);
  k[1] = k[0];
  rotary_(q, at::tensor(std::vector<int64_t>{10, 110}, at::kLong), spec, false);
  rotary_(k, at::tensor(std::vector<int64_t>{4, 104}, at::kLong), spec, false);
  EXPECT_NEAR((q[0] * k[0]).sum().item<double>(), (q[1] * k[1]).sum().item<double>(), 1e-12);
}

// Printed by transformers 5.23.0: modeling_rope_utils.ROPE_INIT_FUNCTIONS["llama3"] on a LlamaConfig with head_dim 64
// and the rope_parameters of the test (its frequencies are fp32).
TEST(Rotary, Llama3RuleEqualsTransformers) {
  const std::vector<double> llama31 = {1.0,
                                       0.663601279,
                                       0.440366626,
                                       0.292227834,
                                       0.193922758,
                                       0.128687382,
                                       0.0853971019,
                                       0.0566696189,
                                       0.0376060307,
                                       0.0249554086,
                                       0.0165604409,
                                       0.0109895291,
                                       0.00729266508,
                                       0.00483942125,
                                       0.00321144611,
                                       0.00137189368,
                                       0.000524846022,
                                       0.000178507791,
                                       7.78465546e-05,
                                       5.16590699e-05,
                                       3.42810235e-05,
                                       2.2748929e-05,
                                       1.50962178e-05,
                                       1.00178686e-05,
                                       6.64786967e-06,
                                       4.41153452e-06,
                                       2.92749974e-06,
                                       1.94269251e-06,
                                       1.28917316e-06,
                                       8.55496921e-07,
                                       5.6770881e-07,
                                       3.7673226e-07};
  const std::vector<double> other = {1.0,
                                     0.749894202,
                                     0.562341332,
                                     0.421696514,
                                     0.316227764,
                                     0.237137362,
                                     0.177827939,
                                     0.133352146,
                                     0.100000001,
                                     0.0749894157,
                                     0.0486503877,
                                     0.0208761934,
                                     0.00687878625,
                                     0.000741054246,
                                     0.000555712322,
                                     0.000416725466,
                                     0.000312499993,
                                     0.000234341947,
                                     0.000175731664,
                                     0.000131780151,
                                     9.88211832e-05,
                                     7.41054318e-05,
                                     5.55712322e-05,
                                     4.16725452e-05,
                                     3.12500015e-05,
                                     2.34341933e-05,
                                     1.75731657e-05,
                                     1.31780153e-05,
                                     9.88211832e-06,
                                     7.41054328e-06,
                                     5.55712313e-06,
                                     4.1672547e-06};
  RotarySpec spec{.rotary_dim = 64, .base = 500000.0, .scaling = RopeScalingKind::kLlama3, .factor = 8.0};
  const auto expect_equal = [](const std::vector<double>& got, const std::vector<double>& want) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i] / want[i], 1.0, 3e-6) << i;
  };
  expect_equal(rotary_frequencies(spec), llama31);
  spec.base = 10000.0;
  spec.factor = 32.0;
  spec.low_freq_factor = 2.0;
  spec.high_freq_factor = 5.0;
  spec.original_max_position = 512;
  expect_equal(rotary_frequencies(spec), other);
}

TEST(Rotary, LinearRuleAndSpecFromConfig) {
  ModelConfig config;
  config.kv_channels = 80;
  config.rotary_percent = 0.4;
  config.rotary_base = 100.0;
  config.rope_scaling = RopeScalingKind::kLinear;
  config.rope_scaling_factor = 4.0;
  const RotarySpec spec = rotary_spec(config);
  EXPECT_EQ(spec.rotary_dim, 32);
  const std::vector<double> f = rotary_frequencies(spec);
  ASSERT_EQ(f.size(), 16u);
  EXPECT_NEAR(f[0], 0.25, 1e-15);
  EXPECT_NEAR(f[8], 0.1 / 4.0, 1e-15);  // 100^(-16/32) = 1/10
}

TEST(Rotary, NotANumberStaysOneInBfloat16) {
  const RotarySpec spec{.rotary_dim = 2};
  Tensor x = at::full({1, 1, 2}, std::nan(""), at::kBFloat16);
  rotary_(x, at::zeros({1}, at::kLong), spec, false);
  EXPECT_TRUE(x.isnan().all().item<bool>());
}

TEST(RotaryDeathTest, RefusesWhatTheContractExcludes) {
  const Tensor position = at::zeros({2}, at::kLong);
  EXPECT_DEATH(rotary_(at::zeros({2, 1, 4}), position, {.rotary_dim = 3}, false), "3 rotary columns of 4");
  EXPECT_DEATH(rotary_(at::zeros({2, 1, 4}), position, {.rotary_dim = 6}, false), "6 rotary columns of 4");
  EXPECT_DEATH(rotary_(at::zeros({3, 1, 4}), position, {.rotary_dim = 4}, false), "x 3x1x4 and position 2");
  EXPECT_DEATH(rotary_(at::zeros({2, 1, 4}), position.to(at::kInt), {.rotary_dim = 4}, false), "int64");
}

}  // namespace
}  // namespace phalanx::kernels
