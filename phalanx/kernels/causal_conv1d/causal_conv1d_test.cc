#include "phalanx/kernels/causal_conv1d/causal_conv1d.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "phalanx/kernels/causal_conv1d/test_conv.h"
#include "phalanx/kernels/test_targets.h"

namespace phalanx::kernels {
namespace {

using namespace conv_testing;
using phalanx::testing::fused_error;
using phalanx::testing::relative_error;

constexpr double kFp64 = 1e-10;

void expect_gradients(const Gradients& g, const Gradients& e, const std::string& name) {
  EXPECT_LE(relative_error(g.dx, e.dx), kFp64) << name;
  EXPECT_LE(relative_error(g.rest.dweight, e.rest.dweight), kFp64) << name;
  ASSERT_EQ(g.rest.dbias.defined(), e.rest.dbias.defined()) << name;
  ASSERT_EQ(g.rest.dwindow.defined(), e.rest.dwindow.defined()) << name;
  if (e.rest.dbias.defined()) {
    EXPECT_LE(relative_error(g.rest.dbias, e.rest.dbias), kFp64) << name;
  }
  if (e.rest.dwindow.defined()) {
    EXPECT_EQ(g.rest.dwindow.sizes(), e.rest.dwindow.sizes()) << name;
    EXPECT_LE(relative_error(g.rest.dwindow, e.rest.dwindow), kFp64) << name;
  }
}

TEST(CausalConv1d, GradientsEqualAutogradOfTheReferenceInFp64) {
  for (const Case& c : cases()) {
    const Inputs i = inputs(c);
    EXPECT_LE(relative_error(causal_conv1d_forward(i.in), causal_conv1d_forward_ref(i.in)), kFp64)
        << c.name();
    const Gradients e = expected(i);
    expect_gradients(backward(i), e, c.name());
    expect_gradients(backward_ref(i), e, c.name() + " ref");
  }
}

// The reference against the vendor's convolution and, with documents, against the equation one element at a time.
TEST(CausalConv1d, TheReferenceIsTheEquation) {
  const Inputs i = inputs({2, 11, 5, 4, true, false, true});
  const Tensor padded = at::cat({i.in.window, i.in.x}, 1).transpose(1, 2);
  const std::vector<int64_t> one = {1}, zero = {0};
  const Tensor c = at::conv1d(padded, i.in.weight.unsqueeze(1), i.in.bias, one, zero, one, 5).transpose(1, 2);
  EXPECT_LE(relative_error(causal_conv1d_forward_ref(i.in), at::silu(c)), 1e-14);

  const Inputs d = inputs({2, 40, 3, 3, true, true, true});
  const Tensor y = causal_conv1d_forward_ref(d.in);
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t t = 0; t < 40; ++t) {
      double sum = d.in.bias[1].item<double>();
      for (int64_t k = 0; k < 3; ++k) {
        const int64_t from = t - 2 + k;
        const Tensor document = d.in.document[b];
        if (document[std::max<int64_t>(from, 0)].item<int64_t>() != document[t].item<int64_t>()) continue;
        const Tensor row = from < 0 ? d.in.window[b][2 + from] : d.in.x[b][from];
        sum += d.in.weight[1][k].item<double>() * row[1].item<double>();
      }
      EXPECT_NEAR(y[b][t][1].item<double>(), sum / (1.0 + std::exp(-sum)), 1e-13) << b << " " << t;
    }
  }
}

TEST(CausalConv1d, Fp32AndHalfAreAsCloseAsPlainOps) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const Case& c : cases()) {
      const Inputs i = inputs(c).to(dtype);
      const Inputs exact = i.to(at::kDouble);
      const Tensor y = causal_conv1d_forward(i.in);
      EXPECT_EQ(y.scalar_type(), dtype);
      EXPECT_EQ(fused_error(y, causal_conv1d_forward_ref(i.in), causal_conv1d_forward_ref(exact.in)), "")
          << c.name();
      const Gradients g = backward(i);
      const Gradients p = backward_ref(i);
      const Gradients e = expected(exact);
      EXPECT_EQ(g.rest.dweight.scalar_type(), at::kFloat);
      EXPECT_EQ(fused_error(g.dx, p.dx, e.dx), "") << c.name();
      EXPECT_EQ(fused_error(g.rest.dweight, p.rest.dweight, e.rest.dweight), "") << c.name();
      if (c.bias) {
        EXPECT_EQ(g.rest.dbias.scalar_type(), at::kFloat);
        EXPECT_EQ(fused_error(g.rest.dbias, p.rest.dbias, e.rest.dbias), "") << c.name();
      }
      if (c.window && c.taps > 1) {
        EXPECT_EQ(g.rest.dwindow.scalar_type(), at::kFloat);
        EXPECT_EQ(fused_error(g.rest.dwindow, p.rest.dwindow, e.rest.dwindow), "") << c.name();
      }
    }
  }
}

