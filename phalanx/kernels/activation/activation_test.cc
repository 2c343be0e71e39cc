#include "phalanx/kernels/activation/activation.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>

#include "phalanx/kernels/activation/activation_ref.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::kernels {
namespace {

using testing::autograd_gradients;
using testing::fused_error;
using testing::random_tensor;
using testing::relative_error;

constexpr std::array kKinds = {ActivationKind::kGelu, ActivationKind::kGeluTanh, ActivationKind::kSwiglu,
                               ActivationKind::kGeglu, ActivationKind::kSquaredRelu};
// The last one is several blocks of rows.
const std::vector<std::array<int64_t, 2>> kShapes = {{1, 1}, {1, 7}, {9, 1}, {5, 33}, {70, 390}};  // T, F

struct Case {
  ActivationKind kind;
  Tensor x;
  Tensor dy;

  std::string name() const {
    return fmt::format("kind {} x [{}]", static_cast<int>(kind), fmt::join(x.sizes(), ", "));
  }
};

std::vector<Case> cases(at::ScalarType dtype) {
  std::vector<Case> result;
  for (const ActivationKind kind : kKinds) {
    for (const auto& [rows, columns] : kShapes) {
      const int64_t width = is_gated(kind) ? 2 * columns : columns;
      result.push_back(
          {kind, random_tensor({rows, width}, 1, dtype, 2.0), random_tensor({rows, columns}, 2, dtype)});
    }
  }
  return result;
}

Tensor expected_dx(const Tensor& dy, const Tensor& x, ActivationKind kind) {
  return autograd_gradients(
      [kind](const std::vector<Tensor>& v) {
        return std::vector<Tensor>{activation_forward_ref(v[0], kind)};
      },
      {x}, {dy})[0];
}

TEST(Activation, GradientsEqualAutogradOfTheReferenceInFp64) {
  for (const Case& c : cases(at::kDouble)) {
    EXPECT_LE(relative_error(activation_forward(c.x, c.kind), activation_forward_ref(c.x, c.kind)), 1e-10)
        << c.name();
    EXPECT_LE(relative_error(activation_backward(c.dy, c.x, c.kind), expected_dx(c.dy, c.x, c.kind)), 1e-10)
        << c.name();
  }
}

TEST(Activation, Fp32AndHalfAreAsCloseAsPlainOps) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const Case& c : cases(dtype)) {
      const Tensor exact_x = c.x.to(at::kDouble);
      const Tensor y = activation_forward(c.x, c.kind);
      EXPECT_EQ(y.scalar_type(), dtype);
      EXPECT_EQ(fused_error(y, activation_forward_ref(c.x, c.kind), activation_forward_ref(exact_x, c.kind)),
                "")
          << c.name();
      const Tensor dx = activation_backward(c.dy, c.x, c.kind);
      EXPECT_EQ(dx.scalar_type(), dtype);
      EXPECT_EQ(
          fused_error(dx, expected_dx(c.dy, c.x, c.kind), expected_dx(c.dy.to(at::kDouble), exact_x, c.kind)),
          "")
          << c.name();
    }
  }
}

// Inner arithmetic in fp32: the half result is the fp64 one rounded once, but for the odd tie.
TEST(Activation, HalfResultsAreRoundedOnce) {
  for (const Case& c : cases(at::kBFloat16)) {
    const Tensor exact = activation_forward_ref(c.x.to(at::kDouble), c.kind);
    const Tensor y = activation_forward(c.x, c.kind).to(at::kDouble);
    EXPECT_TRUE(((y - exact).abs() <= exact.abs() * (0x1.0p-8 + 1e-4) + 1e-6).all().item<bool>()) << c.name();
    const Tensor exact_dx = expected_dx(c.dy.to(at::kDouble), c.x.to(at::kDouble), c.kind);
    const Tensor dx = activation_backward(c.dy, c.x, c.kind).to(at::kDouble);
    EXPECT_TRUE(((dx - exact_dx).abs() <= exact_dx.abs() * (0x1.0p-8 + 1e-4) + 1e-5).all().item<bool>())
        << c.name();
  }
}

