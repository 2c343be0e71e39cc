// Properties over time: documents, split sequences, decode, extremes, arguments.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "phalanx/kernels/selective_scan/scan_test_case.h"

namespace phalanx::kernels {
namespace {

using phalanx::testing::fused_error;
using phalanx::testing::random_tensor;
using phalanx::testing::relative_error;
using testing::make_setting;
using testing::run_scan;
using testing::scan_gradient_names;
using testing::scan_leaves;
using testing::ScanCase;
using testing::ScanRun;
using testing::ScanSetting;

constexpr size_t kRowLeaves = 5;  // x, dt, z, B, C; then A_log, D, dt_bias

// Rows [begin, end) alone, with neither documents nor states.
ScanSetting cut(const ScanSetting& s, int64_t begin, int64_t end) {
  ScanSetting result = s;
  for (size_t i = 0; i < kRowLeaves; ++i) {
    result.in.*scan_leaves()[i] = (s.in.*scan_leaves()[i]).narrow(1, begin, end - begin);
  }
  result.dout = s.dout.narrow(1, begin, end - begin);
  result.in.document = Tensor();
  result.in.initial = Tensor();
  result.dfinal = Tensor();
  return result;
}

TEST(SelectiveScan, DocumentsEqualRunningEachAlone) {
  const std::vector<int64_t> bounds = {0, 5, 6, 16, 30, 41};  // one row, a chunk's edge, across chunks
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    const double tolerance = dtype == at::kDouble ? 1e-13 : 1e-5;
    ScanSetting s = make_setting({2, 41, 21, 9, 8, false, true}).to(dtype);
    s.in.document = at::zeros({2, 41}, at::kLong);
    const int64_t last = static_cast<int64_t>(bounds.size()) - 2;
    // Numbers go up and down: only a change counts.
    for (int64_t k = 0; k <= last; ++k)
      s.in.document.narrow(1, bounds[k], bounds[k + 1] - bounds[k]).fill_(k % 2);
    const ScanRun run = run_scan(s);
    std::vector<Tensor> sums(3);
    for (int64_t k = 0; k <= last; ++k) {
      ScanSetting alone = cut(s, bounds[k], bounds[k + 1]);
      if (k == 0) alone.in.initial = s.in.initial;
      if (k == last) alone.dfinal = s.dfinal;
      const ScanRun one = run_scan(alone);
      const auto mine = [&](const Tensor& t) { return t.narrow(1, bounds[k], bounds[k + 1] - bounds[k]); };
      EXPECT_TRUE(at::equal(mine(run.forward.out), one.forward.out)) << k;
      for (size_t i = 0; i < kRowLeaves; ++i) {
        EXPECT_TRUE(at::equal(mine(run.gradients[i]), one.gradients[i])) << k << scan_gradient_names()[i];
      }
      for (size_t i = 0; i < sums.size(); ++i) {
        const Tensor& part = one.gradients[kRowLeaves + i];
        sums[i] = sums[i].defined() ? sums[i] + part : part;
      }
      EXPECT_TRUE(k > 0 || at::equal(run.gradients.back(), one.gradients.back()));
      EXPECT_TRUE(k < last || at::equal(run.forward.final_state, one.forward.final_state));
    }
    for (size_t i = 0; i < sums.size(); ++i) {
      EXPECT_LE(relative_error(run.gradients[kRowLeaves + i], sums[i]), tolerance);
    }
  }
}

TEST(SelectiveScan, ADocumentDoesNotReachTheNextEvenWhenItIsNotFinite) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    ScanSetting s = make_setting({1, 20, 5, 4, 8, false, false}).to(dtype);
    s.in.document = (at::arange(20) >= 11).to(at::kLong).unsqueeze(0);
    s.in.x[0][3].fill_(std::numeric_limits<double>::infinity());
    const ScanRun run = run_scan(s);
    EXPECT_FALSE(run.forward.out.narrow(1, 0, 11).isfinite().all().item<bool>());
    EXPECT_TRUE(run.forward.out.narrow(1, 11, 9).isfinite().all().item<bool>());
    for (size_t i = 0; i < kRowLeaves; ++i) {
      EXPECT_TRUE(run.gradients[i].narrow(1, 11, 9).isfinite().all().item<bool>())
          << scan_gradient_names()[i];
    }
  }
}