// Very negative and very positive sums, where exp leaves the range of fp32.
TEST(CausalConv1d, LargeInputsStayFinite) {
  const Tensor x =
      at::tensor({-1000.0, -100.0, -88.0, -20.0, 0.0, 20.0, 100.0, 1e30}, at::kFloat).view({1, 8, 1});
  const ConvInputs in{x, at::ones({1, 1}), {}, {}, {}};
  const ConvInputs exact{x.to(at::kDouble), at::ones({1, 1}, at::kDouble), {}, {}, {}};
  const Tensor want = causal_conv1d_forward_ref(exact);
  EXPECT_TRUE(at::allclose(causal_conv1d_forward(in).to(at::kDouble), want, 1e-6, 1e-36));
  Tensor dx = at::empty_like(x);
  causal_conv1d_backward(at::ones_like(x), in, dx);
  EXPECT_TRUE(dx.isfinite().all().item<bool>());
  EXPECT_EQ(dx[0][7][0].item<float>(), 1.0f);
  EXPECT_EQ(dx[0][4][0].item<float>(), 0.5f);
}

TEST(CausalConv1d, NotANumberStaysWhereItsTapsAre) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    Inputs i = inputs({1, 12, 40, 4, true, true}).to(dtype);
    i.in.document = at::tensor({0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1}, at::kLong).view({1, 12});
    i.in.x[0][4].fill_(std::nan(""));
    const Tensor rows = causal_conv1d_forward(i.in)[0].isnan().all(1);
    EXPECT_TRUE(at::equal(rows, at::tensor({0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0}).to(at::kBool)));
  }
  // All bits set: rounding up would carry into the sign.
  const Tensor bias = at::full({1}, 0x7FFFFFFF, at::TensorOptions(at::kInt)).view(at::kFloat);
  const Tensor x = at::zeros({1, 1, 1}, at::kBFloat16);
  EXPECT_TRUE(causal_conv1d_forward({x, at::ones({1, 1}), bias, {}, {}}).isnan().all().item<bool>());
}

void expect_same_bits(const Gradients& a, const Gradients& b) {
  EXPECT_TRUE(at::equal(a.dx, b.dx) && at::equal(a.rest.dweight, b.rest.dweight) &&
              at::equal(a.rest.dbias, b.rest.dbias) && at::equal(a.rest.dwindow, b.rest.dwindow));
}

TEST(CausalConv1d, TheBitsDoNotDependOnTheThreadCount) {
  const int threads = at::get_num_threads();
  for (const Case& c : {Case{2, 300, 130, 4, true, true, true}, Case{70, 1, 600, 4, true, false, true}}) {
    const Inputs i = inputs(c).to(at::kFloat);
    at::set_num_threads(1);
    const Tensor y = causal_conv1d_forward(i.in);
    const Gradients g = backward(i);
    for (const int n : {2, 3}) {
      at::set_num_threads(n);
      EXPECT_TRUE(at::equal(causal_conv1d_forward(i.in), y));
      expect_same_bits(backward(i), g);
    }
  }
  at::set_num_threads(threads);
}

TEST(CausalConv1d, TheBitsDoNotDependOnTheVectors) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Inputs i = inputs({2, 70, 531, 4, true, true, true}).to(dtype);
    const Tensor y = causal_conv1d_forward(i.in);
    const Gradients g = backward(i);
    phalanx::testing::for_each_target([&](const std::string& target) {
      EXPECT_TRUE(at::equal(causal_conv1d_forward(i.in), y)) << target;
      expect_same_bits(backward(i), g);
    });
  }
}