// Values from the equations by hand, at gate = 1, up = 3.
TEST(Activation, KnownValues) {
  const Tensor one = at::ones({1, 1}, at::TensorOptions(at::kDouble));
  const Tensor pair = at::cat({one, 3.0 * one}, 1);
  const double sigmoid = 1.0 / (1.0 + std::exp(-1.0));
  const double tanh_gelu = 0.5 * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * 1.044715));
  EXPECT_NEAR(activation_forward(one, ActivationKind::kGelu).item<double>(), 0.8413447460685429, 1e-15);
  EXPECT_NEAR(activation_forward(one, ActivationKind::kGeluTanh).item<double>(), tanh_gelu, 1e-15);
  EXPECT_NEAR(activation_forward(pair, ActivationKind::kSwiglu).item<double>(), 3.0 * sigmoid, 1e-15);
  EXPECT_NEAR(activation_forward(pair, ActivationKind::kGeglu).item<double>(), 3.0 * tanh_gelu, 1e-15);
  EXPECT_EQ(activation_forward(pair, ActivationKind::kSquaredRelu)[0][1].item<double>(), 9.0);
  EXPECT_EQ(activation_forward(-pair, ActivationKind::kSquaredRelu).abs().max().item<double>(), 0.0);
}

TEST(Activation, TheReferencesGradientIsTheDerivative) {
  for (const ActivationKind kind : kKinds) {
    const Tensor x = random_tensor({3, 4}, 1);
    const Tensor dy = random_tensor({3, is_gated(kind) ? 2 : 4}, 2);
    const Tensor dx = expected_dx(dy, x, kind);
    const auto loss = [&] { return (activation_forward_ref(x, kind) * dy).sum().item<double>(); };
    for (int64_t i = 0; i < x.numel(); ++i) {
      const Tensor entry = x.view({-1})[i];
      const double before = entry.item<double>();
      const double h = 1e-6;
      entry.fill_(before + h);
      const double up = loss();
      entry.fill_(before - h);
      EXPECT_NEAR((up - loss()) / (2 * h), dx.view({-1})[i].item<double>(), 1e-7) << static_cast<int>(kind);
      entry.fill_(before);
    }
  }
}

TEST(Activation, StridedViews) {
  for (const ActivationKind kind : kKinds) {
    const Tensor wide = random_tensor({20, 420}, 1);
    const Tensor x = wide.slice(1, 10, 410);
    const Tensor dy = wide.slice(1, 3, is_gated(kind) ? 203 : 403);
    const Tensor dx = activation_backward(dy.contiguous(), x.contiguous(), kind);
    EXPECT_LE(relative_error(activation_forward(x, kind), activation_forward(x.contiguous(), kind)), 1e-14);
    EXPECT_LE(relative_error(activation_backward(dy, x, kind), dx), 1e-14);
  }
}

TEST(Activation, TheBitsDoNotDependOnTheThreadCount) {
  const int threads = at::get_num_threads();
  for (const ActivationKind kind : kKinds) {
    const Tensor x = random_tensor({211, 402}, 1, at::kFloat);
    const Tensor dy = x.narrow(1, 0, is_gated(kind) ? 201 : 402);
    at::set_num_threads(1);
    const Tensor y = activation_forward(x, kind);
    const Tensor dx = activation_backward(dy, x, kind);
    for (const int n : {2, 3}) {
      at::set_num_threads(n);
      EXPECT_TRUE(at::equal(activation_forward(x, kind), y)) << static_cast<int>(kind);
      EXPECT_TRUE(at::equal(activation_backward(dy, x, kind), dx)) << static_cast<int>(kind);
    }
  }
  at::set_num_threads(threads);
}

TEST(Activation, NoRows) {
  for (const ActivationKind kind : kKinds) {
    const Tensor x = at::zeros({0, 6});
    const int64_t columns = is_gated(kind) ? 3 : 6;
    EXPECT_EQ(activation_forward(x, kind).sizes(), (at::IntArrayRef{0, columns}));
    EXPECT_EQ(activation_backward(at::zeros({0, columns}), x, kind).sizes(), x.sizes());
  }
}

TEST(ActivationDeathTest, WrongArgumentsAreBugs) {
  const Tensor x = at::zeros({2, 3});
  EXPECT_DEATH(activation_forward(x, ActivationKind::kSwiglu), "3 columns are not \\[gate \\| up\\]");
  EXPECT_DEATH(activation_forward(at::zeros({3}), ActivationKind::kGelu), "x is \\[T, F\\]");
  EXPECT_DEATH(activation_backward(at::zeros({2, 4}), x, ActivationKind::kGelu), "dy Float \\[2, 4\\] for x");
  EXPECT_DEATH(activation_backward(at::zeros({2, 4}), at::zeros({2, 4}), ActivationKind::kGeglu), "dy Float");
  EXPECT_DEATH(activation_backward(x.to(at::kDouble), x, ActivationKind::kGelu), "dy Double");
}

}  // namespace
}  // namespace phalanx::kernels
