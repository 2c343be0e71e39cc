#include "phalanx/kernels/ssd/ssd.h"

#include <ATen/Parallel.h>

#include "phalanx/kernels/ssd/test_ssd.h"
#include "phalanx/kernels/test_targets.h"

namespace phalanx::kernels {
namespace {

using testing::fused_error;
using testing::random_tensor;
using testing::relative_error;

constexpr double kFp64 = 1e-10;
constexpr double kSame = 1e-12;

std::vector<SsdCase> cases() {
  std::vector<SsdCase> result;
  for (const bool initial : {false, true}) {
    for (const bool dfinal : {false, true}) {
      result.push_back({.initial = initial, .dfinal = dfinal});
      result.push_back({.B = 1, .S = 1, .initial = initial, .dfinal = dfinal});
      result.push_back({.S = 17, .initial = initial, .dfinal = dfinal, .starts = {3, 4, 9, 15}});
      result.push_back({.S = 17, .initial = initial, .dfinal = dfinal, .starts = {8, 16}});
    }
  }
  for (const int64_t groups : {1, 2, 6}) {
    result.push_back({.S = 30, .H = 6, .P = 16, .G = groups, .N = 32, .spec = {.chunk = 16}});
    result.push_back(
        {.S = 19, .H = 6, .P = 33, .G = groups, .N = 17, .spec = {.chunk = 13}, .starts = {1, 7, 14}});
  }
  // More heads than one task takes, in blocks that do not divide them.
  result.push_back({.B = 2, .S = 20, .H = 14, .P = 64, .G = 2, .N = 3, .spec = {.chunk = 8}});
  // More columns than one tile of any width has, whole and not.
  result.push_back({.B = 1, .S = 70, .H = 2, .P = 64, .G = 1, .N = 64, .spec = {.chunk = 64}});
  result.push_back(
      {.B = 1, .S = 90, .H = 2, .P = 41, .G = 1, .N = 37, .spec = {.chunk = 37}, .starts = {20, 30, 60}});
  result.push_back({.H = 3, .P = 1, .G = 1, .N = 1});
  return result;
}

TEST(Ssd, EqualsAutogradOfTheRecurrenceInFp64) {
  for (const SsdCase& c : cases()) {
    const SsdData d = ssd_data(c);
    const std::vector<Tensor> expected = ssd_expected(d);
    ssd_expect_near(ssd_results(d), expected, kFp64, c.name());
    ssd_expect_near(ssd_plain_results(d), expected, kFp64, "plain, " + c.name());
  }
}

TEST(Ssd, TheChunkChangesNothing) {
  for (const std::vector<int64_t>& starts : {std::vector<int64_t>{}, {5, 13, 14, 30}}) {
    SsdCase c = {.S = 47, .G = 1, .starts = starts};
    c.spec.chunk = 47;
    const std::vector<Tensor> whole = ssd_results(ssd_data(c));
    for (const int64_t chunk : {1, 2, 8, 13, 16, 46, 64, 1000}) {
      c.spec.chunk = chunk;
      ssd_expect_near(ssd_results(ssd_data(c)), whole, kSame, c.name());
    }
  }
}

TEST(Ssd, StatesAreThoseBeforeEachChunk) {
  const SsdCase c = {.S = 21, .starts = {6, 11}};
  const SsdData d = ssd_data(c);
  const SsdForward f = ssd_forward(d.in, d.spec);
  EXPECT_LE(relative_error(f.states, ssd_forward_ref(d.in, d.spec).states), kSame);
  EXPECT_TRUE(f.y.is_contiguous());
}

TEST(Ssd, BackwardMakesTheStatesWhenItHasNone) {
  for (const SsdCase& c : cases()) {
    const SsdData d = ssd_data(c);
    const std::vector<Tensor> with = ssd_results(d);
    const std::vector<Tensor> without = ssd_results(d, false);
    for (size_t i = 0; i < with.size(); ++i) {
      if (!with[i].defined()) continue;
      EXPECT_TRUE(at::equal(with[i], without[i])) << ssd_names()[i] << c.name();
    }
  }
}

// Clamped at both ends, free in between, and above softplus's threshold.
TEST(Ssd, DeltaIsClampedAndThenPassesNoGradient) {
  SsdCase c = {.spec = {.chunk = 8, .dt_min = 0.15, .dt_max = 0.4}};
  SsdData d = ssd_data(c);
  const std::vector<Tensor> got = ssd_results(d);
  ssd_expect_near(got, ssd_expected(d), kFp64, "limits");
  const Tensor free = at::softplus(d.in.dt + d.in.dt_bias);
  const Tensor held = (free < 0.15).logical_or(free > 0.4);
  const int64_t count = held.sum().item<int64_t>();
  EXPECT_GT(count, 20);
  EXPECT_LT(count, held.numel() - 20);
  EXPECT_TRUE(got[3].masked_select(held).eq(0).all().item<bool>());
  EXPECT_TRUE(got[3].masked_select(held.logical_not()).ne(0).all().item<bool>());

  d = ssd_data({});
  d.in.A_log -= 4.0;
  d.in.dt.select(1, 4).add_(30.0);
  d.in.dt.select(1, 20).add_(25.0);
  ssd_expect_near(ssd_results(d), ssd_expected(d), kFp64, "threshold");
}

// x, B, C and dt as columns of one wider row, and their gradients into another.
TEST(Ssd, ReadsAndWritesStridedRows) {
  const SsdCase c = {.S = 19, .H = 4, .P = 16, .G = 2, .N = 8, .starts = {7}};
  const SsdData dense = ssd_data(c);
  const int64_t width = 3 + 64 + 16 + 16 + 4;
  const Tensor row = random_tensor({c.B, c.S, width}, 20);
  const Tensor drow = at::full({c.B, c.S, width}, 5.0, at::kDouble);
  const auto views = [&](const Tensor& t) {
    return std::vector<Tensor>{t.slice(2, 3, 67).unflatten(2, {4, 16}), t.slice(2, 99, 103),
                               t.slice(2, 67, 83).unflatten(2, {2, 8}),
                               t.slice(2, 83, 99).unflatten(2, {2, 8})};
  };
  SsdData d = dense;
  const std::vector<Tensor> in = views(row);
  in[0].copy_(d.in.x), in[1].copy_(d.in.dt), in[2].copy_(d.in.B), in[3].copy_(d.in.C);
  d.in.x = in[0], d.in.dt = in[1], d.in.B = in[2], d.in.C = in[3];
  d.dy = at::cat({d.dy, d.dy}, -1).slice(-1, 0, 16);  // heads apart
  const std::vector<Tensor> out = views(drow);
  const SsdForward f = ssd_forward(d.in, d.spec);
  ssd_backward(d.dy, d.dfinal, d.in, f.states, d.spec, {out[0], out[1], out[2], out[3]});
  const std::vector<Tensor> expected = ssd_results(dense);
  EXPECT_TRUE(at::equal(f.y, expected[0]) && at::equal(f.final_state, expected[1]));
  for (size_t i = 0; i < out.size(); ++i)
    EXPECT_TRUE(at::equal(out[i], expected[i + 2])) << ssd_names()[i + 2];
  EXPECT_TRUE(drow.slice(2, 0, 3).eq(5.0).all().item<bool>());

  // Columns that are not contiguous are copied.
  const Tensor apart = at::empty({c.B, c.S, c.H, c.P, 2}, at::kDouble).select(-1, 0);
  ssd_backward(d.dy, d.dfinal, d.in, f.states, d.spec, {apart, out[1], out[2], out[3]});
  EXPECT_TRUE(at::equal(apart, expected[2]));
}

TEST(Ssd, Fp32AndBfloat16AreAsCloseAsPlainOps) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (SsdCase c :
         {SsdCase{.S = 100, .P = 16, .N = 32, .spec = {.chunk = 32}}, SsdCase{.S = 41, .starts = {5, 20}},
          SsdCase{.B = 1, .S = 150, .H = 3, .P = 64, .G = 1, .N = 33, .spec = {.chunk = 64}}}) {
      const SsdData d = ssd_data(c).to(dtype);
      const std::vector<Tensor> exact = ssd_plain_results(d.to(at::kDouble));
      const std::vector<Tensor> plain = ssd_plain_results(d);
      const std::vector<Tensor> fused = ssd_results(d);
      for (size_t i = 0; i < fused.size(); ++i) {
        const bool of_inputs = i == 0 || (i >= 2 && i < 6);
        EXPECT_EQ(fused[i].scalar_type(), of_inputs ? dtype : at::kFloat) << ssd_names()[i];
        EXPECT_EQ(fused_error(fused[i], plain[i], exact[i]), "") << ssd_names()[i] << ", " << c.name();
      }
    }
  }
}

