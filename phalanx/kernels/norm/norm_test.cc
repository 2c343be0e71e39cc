#include "phalanx/kernels/norm/norm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "phalanx/kernels/norm/norm_ref.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::kernels {
namespace {

using testing::autograd_gradients;
using testing::fused_error;
using testing::random_tensor;
using testing::relative_error;

constexpr double kFp64 = 1e-10;

struct Case {
  std::vector<int64_t> shape;
  NormSpec spec;
  bool has_bias = false;

  std::string name() const {
    return fmt::format("[{}] rms {} one_plus {} bias {}", fmt::join(shape, ", "), spec.rms, spec.one_plus,
                       has_bias);
  }
};

std::vector<Case> cases() {
  std::vector<Case> result;
  const std::vector<std::vector<int64_t>> shapes = {
      {1, 1}, {5, 1}, {7}, {1, 33}, {3, 31}, {70, 100}, {2, 3, 8}, {9, 4, 65}, {2, 2, 3, 5}, {100, 257}};
  for (const auto& shape : shapes) {
    for (const bool rms : {false, true}) {
      for (const bool one_plus : {false, true}) {
        for (const bool has_bias : {false, true}) {
          result.push_back({shape, {.rms = rms, .epsilon = 1e-3, .one_plus = one_plus}, has_bias});
        }
      }
    }
  }
  return result;
}

struct Inputs {
  Tensor x;
  Tensor weight;
  Tensor bias;
  Tensor dy;