TEST(SelectiveScan, TwoHalvesWithTheStateCarriedEqualOneRun) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    const double tolerance = dtype == at::kDouble ? 1e-13 : 1e-5;
    const ScanSetting s = make_setting({2, 45, 20, 6, 8, false, true}).to(dtype);
    const ScanRun whole = run_scan(s);
    for (const int64_t at_row : {1, 16, 29}) {
      ScanSetting first = cut(s, 0, at_row);
      ScanSetting second = cut(s, at_row, 45);
      first.in.initial = s.in.initial;
      second.in.initial = selective_scan_forward(first.in, s.chunk).final_state;
      second.dfinal = s.dfinal;
      const ScanRun b = run_scan(second);
      first.dfinal = b.gradients.back();
      const ScanRun a = run_scan(first);
      EXPECT_TRUE(at::equal(at::cat({a.forward.out, b.forward.out}, 1), whole.forward.out));
      EXPECT_TRUE(at::equal(b.forward.final_state, whole.forward.final_state));
      EXPECT_TRUE(at::equal(a.gradients.back(), whole.gradients.back()));
      for (size_t i = 0; i + 1 < whole.gradients.size(); ++i) {
        const bool rows = i < kRowLeaves;
        const Tensor joined =
            rows ? at::cat({a.gradients[i], b.gradients[i]}, 1) : a.gradients[i] + b.gradients[i];
        EXPECT_LE(relative_error(joined, whole.gradients[i]), tolerance) << scan_gradient_names()[i];
      }
    }
  }
}

TEST(SelectiveScan, StepsEqualForwardRowByRow) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat, at::kBFloat16}) {
    for (const int64_t states : {1, 8, 16, 17, 40}) {
      const ScanCase c{3, 10, 70, states, 4, false, true};
      const ScanSetting s = make_setting(c).to(dtype);
      const ScanSetting exact = s.to(at::kDouble);
      const ScanForward f = selective_scan_forward(s.in, s.chunk);
      const ScanForward e = selective_scan_forward_ref(exact.in, s.chunk);
      for (const bool plain : {false, true}) {
        const Tensor slot = at::tensor({4, 0, 3}, at::kLong);
        const Tensor pool = at::full({5, c.channels, states}, 3.0, s.in.initial.options());
        pool.index_copy_(0, slot, s.in.initial);
        for (int64_t t = 0; t < c.rows; ++t) {
          ScanInputs row = s.in;
          for (size_t i = 0; i < kRowLeaves; ++i) {
            row.*scan_leaves()[i] = (s.in.*scan_leaves()[i]).select(1, t);  // strided rows
          }
          const Tensor out =
              plain ? selective_scan_step_ref(row, pool, slot) : selective_scan_step(row, pool, slot);
          EXPECT_EQ(out.scalar_type(), dtype);
          EXPECT_EQ(fused_error(out, f.out.select(1, t), e.out.select(1, t)), "") << states << " row " << t;
        }
        EXPECT_EQ(fused_error(pool.index_select(0, slot), f.final_state, e.final_state), "") << states;
        EXPECT_TRUE((pool[1] == 3.0).all().item<bool>() && (pool[2] == 3.0).all().item<bool>());
      }
    }
  }
}

// One sequence beside others gives the bits of it alone, whatever the threads.
TEST(SelectiveScan, StepsDoNotDependOnTheirNeighbours) {
  const int threads = at::get_num_threads();
  const ScanSetting s = make_setting({6, 1, 200, 16, 1, false, true}).to(at::kFloat);
  ScanInputs rows = s.in;
  for (size_t i = 0; i < kRowLeaves; ++i) rows.*scan_leaves()[i] = (s.in.*scan_leaves()[i]).select(1, 0);
  at::set_num_threads(3);
  const Tensor pool = s.in.initial.clone();
  const Tensor out = selective_scan_step(rows, pool, at::arange(6));
  at::set_num_threads(1);
  const Tensor pool_alone = s.in.initial.clone();
  for (const int64_t r : {5, 0, 3, 1, 4, 2}) {
    ScanInputs one = rows;
    for (size_t i = 0; i < kRowLeaves; ++i) one.*scan_leaves()[i] = (rows.*scan_leaves()[i]).narrow(0, r, 1);
    EXPECT_TRUE(at::equal(selective_scan_step(one, pool_alone, at::full({1}, r, at::kLong))[0], out[r]));
  }
  EXPECT_TRUE(at::equal(pool, pool_alone));
  at::set_num_threads(threads);
}