TEST(Ssd, EveryVectorWidthIsAsClose) {
  for (const SsdCase& c : cases()) {
    const SsdData d = ssd_data(c);
    const std::vector<Tensor> expected = ssd_plain_results(d);
    const SsdData narrow = d.to(at::kFloat);
    const std::vector<Tensor> plain = ssd_plain_results(narrow);
    phalanx::testing::for_each_target([&](const std::string& target) {
      ssd_expect_near(ssd_results(d), expected, kFp64, target + ", " + c.name());
      const std::vector<Tensor> fused = ssd_results(narrow);
      for (size_t i = 0; i < fused.size(); ++i) {
        if (!fused[i].defined()) continue;
        EXPECT_EQ(fused_error(fused[i], plain[i], expected[i]), "") << ssd_names()[i] << target << c.name();
      }
    });
  }
}

// A large step before small ones: a running sum of delta A in one fp32 number would lose the small ones.
TEST(Ssd, SmallDecaysAfterALargeOneKeepTheirDigits) {
  SsdCase c = {.B = 1, .S = 64, .H = 2, .P = 4, .G = 1, .N = 4, .spec = {.chunk = 64}};
  SsdData d = ssd_data(c).to(at::kFloat);
  d.in.A_log.fill_(9.0);
  d.in.dt.fill_(-9.0), d.in.dt_bias.fill_(0.0);
  d.in.dt.select(1, 3).fill_(15.0);
  const std::vector<Tensor> exact = ssd_plain_results(d.to(at::kDouble));
  const std::vector<Tensor> fused = ssd_results(d);
  for (size_t i = 0; i < fused.size(); ++i) {
    EXPECT_LE(relative_error(fused[i], exact[i]), 2e-5) << ssd_names()[i];
  }
}