  Inputs to(at::ScalarType dtype) const {
    return {x.to(dtype), weight.to(dtype), bias.defined() ? bias.to(dtype) : bias, dy.to(dtype)};
  }
};

// Slices of one pool of values, which costs less than drawing new ones for every case.
Tensor values(const std::vector<int64_t>& shape, int64_t offset) {
  static const Tensor pool = random_tensor({100000}, 1);
  return pool.narrow(0, offset, c10::multiply_integers(shape)).view(shape).clone();
}

Inputs inputs(const Case& c) {
  const std::vector<int64_t> columns = {c.shape.back()};
  Inputs in;
  in.x = values(c.shape, 0) * 2.0 + 0.5;
  in.weight = values(columns, 1000);
  if (c.has_bias) in.bias = values(columns, 2000);
  in.dy = values(c.shape, 3000);
  return in;
}

// Gradients of x, weight and, if there is one, bias by autograd of the reference.
std::vector<Tensor> expected(const Inputs& in, const NormSpec& spec) {
  std::vector<Tensor> leaves = {in.x, in.weight};
  if (in.bias.defined()) leaves.push_back(in.bias);
  return autograd_gradients(
      [&spec](const std::vector<Tensor>& v) {
        return std::vector<Tensor>{norm_forward_ref(v[0], v[1], v.size() > 2 ? v[2] : Tensor(), spec).y};
      },
      leaves, {in.dy});
}

NormBackward run_backward(const Inputs& in, const NormForward& f, const NormSpec& spec) {
  return norm_backward(in.dy, in.x, f.mean, f.rstd, in.weight, in.bias.defined(), spec);
}

void expect_gradients(const NormBackward& g, const std::vector<Tensor>& e, double tolerance,
                      const std::string& name) {
  EXPECT_LE(relative_error(g.dx, e[0]), tolerance) << name;
  EXPECT_LE(relative_error(g.dweight, e[1]), tolerance) << name;
  ASSERT_EQ(g.dbias.defined(), e.size() > 2) << name;
  if (g.dbias.defined()) {
    EXPECT_LE(relative_error(g.dbias, e[2]), tolerance) << name;
  }
}

TEST(Norm, GradientsEqualAutogradOfTheReferenceInFp64) {
  for (const Case& c : cases()) {
    const Inputs in = inputs(c);
    const NormForward f = norm_forward(in.x, in.weight, in.bias, c.spec);
    const NormForward r = norm_forward_ref(in.x, in.weight, in.bias, c.spec);
    EXPECT_LE(relative_error(f.y, r.y), kFp64) << c.name();
    EXPECT_LE(relative_error(f.rstd, r.rstd), kFp64) << c.name();
    EXPECT_EQ(f.mean.defined(), !c.spec.rms);
    if (!c.spec.rms) {
      EXPECT_LE((f.mean - r.mean).abs().max().item<double>(), 1e-14) << c.name();
    }
    // Layer norm of one column does not depend on x; there an exact zero meets rounding.
    if (c.shape.back() == 1 && !c.spec.rms) {
      EXPECT_LE(run_backward(in, f, c.spec).dx.abs().max().item<double>(), 1e-12) << c.name();
      continue;
    }
    const std::vector<Tensor> e = expected(in, c.spec);
    expect_gradients(run_backward(in, f, c.spec), e, kFp64, c.name());
    expect_gradients(norm_backward_ref(in.dy, in.x, r.mean, r.rstd, in.weight, in.bias.defined(), c.spec), e,
                     kFp64, c.name());
  }
}

// The reference itself: against LibTorch's own layer norm, and its gradient against central differences.
TEST(Norm, TheReferenceIsTheEquation) {
  const Case c{{4, 6}, {.epsilon = 1e-3}, true};
  const Inputs in = inputs(c);
  const Tensor vendor = at::layer_norm(in.x, {6}, in.weight, in.bias, c.spec.epsilon);
  EXPECT_LE(relative_error(norm_forward_ref(in.x, in.weight, in.bias, c.spec).y, vendor), 1e-14);
  for (const NormSpec& spec :
       {NormSpec{.epsilon = 1e-3}, NormSpec{.rms = true, .epsilon = 1e-3, .one_plus = true}}) {
    const std::vector<Tensor> e = expected(in, spec);
    const auto loss = [&](const Tensor& x, const Tensor& weight, const Tensor& bias) {
      return (norm_forward_ref(x, weight, bias, spec).y * in.dy).sum().item<double>();
    };
    const std::vector<Tensor> values = {in.x, in.weight, in.bias};
    for (size_t which = 0; which < values.size(); ++which) {
      const Tensor flat = values[which].view({-1});
      for (int64_t i = 0; i < flat.numel(); i += 5) {
        const double h = 1e-6;
        const double before = flat[i].item<double>();
        flat[i].fill_(before + h);
        const double up = loss(in.x, in.weight, in.bias);
        flat[i].fill_(before - h);
        const double down = loss(in.x, in.weight, in.bias);
        flat[i].fill_(before);
        EXPECT_NEAR((up - down) / (2 * h), e[which].reshape({-1})[i].item<double>(), 1e-7)
            << which << " " << i;
      }
    }
  }
}

TEST(Norm, Fp32AndHalfAreAsCloseAsPlainOps) {
  int compared = 0;
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const Case& c : cases()) {
      const Inputs in = inputs(c).to(dtype);
      const Inputs exact_in = in.to(at::kDouble);
      const NormForward f = norm_forward(in.x, in.weight, in.bias, c.spec);
      const NormForward plain = norm_forward_ref(in.x, in.weight, in.bias, c.spec);
      const NormForward exact = norm_forward_ref(exact_in.x, exact_in.weight, exact_in.bias, c.spec);
      EXPECT_EQ(f.y.scalar_type(), dtype);
      EXPECT_EQ(f.rstd.scalar_type(), at::kFloat);
      EXPECT_EQ(fused_error(f.y, plain.y, exact.y), "") << c.name();
      EXPECT_EQ(fused_error(f.rstd, plain.rstd, exact.rstd), "") << c.name();
      if (c.shape.back() == 1 && !c.spec.rms) continue;
      const NormBackward g = run_backward(in, f, c.spec);
      const NormBackward p =
          norm_backward_ref(in.dy, in.x, plain.mean, plain.rstd, in.weight, c.has_bias, c.spec);
      const std::vector<Tensor> e = expected(exact_in, c.spec);
      EXPECT_EQ(g.dx.scalar_type(), dtype);
      EXPECT_EQ(g.dweight.scalar_type(), at::kFloat);
      EXPECT_EQ(fused_error(g.dx, p.dx, e[0]), "") << c.name();
      EXPECT_EQ(fused_error(g.dweight, p.dweight, e[1]), "") << c.name();
      if (c.has_bias) {
        EXPECT_EQ(g.dbias.scalar_type(), at::kFloat);
        EXPECT_EQ(fused_error(g.dbias, p.dbias, e[2]), "") << c.name();
      }
      ++compared;
    }
  }
  EXPECT_EQ(compared, 3 * (80 - 8));
}

