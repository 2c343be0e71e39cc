// File: phalanx/kernels/ssd/test_ssd.h
//
// Purpose: what the tests of ssd share: random inputs of any shape, every result by name, and the oracle's.
#pragma once

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "phalanx/kernels/ssd/ssd.h"
#include "phalanx/kernels/ssd/ssd_ref.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::kernels {

struct SsdCase {
  int64_t B = 2, S = 23, H = 4, P = 5, G = 2, N = 6;
  SsdSpec spec = {.chunk = 8};
  bool initial = true;
  bool dfinal = true;
  std::vector<int64_t> starts;  // rows where a document starts; sample b shifts them by b

  std::string name() const {
    return fmt::format("B {} S {} H {} P {} G {} N {} chunk {} initial {} dfinal {} starts [{}]", B, S, H, P,
                       G, N, spec.chunk, initial, dfinal, fmt::join(starts, ", "));
  }
};

struct SsdData {
  SsdInputs in;
  Tensor dy;
  Tensor dfinal;
  SsdSpec spec;

  SsdData to(at::ScalarType dtype) const {
    SsdData result = *this;
    for (Tensor* t : {&result.in.x, &result.in.dt, &result.in.B, &result.in.C, &result.dy}) *t = t->to(dtype);
    const at::ScalarType wide = dtype == at::kDouble ? at::kDouble : at::kFloat;
    for (Tensor* t :
         {&result.in.dt_bias, &result.in.A_log, &result.in.D, &result.in.initial, &result.dfinal}) {
      if (t->defined()) *t = t->to(wide);
    }
    return result;
  }
};

inline SsdData ssd_data(const SsdCase& c, uint64_t seed = 1) {
  using phalanx::testing::random_tensor;
  SsdData d;
  d.spec = c.spec;
  d.in.x = random_tensor({c.B, c.S, c.H, c.P}, seed);
  d.in.dt = random_tensor({c.B, c.S, c.H}, seed + 1);
  d.in.B = random_tensor({c.B, c.S, c.G, c.N}, seed + 2);
  d.in.C = random_tensor({c.B, c.S, c.G, c.N}, seed + 3);
  d.in.dt_bias = random_tensor({c.H}, seed + 4, at::kDouble, 0.5) - 1.5;
  d.in.A_log = random_tensor({c.H}, seed + 5, at::kDouble, 0.7);
  d.in.D = random_tensor({c.H}, seed + 6);
  if (c.initial) d.in.initial = random_tensor({c.B, c.H, c.P, c.N}, seed + 7);
  if (!c.starts.empty()) {
    d.in.document = at::zeros({c.B, c.S}, at::kLong);
    for (int64_t b = 0; b < c.B; ++b) {
      for (size_t i = 0; i < c.starts.size(); ++i) {
        // Names come back: only a change of name is a boundary.
        const int64_t first = std::min(c.S, c.starts[i] + b);
        d.in.document.select(0, b).narrow(0, first, c.S - first).fill_(i % 2 == 0 ? 7 : 3);
      }
    }
  }
  d.dy = random_tensor({c.B, c.S, c.H, c.P}, seed + 8);
  if (c.dfinal) d.dfinal = random_tensor({c.B, c.H, c.P, c.N}, seed + 9);
  return d;
}

inline const std::vector<const char*>& ssd_names() {
  static const std::vector<const char*> names = {"y",  "final", "dx",     "ddt", "dB",
                                                 "dC", "dbias", "dA_log", "dD",  "dinitial"};
  return names;
}

// Every result, in the order of ssd_names(); dinitial is undefined without initial.
inline std::vector<Tensor> ssd_results(const SsdData& d, bool keep_states = true) {
  const SsdForward f = ssd_forward(d.in, d.spec);
  const SsdInputGradients g = {
      at::empty(d.in.x.sizes(), d.in.x.options()), at::empty(d.in.dt.sizes(), d.in.dt.options()),
      at::empty(d.in.B.sizes(), d.in.B.options()), at::empty(d.in.C.sizes(), d.in.C.options())};
  const SsdGradients p = ssd_backward(d.dy, d.dfinal, d.in, keep_states ? f.states : Tensor(), d.spec, g);
  return {f.y, f.final_state, g.dx, g.ddt, g.dB, g.dC, p.ddt_bias, p.dA_log, p.dD, p.dinitial};
}

// The same by the plain recurrence and its adjoint.
inline std::vector<Tensor> ssd_plain_results(const SsdData& d) {
  const SsdForward f = ssd_forward_ref(d.in, d.spec);
  const SsdInputGradients g = {at::empty_like(d.in.x), at::empty_like(d.in.dt), at::empty_like(d.in.B),
                               at::empty_like(d.in.C)};
  const SsdGradients p = ssd_backward_ref(d.dy, d.dfinal, d.in, f.states, d.spec, g);
  return {f.y, f.final_state, g.dx, g.ddt, g.dB, g.dC, p.ddt_bias, p.dA_log, p.dD, p.dinitial};
}

// The same by autograd of the recurrence.
inline std::vector<Tensor> ssd_expected(const SsdData& d) {
  const auto with = [&d](const std::vector<Tensor>& v) {
    SsdInputs in = d.in;
    in.x = v[0], in.dt = v[1], in.B = v[2], in.C = v[3], in.dt_bias = v[4], in.A_log = v[5], in.D = v[6];
    in.initial = v[7];
    return ssd_forward_ref(in, d.spec);
  };
  const std::vector<Tensor> leaves = {d.in.x,       d.in.dt,    d.in.B, d.in.C,
                                      d.in.dt_bias, d.in.A_log, d.in.D, d.in.initial};
  const SsdForward f = with(leaves);
  const std::vector<Tensor> gradients = phalanx::testing::autograd_gradients(
      [&](const std::vector<Tensor>& v) {
        const SsdForward result = with(v);
        return d.dfinal.defined() ? std::vector<Tensor>{result.y, result.final_state}
                                  : std::vector<Tensor>{result.y};
      },
      leaves, {d.dy, d.dfinal});
  std::vector<Tensor> result = {f.y, f.final_state};
  result.insert(result.end(), gradients.begin(), gradients.end());
  return result;
}

inline void ssd_expect_near(const std::vector<Tensor>& got, const std::vector<Tensor>& expected,
                            double tolerance, const std::string& name) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i].defined(), expected[i].defined()) << ssd_names()[i] << ", " << name;
    if (!got[i].defined()) continue;
    EXPECT_LE(phalanx::testing::relative_error(got[i], expected[i]), tolerance)
        << ssd_names()[i] << ", " << name;
  }
}

}  // namespace phalanx::kernels
