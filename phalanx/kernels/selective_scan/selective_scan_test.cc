#include "phalanx/kernels/selective_scan/selective_scan.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "phalanx/kernels/selective_scan/scan_test_case.h"
#include "phalanx/kernels/test_targets.h"

namespace phalanx::kernels {
namespace {

using phalanx::testing::fused_error;
using phalanx::testing::random_tensor;
using phalanx::testing::relative_error;
using testing::expected_gradients;
using testing::make_setting;
using testing::run_scan;
using testing::same_bits;
using testing::scan_gradient_names;
using testing::ScanCase;
using testing::ScanRun;
using testing::ScanSetting;

constexpr double kFp64 = 1e-10;

std::vector<ScanCase> cases() {
  std::vector<ScanCase> result;
  for (const int64_t states : {1, 8, 16, 17}) {
    for (const bool documents : {false, true}) {
      for (const bool carried : {false, true}) {
        result.push_back({2, 23, 5, states, 7, documents, carried});
        result.push_back({1, 1, 3, states, 4, documents, carried});
      }
    }
  }
  result.push_back({3, 40, 33, 16, 64, true, true});   // one chunk; more than two groups of channels
  result.push_back({1, 12, 150, 3, 1, true, true});    // more than two blocks; chunks of one row
  result.push_back({1, 70, 1, 5, 64, false, true});    // one channel
  result.push_back({2, 16, 16, 16, 8, false, false});  // nothing left over
  return result;
}

TEST(SelectiveScan, EverythingEqualsAutogradOfTheRecurrenceInFp64) {
  for (const ScanCase& c : cases()) {
    const ScanSetting s = make_setting(c);
    const ScanForward r = selective_scan_forward_ref(s.in, s.chunk);
    const std::vector<Tensor> e = expected_gradients(s);
    for (const bool plain : {false, true}) {
      const ScanRun run = run_scan(s, plain);
      EXPECT_LE(relative_error(run.forward.out, r.out), kFp64) << c.name();
      EXPECT_LE(relative_error(run.forward.states, r.states), kFp64) << c.name();
      EXPECT_LE(relative_error(run.forward.final_state, r.final_state), kFp64) << c.name();
      for (size_t i = 0; i < e.size(); ++i) {
        ASSERT_EQ(run.gradients[i].defined(), e[i].defined()) << c.name();
        if (!e[i].defined()) continue;
        EXPECT_LE(relative_error(run.gradients[i], e[i]), kFp64)
            << scan_gradient_names()[i] << (plain ? " plain " : " ") << c.name();
      }
    }
  }
}

// The reference itself, number by number.
TEST(SelectiveScan, TheReferenceIsTheEquation) {
  const ScanCase c{2, 12, 3, 4, 5, true, true};
  const ScanSetting s = make_setting(c);
  const ScanForward r = selective_scan_forward_ref(s.in, s.chunk);
  const auto at3 = [](const Tensor& t, int64_t b, int64_t i, int64_t j) { return t[b][i][j].item<double>(); };
  int starts = 0;
  for (int64_t b = 0; b < c.samples; ++b) {
    for (int64_t i = 0; i < c.channels; ++i) {
      std::vector<double> h(c.states);
      for (int64_t n = 0; n < c.states; ++n) h[n] = at3(s.in.initial, b, i, n);
      for (int64_t t = 0; t < c.rows; ++t) {
        const auto document = [&](int64_t row) { return s.in.document[b][row].item<int64_t>(); };
        const bool reset = t > 0 && document(t) != document(t - 1);
        starts += reset ? 1 : 0;
        const double biased = at3(s.in.dt, b, t, i) + s.in.dt_bias[i].item<double>();
        const double delta = biased > 20 ? biased : std::log(1.0 + std::exp(biased));
        const double x = at3(s.in.x, b, t, i);
        const double z = at3(s.in.z, b, t, i);
        double y = s.in.D[i].item<double>() * x;
        for (int64_t n = 0; n < c.states; ++n) {
          const double A = -std::exp(s.in.A_log[i][n].item<double>());
          if (t % c.chunk == 0) {
            EXPECT_NEAR(r.states[b][t / c.chunk][i][n].item<double>(), h[n], 1e-12);
          }
          h[n] = std::exp(delta * A) * (reset ? 0.0 : h[n]) + delta * at3(s.in.B, b, t, n) * x;
          y += at3(s.in.C, b, t, n) * h[n];
        }
        EXPECT_NEAR(at3(r.out, b, t, i), y * z / (1.0 + std::exp(-z)), 1e-12);
      }
      for (int64_t n = 0; n < c.states; ++n) EXPECT_NEAR(at3(r.final_state, b, i, n), h[n], 1e-12);
    }
  }
  EXPECT_GT(starts, 0);
}

TEST(SelectiveScan, TheChunkChangesNothing) {
  for (const bool documents : {false, true}) {
    ScanCase c{2, 100, 5, 6, 100, documents, true};
    const ScanRun whole = run_scan(make_setting(c));
    for (const int64_t chunk : {1, 7, 64, 1000}) {
      c.chunk = chunk;
      const ScanRun run = run_scan(make_setting(c));
      EXPECT_EQ(run.forward.states.size(1), (c.rows + chunk - 1) / chunk);
      EXPECT_LE(relative_error(run.forward.out, whole.forward.out), 1e-12) << c.name();
      EXPECT_LE(relative_error(run.forward.final_state, whole.forward.final_state), 1e-12) << c.name();
      for (size_t i = 0; i < run.gradients.size(); ++i) {
        EXPECT_LE(relative_error(run.gradients[i], whole.gradients[i]), 1e-12) << c.name() << i;
      }
    }
  }
}

void expect_close(const ScanRun& run, const ScanRun& plain, const ScanForward& exact,
                  const std::vector<Tensor>& gradients, const std::string& name) {
  EXPECT_EQ(fused_error(run.forward.out, plain.forward.out, exact.out), "") << name;
  EXPECT_EQ(fused_error(run.forward.states, plain.forward.states, exact.states), "") << name;
  EXPECT_EQ(fused_error(run.forward.final_state, plain.forward.final_state, exact.final_state), "") << name;
  for (size_t i = 0; i < gradients.size(); ++i) {
    ASSERT_EQ(run.gradients[i].defined(), gradients[i].defined()) << name;
    if (!gradients[i].defined()) continue;
    EXPECT_EQ(fused_error(run.gradients[i], plain.gradients[i], gradients[i]), "")
        << scan_gradient_names()[i] << " " << name;
  }
}

TEST(SelectiveScan, Fp32AndHalfAreAsCloseAsPlainOps) {
  std::vector<ScanCase> all = cases();
  all.push_back({1, 300, 40, 16, 64, true, true});
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const ScanCase& c : all) {
      const ScanSetting s = make_setting(c).to(dtype);
      const ScanSetting exact = s.to(at::kDouble);
      const ScanRun run = run_scan(s);
      EXPECT_EQ(run.forward.out.scalar_type(), dtype);
      EXPECT_EQ(run.forward.states.scalar_type(), at::kFloat);
      EXPECT_EQ(run.forward.final_state.scalar_type(), at::kFloat);
      for (size_t i = 0; i < run.gradients.size(); ++i) {
        if (!run.gradients[i].defined()) continue;
        EXPECT_EQ(run.gradients[i].scalar_type(), i < 5 ? dtype : at::kFloat);
      }
      expect_close(run, run_scan(s, /*plain=*/true), selective_scan_forward_ref(exact.in, exact.chunk),
                   expected_gradients(exact), fmt::format("{} {}", c10::toString(dtype), c.name()));
    }
  }
}

