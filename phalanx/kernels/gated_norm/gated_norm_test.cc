#include "phalanx/kernels/gated_norm/gated_norm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "phalanx/kernels/gated_norm/gated_norm_ref.h"
#include "phalanx/kernels/gated_norm/test_gated_norm.h"
#include "phalanx/kernels/test_targets.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::kernels {
namespace {

using namespace gated_testing;
using phalanx::testing::autograd_gradients;
using phalanx::testing::fused_error;
using phalanx::testing::random_tensor;
using phalanx::testing::relative_error;

constexpr double kFp64 = 1e-10;

std::vector<Case> cases() {
  std::vector<Case> result;
  const std::vector<Case> shapes = {{1, 1, 1},   {5, 1, 1},     {1, 33, 33},  {3, 32, 8},     {70, 100, 25},
                                    {9, 64, 64}, {2, 257, 257}, {33, 96, 32}, {600, 130, 65}, {3, 2048, 512}};
  for (Case c : shapes) {
    for (const bool first : {false, true}) {
      c.norm_before_gate = first;
      result.push_back(c);
    }
  }
  return result;
}

// Gradients of y, z and weight.
std::vector<Tensor> expected(const Inputs& in, const GatedNormSpec& spec) {
  return autograd_gradients(
      [&spec](const std::vector<Tensor>& v) {
        return std::vector<Tensor>{gated_norm_forward_ref(v[0], v[1], v[2], spec).out};
      },
      {in.y, in.z, in.weight}, {in.dout});
}

Gradients backward_ref(const Inputs& in, const Tensor& rstd, const GatedNormSpec& spec) {
  Tensor dz = at::empty_like(in.z);
  const Tensor products = gated_norm_products_ref(in.dout, in.y, in.z, rstd, in.weight, spec);
  const GatedNormBackward g =
      gated_norm_gradients_ref(in.dout, in.y, in.z, rstd, in.weight, products, spec, dz);
  return {g.dy, dz, g.dweight};
}

void expect_gradients(const Gradients& g, const std::vector<Tensor>& e, const std::string& name) {
  EXPECT_LE(relative_error(g.dy, e[0]), kFp64) << name;
  EXPECT_LE(relative_error(g.dz, e[1]), kFp64) << name;
  EXPECT_LE(relative_error(g.dweight, e[2]), kFp64) << name;
}

TEST(GatedNorm, GradientsEqualAutogradOfTheReferenceInFp64) {
  for (const Case& c : cases()) {
    const Inputs in = inputs(c);
    const GatedNormSpec spec = spec_of(c);
    const GatedNormForward f = gated_norm_forward(in.y, in.z, in.weight, spec);
    const GatedNormForward r = gated_norm_forward_ref(in.y, in.z, in.weight, spec);
    EXPECT_LE(relative_error(f.out, r.out), kFp64) << c.name();
    EXPECT_EQ(f.rstd.sizes(), r.rstd.sizes()) << c.name();
    EXPECT_LE(relative_error(f.rstd, r.rstd), kFp64) << c.name();
    const std::vector<Tensor> e = expected(in, spec);
    expect_gradients(backward(in, f.rstd, spec), e, c.name());
    expect_gradients(backward_ref(in, r.rstd, spec), e, c.name() + " ref");
  }
}

// The equations of models.md 2.1, one group at a time.
Tensor formula(const Inputs& in, int64_t group_size, bool norm_before_gate, double epsilon) {
  std::vector<Tensor> groups;
  for (int64_t first = 0; first < in.y.size(1); first += group_size) {
    const Tensor y = in.y.narrow(1, first, group_size);
    const Tensor gate = at::silu(in.z.narrow(1, first, group_size));
    const Tensor v = norm_before_gate ? y : y * gate;
    const Tensor normed =
        v * (v.square().mean(1, true) + epsilon).rsqrt() * in.weight.narrow(0, first, group_size);
    groups.push_back(norm_before_gate ? normed * gate : normed);
  }
  return at::cat(groups, 1);
}

// Groups of d / G against all of d: two models, of which either is had by its group size.
TEST(GatedNorm, TheGroupSizeMatters) {
  for (const bool first : {false, true}) {
    const Case grouped{6, 48, 12, first};
    Case whole = grouped;
    whole.group_size = 48;
    const Inputs in = inputs(grouped);
    const Tensor a = gated_norm_forward(in.y, in.z, in.weight, spec_of(grouped)).out;
    const Tensor b = gated_norm_forward(in.y, in.z, in.weight, spec_of(whole)).out;
    EXPECT_LE(relative_error(a, formula(in, 12, first, spec_of(grouped).epsilon)), 1e-14);
    EXPECT_LE(relative_error(b, formula(in, 48, first, spec_of(whole).epsilon)), 1e-14);
    EXPECT_GE(relative_error(a, b), 0.05);
    EXPECT_GE(relative_error(a, formula(in, 12, !first, 1e-3)), 0.05) << "the order matters";
  }
}

TEST(GatedNorm, Fp32AndHalfAreAsCloseAsPlainOps) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const Case& c : cases()) {
      const GatedNormSpec spec = spec_of(c);
      const Inputs in = inputs(c).to(dtype);
      const Inputs exact_in = in.to(at::kDouble);
      const GatedNormForward f = gated_norm_forward(in.y, in.z, in.weight, spec);
      const GatedNormForward plain = gated_norm_forward_ref(in.y, in.z, in.weight, spec);
      const GatedNormForward exact = gated_norm_forward_ref(exact_in.y, exact_in.z, exact_in.weight, spec);
      EXPECT_EQ(f.out.scalar_type(), dtype);
      EXPECT_EQ(f.rstd.scalar_type(), at::kFloat);
      EXPECT_EQ(fused_error(f.out, plain.out, exact.out), "") << c.name();
      EXPECT_EQ(fused_error(f.rstd, plain.rstd, exact.rstd), "") << c.name();
      const Gradients g = backward(in, f.rstd, spec);
      const Gradients p = backward_ref(in, plain.rstd, spec);
      const std::vector<Tensor> e = expected(exact_in, spec);
      EXPECT_EQ(g.dy.scalar_type(), dtype);
      EXPECT_EQ(g.dweight.scalar_type(), at::kFloat);
      EXPECT_EQ(fused_error(g.dy, p.dy, e[0]), "") << c.name();
      EXPECT_EQ(fused_error(g.dz, p.dz, e[1]), "") << c.name();
      EXPECT_EQ(fused_error(g.dweight, p.dweight, e[2]), "") << c.name();
    }
  }
}