TEST(CausalConv1d, Fp32ParametersServeHalfRows) {
  const Inputs wide = inputs({2, 20, 40, 4, true, true, true}).to(at::kFloat);
  Inputs half = wide.to(at::kBFloat16);
  half.in.weight = wide.in.weight;
  half.in.bias = wide.in.bias;
  Inputs same = half;  // the same values in fp32
  same.in.x = half.in.x.to(at::kFloat);
  same.in.window = half.in.window.to(at::kFloat);
  same.dy = half.dy.to(at::kFloat);
  EXPECT_TRUE(at::equal(causal_conv1d_forward(half.in), causal_conv1d_forward(same.in).to(at::kBFloat16)));
  const Gradients g = backward(half);
  Gradients e = backward(same);
  e.dx = e.dx.to(at::kBFloat16);
  expect_same_bits(g, e);
}

TEST(CausalConv1d, NothingInNothingOut) {
  for (const Case& c : {Case{0, 5, 3, 4, true, true, true}, Case{2, 0, 3, 4, true, true, true}}) {
    const Inputs i = inputs(c);
    EXPECT_EQ(causal_conv1d_forward(i.in).sizes(), i.in.x.sizes());
    const Gradients g = backward(i);
    EXPECT_TRUE(g.rest.dweight.eq(0.0).all().item<bool>() && g.rest.dbias.eq(0.0).all().item<bool>());
    EXPECT_TRUE(g.rest.dwindow.sizes() == i.in.window.sizes() && g.rest.dwindow.eq(0.0).all().item<bool>());
  }
  const Tensor windows = at::zeros({2, 3, 5});
  EXPECT_EQ(causal_conv1d_step(at::zeros({0, 5}), at::zeros({5, 4}), {}, windows, at::zeros({0}, at::kLong))
                .size(0),
            0);
}

TEST(CausalConv1dDeathTest, WrongArgumentsAreBugs) {
  const Tensor x = at::zeros({2, 6, 5}), w = at::zeros({5, 4}), bias = at::zeros({5});
  const auto forward = [](ConvInputs in) { causal_conv1d_forward(in); };
  EXPECT_DEATH(forward({x[0], w, {}, {}, {}}), "x is \\[B, S, C\\]");
  EXPECT_DEATH(forward({x, w.t(), {}, {}, {}}), "weight Float \\[4, 5\\] for x Float \\[2, 6, 5\\]");
  EXPECT_DEATH(forward({x, w.to(at::kDouble), {}, {}, {}}), "weight Double");
  EXPECT_DEATH(forward({x, w, at::zeros({4}), {}, {}}), "bias Float \\[4\\]");
  EXPECT_DEATH(forward({x, w, bias, at::zeros({2, 5}, at::kLong), {}}), "document Long \\[2, 5\\]");
  EXPECT_DEATH(forward({x, w, bias, at::zeros({2, 6}), {}}), "document Float");
  EXPECT_DEATH(forward({x, w, bias, {}, at::zeros({2, 4, 5})}), "window Float \\[2, 4, 5\\].*4 taps");
  EXPECT_DEATH(causal_conv1d_backward(x.narrow(1, 0, 5), {x, w, {}, {}, {}}, x), "dy Float \\[2, 5, 5\\]");
  EXPECT_DEATH(causal_conv1d_backward(x, {x, w, {}, {}, {}}, x.to(at::kDouble)), "dx Double");
  const Tensor windows = at::zeros({3, 3, 5});
  const auto step = [&](const Tensor& pool, std::vector<int64_t> slot) {
    causal_conv1d_step(x[0].narrow(0, 0, 2), w, bias, pool, at::tensor(slot, at::kLong));
  };
  EXPECT_DEATH(step(at::zeros({3, 4, 5}), {0, 1}), "windows Float \\[3, 4, 5\\]");
  EXPECT_DEATH(step(windows, {0}), "slot Long \\[1\\]");
  EXPECT_DEATH(step(windows, {0, 3}), "slot 3 of 3");
  EXPECT_DEATH(step(windows, {1, 1}), "slot 1 occurs twice");
  EXPECT_DEATH(causal_conv1d_window(x[0], at::zeros({2, 5}), 4), "window Float \\[2, 5\\]");
}

}  // namespace
}  // namespace phalanx::kernels