// Where softplus is taken for linear, so is its slope.
TEST(SelectiveScan, SoftplusIsLinearAboveTwenty) {
  ScanSetting s = make_setting({1, 9, 4, 3, 4, false, false});
  s.in.A_log.fill_(std::log(0.01));
  s.in.dt_bias.fill_(0.5);
  s.in.dt = 19.6 + 0.1 * random_tensor({1, 9, 4}, 3).tanh();
  const std::vector<Tensor> e = testing::expected_gradients(s);
  for (const bool plain : {false, true}) {
    const ScanRun run = run_scan(s, plain);
    EXPECT_LE(relative_error(run.forward.final_state, selective_scan_forward_ref(s.in).final_state), 1e-13);
    EXPECT_LE(relative_error(run.gradients[1], e[1]), 1e-13);
    EXPECT_LE(relative_error(run.gradients[7], e[7]), 1e-13);
  }
}

TEST(SelectiveScan, NotANumberShows) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    for (const size_t leaf : {0, 1, 2, 3, 4, 5, 6, 7, 8}) {
      const ScanSetting s = make_setting({1, 6, 18, 4, 4, false, true}).to(dtype);
      (s.in.*scan_leaves()[leaf]).view({-1})[1].fill_(std::numeric_limits<double>::quiet_NaN());
      EXPECT_TRUE(selective_scan_forward(s.in, s.chunk).out.isnan().any().item<bool>()) << leaf;
    }
  }
}

struct Extreme {
  const char* name;
  double dt;
  double A_log_from;
  double A_log_to;
  double x;
};

// From nothing forgotten to nothing kept. The last: states fade out through all the denormal numbers and stay there.
const std::vector<Extreme>& extremes() {
  static const std::vector<Extreme> result = {
      {"usual", -4.6, 0.0, std::log(16.0), 1.0},
      {"tiny steps", -30.0, 0.0, std::log(16.0), 1.0},
      {"no steps", -200.0, 0.0, std::log(16.0), 1.0},
      {"large steps", 30.0, 0.0, std::log(16.0), 1.0},
      {"huge steps", 1e4, 0.0, std::log(16.0), 1.0},
      {"A to -1e4", -4.6, std::log(16.0), std::log(1e4), 1.0},
      {"A to -1e4, large steps", 30.0, std::log(16.0), std::log(1e4), 1.0},
      {"A near 0", 1.0, -20.0, -10.0, 1.0},
      {"fading", -4.6, std::log(16.0), std::log(16.0), 0.0}};
  return result;
}

ScanSetting make_extreme(const Extreme& e, int64_t rows, at::ScalarType dtype) {
  ScanSetting s = make_setting({1, rows, 16, 16, kScanChunk, false, true}).to(dtype);
  s.in.x.mul_(e.x);
  s.in.dt.fill_(e.dt).add_(s.in.z, 0.1);
  s.in.dt_bias.zero_();
  s.in.A_log.copy_(at::linspace(e.A_log_from, e.A_log_to, 16, at::kDouble));
  if (e.x == 0.0) s.dout.narrow(1, rows / 64, rows - rows / 64).zero_();  // so that the adjoint fades too
  return s;
}

void expect_finite(const ScanRun& run, const std::string& name) {
  EXPECT_TRUE(run.forward.out.isfinite().all().item<bool>()) << name;
  EXPECT_TRUE(run.forward.states.isfinite().all().item<bool>()) << name;
  EXPECT_TRUE(run.forward.final_state.isfinite().all().item<bool>()) << name;
  for (size_t i = 0; i < run.gradients.size(); ++i) {
    EXPECT_TRUE(run.gradients[i].isfinite().all().item<bool>()) << name << " " << scan_gradient_names()[i];
  }
}