TEST(GatedNorm, ApplyIsBitEqualToForward) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const Case& c : cases()) {
      const Inputs in = inputs(c).to(dtype);
      const GatedNormForward f = gated_norm_forward(in.y, in.z, in.weight, spec_of(c));
      EXPECT_TRUE(at::equal(gated_norm_apply(in.y, in.z, f.rstd, in.weight, spec_of(c)), f.out)) << c.name();
    }
  }
}

// As the layer sees them: z in the row of the input projection, dz in that of its gradient.
TEST(GatedNorm, ReadsAndWritesSlicesOfAWiderRow) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Case c{40, 60, 20};
    const Inputs dense = inputs(c).to(dtype);
    const auto slice_of = [](const Tensor& t) { return at::cat({t, t, t}, 1).slice(1, 60, 120); };
    const Inputs wide{slice_of(dense.y), slice_of(dense.z), dense.weight, slice_of(dense.dout)};
    const GatedNormForward f = gated_norm_forward(wide.y, wide.z, wide.weight, spec_of(c));
    const GatedNormForward d = gated_norm_forward(dense.y, dense.z, dense.weight, spec_of(c));
    EXPECT_TRUE(at::equal(f.out, d.out) && at::equal(f.rstd, d.rstd));
    EXPECT_TRUE(at::equal(gated_norm_apply(wide.y, wide.z, f.rstd, wide.weight, spec_of(c)), d.out));
    Tensor row = at::full({40, 180}, 3.0, dense.y.options());
    const GatedNormBackward g = gated_norm_backward(wide.dout, wide.y, wide.z, f.rstd, wide.weight,
                                                    spec_of(c), row.slice(1, 60, 120));
    const Gradients e = backward(dense, d.rstd, spec_of(c));
    EXPECT_TRUE(at::equal(row.slice(1, 60, 120), e.dz) && at::equal(g.dy, e.dy) &&
                at::equal(g.dweight, e.dweight));
    EXPECT_TRUE(row.slice(1, 0, 60).eq(3.0).all().item<bool>() &&
                row.slice(1, 120, 180).eq(3.0).all().item<bool>());
    const Tensor turned = dense.y.t().contiguous().t();  // no unit stride: copied
    EXPECT_TRUE(at::equal(gated_norm_forward(turned, dense.z, dense.weight, spec_of(c)).out, d.out));
  }
}