// Every kind of vectors that this machine has gives the bits of the widest; the plainest, without fused multiply-add, is
// close.
TEST(SelectiveScan, TheBitsDoNotDependOnTheVectors) {
  const ScanSetting s = make_setting({2, 50, 37, 17, 16, true, true}).to(at::kFloat);
  const ScanSetting exact = s.to(at::kDouble);
  const ScanRun widest = run_scan(s);
  const ScanForward forward = selective_scan_forward_ref(exact.in, exact.chunk);
  const std::vector<Tensor> gradients = expected_gradients(exact);
  const ScanRun plain = run_scan(s, /*plain=*/true);
  phalanx::testing::for_each_target([&](const std::string& target) {
    const ScanRun run = run_scan(s);
    if (target.starts_with("AVX")) {
      EXPECT_TRUE(same_bits(run, widest)) << target;
    }
    expect_close(run, plain, forward, gradients, target);
  });
}

TEST(SelectiveScan, TheBitsDoNotDependOnTheThreadCount) {
  const int threads = at::get_num_threads();
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    const ScanSetting s = make_setting({2, 80, 150, 5, 16, true, true}).to(dtype);
    at::set_num_threads(1);
    const ScanRun one = run_scan(s);
    for (const int n : {2, 3, 5}) {
      at::set_num_threads(n);
      EXPECT_TRUE(same_bits(run_scan(s), one));
    }
  }
  at::set_num_threads(threads);
}

