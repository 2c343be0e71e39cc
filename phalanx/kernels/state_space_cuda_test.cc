// The state-space operations on a GPU, where their references run: the numbers of the CPU. Part of the bundle that a machine
// with a GPU runs; skipped, and says so, on any other.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "phalanx/kernels/causal_conv1d/test_conv.h"
#include "phalanx/kernels/gated_norm/test_gated_norm.h"
#include "phalanx/kernels/selective_scan/scan_test_case.h"
#include "phalanx/kernels/ssd/test_ssd.h"

namespace phalanx::kernels {
namespace {

class StateSpaceOnCuda : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a build without CUDA";
  }
};

Tensor moved(const Tensor& tensor) {
  return tensor.defined() ? tensor.to(at::kCUDA) : tensor;
}

void expect_near(const std::vector<Tensor>& device, const std::vector<Tensor>& host, const char* name) {
  ASSERT_EQ(device.size(), host.size());
  for (size_t i = 0; i < host.size(); ++i) {
    if (!host[i].defined()) continue;
    EXPECT_TRUE(device[i].device().is_cuda()) << name << " " << i;
    EXPECT_LE(phalanx::testing::relative_error(device[i].cpu(), host[i]), 1e-10) << name << " " << i;
  }
}

TEST_F(StateSpaceOnCuda, Ssd) {
  const SsdData host = ssd_data({.S = 19, .starts = {5, 11}});
  SsdData device = host;
  for (Tensor* t :
       {&device.in.x, &device.in.dt, &device.in.B, &device.in.C, &device.in.dt_bias, &device.in.A_log,
        &device.in.D, &device.in.document, &device.in.initial, &device.dy, &device.dfinal})
    *t = moved(*t);
  expect_near(ssd_results(device), ssd_results(host), "ssd");
  const auto step = [](SsdData d) {
    for (Tensor* t : {&d.in.x, &d.in.dt, &d.in.B, &d.in.C}) *t = t->select(1, 0);
    const Tensor states = d.in.initial.clone();
    const Tensor y = ssd_step(d.in, d.spec, states, at::tensor({1, 0}, at::kLong).to(states.device()));
    return std::vector<Tensor>{y, states};
  };
  expect_near(step(device), step(host), "ssd step");
}

TEST_F(StateSpaceOnCuda, SelectiveScan) {
  const testing::ScanSetting host = testing::make_setting({.documents = true, .carried = true});
  testing::ScanSetting device = host;
  for (const auto member : testing::scan_leaves()) device.in.*member = moved(host.in.*member);
  device.in.document = moved(host.in.document);
  device.dout = moved(host.dout);
  device.dfinal = moved(host.dfinal);
  const testing::ScanRun on_device = testing::run_scan(device), on_host = testing::run_scan(host);
  expect_near(on_device.gradients, on_host.gradients, "scan gradient");
  expect_near({on_device.forward.out, on_device.forward.final_state},
              {on_host.forward.out, on_host.forward.final_state}, "scan");
}

TEST_F(StateSpaceOnCuda, CausalConv1d) {
  const conv_testing::Inputs host = conv_testing::inputs({2, 20, 9, 4, true, true, true});
  const auto results = [](const ConvInputs& in, const Tensor& dy) {
    const Tensor dx = at::empty_like(in.x);
    const ConvGradients g = causal_conv1d_backward(dy, in, dx);
    return std::vector<Tensor>{causal_conv1d_forward(in), dx, g.dweight, g.dbias, g.dwindow};
  };
  const ConvInputs& in = host.in;
  expect_near(results({moved(in.x), moved(in.weight), moved(in.bias), moved(in.document), moved(in.window)},
                      moved(host.dy)),
              results(in, host.dy), "conv");
}

TEST_F(StateSpaceOnCuda, GatedNorm) {
  for (const bool first : {false, true}) {
    const gated_testing::Case c{6, 12, 4, first};
    const gated_testing::Inputs host = gated_testing::inputs(c);
    const auto results = [&](const gated_testing::Inputs& in) {
      const GatedNormForward f = gated_norm_forward(in.y, in.z, in.weight, gated_testing::spec_of(c));
      const gated_testing::Gradients g = gated_testing::backward(in, f.rstd, gated_testing::spec_of(c));
      return std::vector<Tensor>{f.out, g.dy, g.dz, g.dweight};
    };
    expect_near(results({moved(host.y), moved(host.z), moved(host.weight), moved(host.dout)}), results(host),
                "norm");
  }
}

}  // namespace
}  // namespace phalanx::kernels