void expect_same_bits(const Inputs& in, const GatedNormSpec& spec, const GatedNormForward& f,
                      const Gradients& g) {
  const GatedNormForward other = gated_norm_forward(in.y, in.z, in.weight, spec);
  const Gradients gradients = backward(in, other.rstd, spec);
  EXPECT_TRUE(at::equal(other.out, f.out) && at::equal(other.rstd, f.rstd));
  EXPECT_TRUE(at::equal(gradients.dy, g.dy) && at::equal(gradients.dz, g.dz) &&
              at::equal(gradients.dweight, g.dweight));
}

TEST(GatedNorm, TheBitsDependNeitherOnTheThreadsNorOnTheVectors) {
  const int threads = at::get_num_threads();
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const bool first : {false, true}) {
      const Case c{600, 130, 65, first};
      const Inputs in = inputs(c).to(dtype);
      at::set_num_threads(1);
      const GatedNormForward f = gated_norm_forward(in.y, in.z, in.weight, spec_of(c));
      const Gradients g = backward(in, f.rstd, spec_of(c));
      for (const int n : {2, 3}) {
        at::set_num_threads(n);
        expect_same_bits(in, spec_of(c), f, g);
      }
      phalanx::testing::for_each_target([&](const std::string&) { expect_same_bits(in, spec_of(c), f, g); });
    }
  }
  at::set_num_threads(threads);
}

TEST(GatedNorm, Fp32WeightsServeHalfRows) {
  const Case c{20, 64, 32, true};
  const Inputs wide = inputs(c).to(at::kFloat);
  Inputs half = wide.to(at::kBFloat16);
  half.weight = wide.weight;
  const Inputs same = half.to(at::kFloat);  // the same values in fp32, but for the weight
  const GatedNormForward f = gated_norm_forward(half.y, half.z, wide.weight, spec_of(c));
  const GatedNormForward e = gated_norm_forward(same.y, same.z, wide.weight, spec_of(c));
  EXPECT_TRUE(at::equal(f.out, e.out.to(at::kBFloat16)) && at::equal(f.rstd, e.rstd));
}

TEST(GatedNorm, NoRowsAndNotANumber) {
  const Case c{2, 40, 20};
  Inputs in = inputs(c).to(at::kFloat);
  in.z[1][3].fill_(std::nan(""));
  const Tensor bad = gated_norm_forward(in.y, in.z, in.weight, spec_of(c)).out.isnan();
  EXPECT_TRUE(bad[1].narrow(0, 0, 20).all().item<bool>());
  EXPECT_FALSE(bad[0].any().item<bool>() || bad[1].narrow(0, 20, 20).any().item<bool>());
  const Inputs none{in.y.narrow(0, 0, 0), in.z.narrow(0, 0, 0), in.weight, in.dout.narrow(0, 0, 0)};
  const GatedNormForward f = gated_norm_forward(none.y, none.z, none.weight, spec_of(c));
  EXPECT_TRUE(backward(none, f.rstd, spec_of(c)).dweight.eq(0.0).all().item<bool>());
}

TEST(GatedNormDeathTest, WrongArgumentsAreBugs) {
  const Tensor y = at::zeros({3, 8});
  const Tensor weight = at::zeros({8});
  const Tensor rstd = at::zeros({3, 2});
  const GatedNormSpec spec{.group_size = 4, .channels_global = 8};
  EXPECT_DEATH(gated_norm_forward(y[0], y[0], weight, spec), "y is \\[T, D\\]");
  EXPECT_DEATH(gated_norm_forward(y, y.narrow(0, 0, 2), weight, spec),
               "z Float \\[2, 8\\] for y Float \\[3, 8\\]");
  EXPECT_DEATH(gated_norm_forward(y, y, at::zeros({4}), spec), "weight Float \\[4\\]");
  EXPECT_DEATH(gated_norm_forward(y, y, weight, {.group_size = 3, .channels_global = 8}), "groups of 3 in 8");
  EXPECT_DEATH(gated_norm_forward(y, y, weight, {.group_size = 4, .channels_global = 16}),
               "8 channels from 0 of 16 on each of 1 ranks");
  EXPECT_DEATH(gated_norm_apply(y, y, at::zeros({3, 1}), weight, spec), "rstd Float \\[3, 1\\].*groups of 4");
  EXPECT_DEATH(gated_norm_backward(y.t(), y, y, rstd, weight, spec, y), "dout Float \\[8, 3\\]");
  EXPECT_DEATH(gated_norm_backward(y, y, y, rstd, weight, spec, y.to(at::kDouble)), "dz Double");
}

}  // namespace
}  // namespace phalanx::kernels