TEST(Ssd, TheBitsDoNotDependOnTheThreadCount) {
  const int threads = at::get_num_threads();
  const SsdCase c = {
      .B = 3, .S = 130, .H = 14, .P = 64, .G = 2, .N = 40, .spec = {.chunk = 32}, .starts = {40, 70}};
  const SsdData d = ssd_data(c).to(at::kFloat);
  at::set_num_threads(1);
  const std::vector<Tensor> one = ssd_results(d);
  for (const int n : {2, 3, 5}) {
    at::set_num_threads(n);
    const std::vector<Tensor> many = ssd_results(d);
    for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(at::equal(one[i], many[i])) << ssd_names()[i] << n;
  }
  at::set_num_threads(threads);
}

TEST(SsdDeathTest, WrongArgumentsAreBugs) {
  const SsdData d = ssd_data({});
  const auto forward = [&](const auto& change) {
    SsdData wrong = d;
    change(wrong);
    ssd_forward(wrong.in, wrong.spec);
  };
  EXPECT_DEATH(forward([](SsdData& w) {
                 w.in.B = w.in.B.slice(2, 0, 1).expand({2, 23, 3, 6});
               }),
               "4 heads in 3 groups");
  EXPECT_DEATH(forward([](SsdData& w) { w.in.dt = w.in.dt.slice(2, 0, 3); }), "dt is Double \\[2, 23, 3\\]");
  EXPECT_DEATH(forward([](SsdData& w) { w.in.C = w.in.C.to(at::kFloat); }), "C is Float");
  EXPECT_DEATH(forward([](SsdData& w) { w.in.D = w.in.D.slice(0, 0, 2); }), "D is Double \\[2\\]");
  EXPECT_DEATH(forward([](SsdData& w) { w.in.document = at::zeros({2, 23}, at::kInt); }), "document is Int");
  EXPECT_DEATH(forward([](SsdData& w) { w.in.initial = w.in.initial.slice(0, 0, 1); }), "initial is Double");
  EXPECT_DEATH(forward([](SsdData& w) { w.spec.chunk = 0; }), "a chunk holds a row");
  const SsdForward f = ssd_forward(d.in, d.spec);
  const SsdInputGradients g = {at::empty_like(d.in.x), at::empty_like(d.in.dt), at::empty_like(d.in.B),
                               at::empty_like(d.in.C)};
  EXPECT_DEATH(ssd_backward(d.dy, d.dfinal, d.in, f.states.slice(1, 0, 1), d.spec, g), "states is Double");
  EXPECT_DEATH(ssd_backward(d.dy, d.dfinal, d.in, f.states, d.spec, {g.dx, g.ddt, g.dB, g.dx}), "dC is");
}

}  // namespace
}  // namespace phalanx::kernels