TEST(SelectiveScan, ExtremesStayFiniteAndAsCloseAsPlainOps) {
  for (const Extreme& e : extremes()) {
    const ScanSetting s = make_extreme(e, 150, at::kFloat);
    const ScanRun run = run_scan(s);
    expect_finite(run, e.name);
    expect_finite(run_scan(s.to(at::kDouble)), e.name);
    const ScanRun plain = run_scan(s, /*plain=*/true);
    const ScanRun exact = run_scan(s.to(at::kDouble), /*plain=*/true);
    EXPECT_EQ(fused_error(run.forward.out, plain.forward.out, exact.forward.out), "") << e.name;
    EXPECT_EQ(fused_error(run.forward.final_state, plain.forward.final_state, exact.forward.final_state), "")
        << e.name;
    for (size_t i = 0; i < run.gradients.size(); ++i) {
      EXPECT_EQ(fused_error(run.gradients[i], plain.gradients[i], exact.gradients[i]), "")
          << e.name << " " << scan_gradient_names()[i];
    }
  }
}

// Best of five, in seconds.
double seconds(const ScanSetting& s) {
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 5; ++i) {
    const auto start = std::chrono::steady_clock::now();
    run_scan(s);
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

TEST(SelectiveScan, SlowLongSequencesStayFiniteAndCostTheSame) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const double usual = seconds(make_extreme(extremes().front(), 65536, dtype));
    for (const Extreme& e : extremes()) {
      const ScanSetting s = make_extreme(e, 65536, dtype);
      expect_finite(run_scan(s), e.name);
      const double time = seconds(s);
      EXPECT_LE(time, 1.5 * usual) << e.name << " " << c10::toString(dtype);
      RecordProperty(fmt::format("{} {}", e.name, c10::toString(dtype)), fmt::format("{:.2f}", time / usual));
    }
  }
}

TEST(SelectiveScanDeathTest, WrongArgumentsAreBugs) {
  const ScanSetting s = make_setting({2, 6, 5, 4, 4, true, true}).to(at::kFloat);
  const auto with = [&s](Tensor ScanInputs::*member, const Tensor& value) {
    ScanInputs in = s.in;
    in.*member = value;
    return in;
  };
  EXPECT_DEATH(selective_scan_forward(s.in, 0), "in chunks of 0");
  EXPECT_DEATH(selective_scan_forward(with(&ScanInputs::dt, s.in.z.narrow(1, 0, 5))),
               "dt Float \\[2, 5, 5\\]");
  EXPECT_DEATH(selective_scan_forward(with(&ScanInputs::B, s.in.x)), "B Float \\[2, 6, 5\\]");
  EXPECT_DEATH(selective_scan_forward(with(&ScanInputs::D, s.in.D.to(at::kHalf))), "D Half \\[5\\]");
  EXPECT_DEATH(selective_scan_forward(with(&ScanInputs::A_log, s.in.D)), "needed \\[C, N\\]");
  EXPECT_DEATH(selective_scan_forward(with(&ScanInputs::document, s.in.document.to(at::kInt))),
               "document Int");
  EXPECT_DEATH(selective_scan_forward(with(&ScanInputs::initial, s.in.initial.narrow(0, 0, 1))),
               "initial Float");
  EXPECT_DEATH(selective_scan_step(s.in, s.in.initial, at::arange(2)), "needed 2 dims");
  ScanInputs row = s.in;
  for (size_t i = 0; i < kRowLeaves; ++i) row.*scan_leaves()[i] = (s.in.*scan_leaves()[i]).select(1, 0);
  const Tensor pool = s.in.initial.contiguous();
  EXPECT_DEATH(selective_scan_step(row, pool, at::tensor({0, 2}, at::kLong)), "slot 2 of 2");
  EXPECT_DEATH(selective_scan_step(row, pool, at::tensor({1, 1}, at::kLong)), "slot 1 occurs twice");
}

}  // namespace
}  // namespace phalanx::kernels