// Statistics of bf16 rows far from zero: a sum in bf16 would lose the variance altogether.
TEST(Norm, HalfRowsHaveFp32Statistics) {
  const Tensor x = (random_tensor({4, 512}, 5) + 30.0).to(at::kBFloat16);
  const Tensor one = at::ones({512}, x.options());
  const NormForward f = norm_forward(x, one, Tensor(), {});
  const NormForward exact = norm_forward_ref(x.to(at::kDouble), one.to(at::kDouble), Tensor(), {});
  EXPECT_LE(relative_error(f.mean, exact.mean), 1e-6);
  EXPECT_LE(relative_error(f.rstd, exact.rstd), 1e-5);
}

TEST(Norm, ApplyIsBitEqualToForward) {
  const int threads = at::get_num_threads();
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const Case& c : cases()) {
      const Inputs in = inputs(c).to(dtype);
      at::set_num_threads(1);
      const NormForward f = norm_forward(in.x, in.weight, in.bias, c.spec);
      at::set_num_threads(2);
      const Tensor y = norm_apply(in.x, f.mean, f.rstd, in.weight, in.bias, c.spec);
      EXPECT_TRUE(at::equal(y, f.y)) << c.name();
    }
  }
  at::set_num_threads(threads);
}

TEST(Norm, TheBitsDoNotDependOnTheThreadCount) {
  const int threads = at::get_num_threads();
  for (const bool rms : {false, true}) {
    const Case c{{600, 130}, {.rms = rms}, true};
    const Inputs in = inputs(c).to(at::kFloat);
    at::set_num_threads(1);
    const NormForward f = norm_forward(in.x, in.weight, in.bias, c.spec);
    const NormBackward g = run_backward(in, f, c.spec);
    for (const int n : {2, 3}) {
      at::set_num_threads(n);
      const NormForward f_n = norm_forward(in.x, in.weight, in.bias, c.spec);
      const NormBackward g_n = run_backward(in, f_n, c.spec);
      EXPECT_TRUE(at::equal(f_n.y, f.y) && at::equal(f_n.rstd, f.rstd));
      EXPECT_TRUE(at::equal(g_n.dx, g.dx) && at::equal(g_n.dweight, g.dweight) &&
                  at::equal(g_n.dbias, g.dbias));
    }
  }
  at::set_num_threads(threads);
}

// As the norm of queries and keys sees them: heads inside a wider row.
TEST(Norm, ReadsStridedViews) {
  const NormSpec spec{.rms = true};
  const Tensor weight = random_tensor({8}, 2);
  const Tensor wide = random_tensor({6, 72}, 1);
  const std::vector<Tensor> views = {wide.slice(1, 24, 48).view({6, 3, 8}),  // [T, heads, D] out of [T, 3 H]
                                     wide.slice(1, 2, 10),                   // rows with gaps
                                     wide.slice(0, 0, 6, 2).slice(1, 0, 16, 2),  // no unit stride
                                     wide.slice(1, 0, 1).expand({6, 8}),         // one value a row
                                     wide.view({6, 3, 3, 8}).transpose(1, 2),    // four dims
                                     wide.slice(1, 0, 0).reshape({0, 8})};       // no rows
  for (const Tensor& x : views) {
    const Tensor dense = x.contiguous();
    const Tensor dy = random_tensor(x.sizes().vec(), 3);
    const Tensor dy_view = at::cat({dy, dy}, -1).slice(-1, 8, 16);
    const NormForward f = norm_forward(x, weight, Tensor(), spec);
    const NormForward d = norm_forward(dense, weight, Tensor(), spec);
    EXPECT_TRUE(at::equal(f.y, d.y) && at::equal(f.rstd, d.rstd));
    EXPECT_EQ(f.y.sizes(), x.sizes());
    EXPECT_TRUE(at::equal(norm_apply(x, f.mean, f.rstd, weight, Tensor(), spec), d.y));
    const NormBackward g = norm_backward(dy_view, x, f.mean, f.rstd, weight, false, spec);
    const NormBackward e = norm_backward(dy, dense, d.mean, d.rstd, weight, false, spec);
    EXPECT_TRUE(at::equal(g.dx, e.dx) && at::equal(g.dweight, e.dweight));
    EXPECT_LE(relative_error(d.y, norm_forward_ref(dense, weight, Tensor(), spec).y), 1e-14);
  }
}