// Columns [8, 8 + n) of a wider row.
Tensor inside_wider_rows(const Tensor& tensor) {
  std::vector<int64_t> shape = tensor.sizes().vec();
  const int64_t columns = shape.back();
  shape.back() = columns + 11;
  const Tensor wide = at::full(shape, std::numeric_limits<double>::quiet_NaN(), tensor.options());
  const Tensor view = wide.narrow(-1, 8, columns);
  view.copy_(tensor);
  return view;
}

TEST(SelectiveScan, ReadsAndWritesStridedRows) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const ScanSetting s = make_setting({2, 21, 19, 9, 8, true, true}).to(dtype);
    const ScanRun dense = run_scan(s);
    ScanSetting strided = s;
    for (Tensor ScanInputs::*member :
         {&ScanInputs::x, &ScanInputs::dt, &ScanInputs::z, &ScanInputs::B, &ScanInputs::C}) {
      strided.in.*member = inside_wider_rows(s.in.*member);
    }
    strided.dout = inside_wider_rows(s.dout);
    strided.in.initial = s.in.initial.transpose(1, 2).contiguous().transpose(1, 2);
    strided.in.document = at::stack({s.in.document, s.in.document}, -1).select(-1, 0);
    const ScanForward f = selective_scan_forward(strided.in, s.chunk);
    EXPECT_TRUE(at::equal(f.out, dense.forward.out));
    const Tensor canvas = at::full({2, 21, 5 * 30}, 7.0, s.dout.options());
    const auto place = [&canvas](int64_t i, const Tensor& like) {
      return canvas.narrow(2, 30 * i + 1, like.size(2));
    };
    const ScanInputGradients d{place(0, s.in.x), place(1, s.in.dt), place(2, s.in.z), place(3, s.in.B),
                               place(4, s.in.C)};
    selective_scan_backward(strided.dout, s.dfinal, strided.in, f.states, d, s.chunk);
    const std::vector<Tensor> written = {d.dx, d.ddt, d.dz, d.dB, d.dC};
    for (size_t i = 0; i < written.size(); ++i) {
      EXPECT_TRUE(at::equal(written[i], dense.gradients[i])) << scan_gradient_names()[i];
      const Tensor expected = at::full_like(canvas, 7.0);
      for (size_t j = 0; j < written.size(); ++j) {
        expected.narrow(2, 30 * static_cast<int64_t>(j) + 1, written[j].size(2)).copy_(written[j]);
      }
      EXPECT_TRUE(at::equal(canvas, expected));  // nothing beside
    }
  }
}

}  // namespace
}  // namespace phalanx::kernels
