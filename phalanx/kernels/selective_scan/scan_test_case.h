// File: phalanx/kernels/selective_scan/scan_test_case.h
//
// Purpose: what the tests of the selective scan share: inputs by shape, and one run of forward and backward by name.
// Contract: for tests only.
#pragma once

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "phalanx/kernels/arguments.h"
#include "phalanx/kernels/selective_scan/selective_scan.h"
#include "phalanx/kernels/selective_scan/selective_scan_ref.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::kernels::testing {

using phalanx::testing::autograd_gradients;
using phalanx::testing::random_tensor;

struct ScanCase {
  int64_t samples = 2;
  int64_t rows = 9;
  int64_t channels = 3;
  int64_t states = 4;
  int64_t chunk = 4;
  bool documents = false;
  bool carried = false;  // a state goes in and the gradient of the final one comes back

  std::string name() const {
    return fmt::format("B {} S {} C {} N {} chunk {} documents {} carried {}", samples, rows, channels,
                       states, chunk, documents, carried);
  }
};

// The tensors of ScanInputs that have gradients, in this order.
inline const std::vector<Tensor ScanInputs::*>& scan_leaves() {
  static const std::vector<Tensor ScanInputs::*> result = {
      &ScanInputs::x,     &ScanInputs::dt, &ScanInputs::z,       &ScanInputs::B,      &ScanInputs::C,
      &ScanInputs::A_log, &ScanInputs::D,  &ScanInputs::dt_bias, &ScanInputs::initial};
  return result;
}

inline const std::vector<std::string>& scan_gradient_names() {
  static const std::vector<std::string> result = {"dx",     "ddt", "dz",       "dB",      "dC",
                                                  "dA_log", "dD",  "ddt_bias", "dinitial"};
  return result;
}

struct ScanSetting {
  ScanInputs in;
  Tensor dout;
  Tensor dfinal;
  int64_t chunk = 1;

  // Inputs in `dtype`; parameters and states in the dtype of its arithmetic.
  ScanSetting to(at::ScalarType dtype) const {
    ScanSetting result = *this;
    const at::ScalarType wide = arithmetic_dtype(at::empty({0}, at::TensorOptions(dtype)));
    for (size_t i = 0; i < scan_leaves().size(); ++i) {
      Tensor& tensor = result.in.*scan_leaves()[i];
      if (tensor.defined()) tensor = tensor.to(i < 5 ? dtype : wide);
    }
    result.dout = dout.to(dtype);
    if (dfinal.defined()) result.dfinal = dfinal.to(wide);
    return result;
  }
};

// Steps that are small and large, some beyond where softplus is linear.
inline ScanSetting make_setting(const ScanCase& c, uint64_t seed = 1) {
  const std::vector<int64_t> by_channel = {c.samples, c.rows, c.channels};
  const std::vector<int64_t> by_state = {c.samples, c.rows, c.states};
  const std::vector<int64_t> state = {c.samples, c.channels, c.states};
  ScanSetting s;
  s.chunk = c.chunk;
  s.in.x = random_tensor(by_channel, seed);
  s.in.dt = random_tensor(by_channel, seed + 1, at::kDouble, 1.5) - 1.0;
  s.in.dt = at::where(s.in.x > 2.2, s.in.dt + 24.0, s.in.dt);
  s.in.z = random_tensor(by_channel, seed + 2);
  s.in.B = random_tensor(by_state, seed + 3);
  s.in.C = random_tensor(by_state, seed + 4);
  s.in.A_log =
      at::arange(1, c.states + 1, at::kDouble).log() + random_tensor({c.channels, c.states}, seed + 5) - 1.0;
  s.in.D = random_tensor({c.channels}, seed + 6);
  s.in.dt_bias = random_tensor({c.channels}, seed + 7);
  if (c.documents) {
    const Tensor starts = random_tensor({c.samples, c.rows}, seed + 8) > 0.9;
    s.in.document = starts.to(at::kLong).cumsum(1);
  }
  if (c.carried) {
    s.in.initial = random_tensor(state, seed + 9);
    s.dfinal = random_tensor(state, seed + 10);
  }
  s.dout = random_tensor(by_channel, seed + 11);
  return s;
}

struct ScanRun {
  ScanForward forward;
  std::vector<Tensor> gradients;  // as scan_leaves; dinitial undefined without a state
};

// `plain`: the references instead of the operation.
inline ScanRun run_scan(const ScanSetting& s, bool plain = false) {
  ScanRun run;
  run.forward = plain ? selective_scan_forward_ref(s.in, s.chunk) : selective_scan_forward(s.in, s.chunk);
  const ScanInputGradients d{at::empty_like(s.in.x), at::empty_like(s.in.dt), at::empty_like(s.in.z),
                             at::empty_like(s.in.B), at::empty_like(s.in.C)};
  const auto backward = plain ? selective_scan_backward_ref : selective_scan_backward;
  const ScanGradients g = backward(s.dout, s.dfinal, s.in, run.forward.states, d, s.chunk);
  run.gradients = {d.dx, d.ddt, d.dz, d.dB, d.dC, g.dA_log, g.dD, g.ddt_bias, g.dinitial};
  return run;
}

// The gradients by autograd of the reference.
inline std::vector<Tensor> expected_gradients(const ScanSetting& s) {
  std::vector<Tensor> leaves;
  for (const auto member : scan_leaves()) leaves.push_back(s.in.*member);
  std::vector<Tensor> output_grads = {s.dout};
  if (s.dfinal.defined()) output_grads.push_back(s.dfinal);
  return autograd_gradients(
      [&s](const std::vector<Tensor>& v) {
        ScanInputs in = s.in;
        for (size_t i = 0; i < v.size(); ++i) in.*scan_leaves()[i] = v[i];
        const ScanForward f = selective_scan_forward_ref(in, s.chunk);
        return s.dfinal.defined() ? std::vector<Tensor>{f.out, f.final_state} : std::vector<Tensor>{f.out};
      },
      leaves, output_grads);
}

inline bool same_bits(const ScanRun& a, const ScanRun& b) {
  bool same = at::equal(a.forward.out, b.forward.out) && at::equal(a.forward.states, b.forward.states) &&
              at::equal(a.forward.final_state, b.forward.final_state);
  for (size_t i = 0; i < a.gradients.size(); ++i) {
    if (a.gradients[i].defined()) same = same && at::equal(a.gradients[i], b.gradients[i]);
  }
  return same;
}

}  // namespace phalanx::kernels::testing