// The bf16 body is the fp32 body with every result rounded to nearest even.
TEST(Norm, Bfloat16IsTheFp32ResultRounded) {
  for (const bool rms : {false, true}) {
    const Case c{{50, 77}, {.rms = rms}, true};
    const Inputs half = inputs(c).to(at::kBFloat16);
    const Inputs wide = half.to(at::kFloat);
    const NormForward f = norm_forward(half.x, half.weight, half.bias, c.spec);
    const NormForward w = norm_forward(wide.x, wide.weight, wide.bias, c.spec);
    EXPECT_TRUE(at::equal(f.y, w.y.to(at::kBFloat16)));
    EXPECT_TRUE(at::equal(f.rstd, w.rstd));
    const NormBackward g = run_backward(half, f, c.spec);
    const NormBackward e = run_backward(wide, w, c.spec);
    EXPECT_TRUE(at::equal(g.dx, e.dx.to(at::kBFloat16)));
    EXPECT_TRUE(at::equal(g.dweight, e.dweight) && at::equal(g.dbias, e.dbias));
  }
}

TEST(Norm, Bfloat16TiesGoToEven) {
  const Tensor x = at::ones({1, 4}, at::TensorOptions(at::kBFloat16));
  const Tensor weight = at::tensor({1.0 + 0x1.0p-8, 1.0 + 0x3.0p-8, 1.0 + 0x1.2p-8, 1.0}).to(at::kFloat);
  const Tensor y = norm_forward(x, weight, Tensor(), {.rms = true, .epsilon = 0.0}).y.to(at::kDouble);
  EXPECT_TRUE(at::equal(y[0], at::tensor({1.0, 1.0 + 0x1.0p-6, 1.0 + 0x1.0p-7, 1.0})));
}

TEST(Norm, NotANumberStays) {
  Tensor x = random_tensor({2, 5}, 1, at::kBFloat16);
  x[0][3].fill_(std::numeric_limits<double>::quiet_NaN());
  const Tensor y = norm_forward(x, at::ones({5}, x.options()), Tensor(), {}).y;
  EXPECT_TRUE(y[0].isnan().all().item<bool>());
  EXPECT_FALSE(y[1].isnan().any().item<bool>());
  // All bits set: rounding up would carry into the sign.
  const Tensor weight = at::full({5}, 0x7FFFFFFF, at::TensorOptions(at::kInt)).view(at::kFloat);
  EXPECT_TRUE(norm_forward(x, weight, Tensor(), {}).y.isnan().all().item<bool>());
}

TEST(Norm, Fp32WeightsServeHalfRows) {
  const Case c{{5, 40}, {.one_plus = true}, true};
  const Inputs wide = inputs(c).to(at::kFloat);
  const Inputs in = wide.to(at::kBFloat16);
  const NormForward f = norm_forward(in.x, wide.weight, wide.bias, c.spec);
  const NormForward exact =
      norm_forward_ref(in.x.to(at::kDouble), wide.weight.to(at::kDouble), wide.bias.to(at::kDouble), c.spec);
  EXPECT_EQ(fused_error(f.y, exact.y.to(at::kBFloat16), exact.y), "");
}

TEST(NormDeathTest, WrongArgumentsAreBugs) {
  const Tensor x = at::zeros({3, 4});
  const Tensor weight = at::zeros({4});
  const Tensor rstd = at::zeros({3, 1});
  const NormSpec rms{.rms = true};
  EXPECT_DEATH(norm_forward(x, at::zeros({5}), Tensor(), {}), "weight Float \\[5\\] for x Float \\[3, 4\\]");
  EXPECT_DEATH(norm_forward(x, weight, at::zeros({3}), {}), "bias Float \\[3\\]");
  EXPECT_DEATH(norm_forward(x, weight.to(at::kDouble), Tensor(), {}), "weight Double");
  EXPECT_DEATH(norm_forward(x.to(at::kLong), weight, Tensor(), {}), "floating");
  EXPECT_DEATH(norm_apply(x, Tensor(), rstd, weight, Tensor(), {}), "mean does not fit");
  EXPECT_DEATH(norm_apply(x, rstd, rstd, weight, Tensor(), rms), "mean does not fit");
  EXPECT_DEATH(norm_apply(x, Tensor(), at::zeros({2, 1}), weight, Tensor(), rms), "rstd does not fit");
  EXPECT_DEATH(norm_backward(x.t(), x, Tensor(), rstd, weight, false, rms), "dy Float \\[4, 3\\]");
}

}  // namespace
}  // namespace phalanx::kernels
