// Single kernels on one thread, state spaces and decoding, beside the matrix-product rate of the same run. flops and bytes are
// rates a second, ns_per_item times of one token, channel and state. Sizes are those of a Mamba-2 of 12 layers, width 384.
//   ninja -C build kernels_bench && build/kernels_bench     or, with medians and shares, bench/kernels.py
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include "phalanx/kernels/attention/attention.h"
#include "phalanx/kernels/causal_conv1d/causal_conv1d.h"
#include "phalanx/kernels/gated_norm/gated_norm.h"
#include "phalanx/kernels/gemm/gemm.h"
#include "phalanx/kernels/selective_scan/selective_scan.h"
#include "phalanx/kernels/ssd/ssd.h"
#include "phalanx/plan/plan_flops.h"
#include "phalanx/tensor/large_tensor.h"

namespace phalanx::kernels {
namespace {

using benchmark::Counter;
using benchmark::State;

constexpr int64_t kBatch = 2, kRows = 512, kHeads = 12, kWidth = 64, kStates = 128;
constexpr int64_t kChannels = kHeads * kWidth, kTokens = kBatch * kRows;
constexpr int64_t kScanStates = 16, kTaps = 4;
constexpr double kFloat = sizeof(float);

void count_flops(State& state, double flops) {
  state.counters["flops"] = Counter(flops, Counter::kIsIterationInvariantRate);
}

void count_bytes(State& state, double bytes) {
  state.counters["bytes"] = Counter(bytes, Counter::kIsIterationInvariantRate);
}

// One benchmark: `body` of each iteration on the calling thread, gradients not recorded.
template <typename Body>
void repeat(State& state, const Body& body) {
  at::set_num_threads(1);
  const at::NoGradGuard no_grad;
  for (auto step : state) {
    (void)step;
    body();
    benchmark::ClobberMemory();
  }
}

void product(State& state) {
  const int64_t m = state.range(0), n = state.range(1), k = state.range(2);
  const Gemm gemm;
  const Tensor a = at::rand({m, k}), b = at::rand({k, n});
  Tensor c = at::empty({m, n});
  repeat(state, [&] { gemm(a, b, c, 0.0); });
  count_flops(state, 2.0 * static_cast<double>(m * n * k));
}
BENCHMARK(product)->Args({768, 768, 768})->Args({64, 64, 128});

SsdInputs ssd_inputs(int64_t groups) {
  return {.x = at::randn({kBatch, kRows, kHeads, kWidth}),
          .dt = at::randn({kBatch, kRows, kHeads}),
          .B = at::randn({kBatch, kRows, groups, kStates}),
          .C = at::randn({kBatch, kRows, groups, kStates}),
          .dt_bias = at::full({kHeads}, -4.0),
          .A_log = at::rand({kHeads}),
          .D = at::ones({kHeads}),
          .document = {},
          .initial = {}};
}

// Counted in chunks of 64 whatever runs, the masked half once; backward twice the forward.
double ssd_count(int64_t groups) {
  const MambaSizes sizes{.inner = kChannels, .state = kStates, .groups = groups, .head_dim = kWidth};
  return ssd_flops(sizes, static_cast<double>(kTokens), 64);
}

void ssd_forward(State& state) {
  const SsdInputs in = ssd_inputs(state.range(0));
  repeat(state, [&] { benchmark::DoNotOptimize(kernels::ssd_forward(in, {})); });
  count_flops(state, ssd_count(state.range(0)));
}
BENCHMARK(ssd_forward)->ArgName("groups")->Arg(1)->Arg(4);

void ssd_forward_backward(State& state) {
  const SsdInputs in = ssd_inputs(state.range(0));
  const Tensor dy = at::randn_like(in.x);
  const SsdInputGradients d{.dx = at::empty_like(in.x),
                            .ddt = at::empty_like(in.dt),
                            .dB = at::empty_like(in.B),
                            .dC = at::empty_like(in.C)};
  repeat(state, [&] {
    const SsdForward out = kernels::ssd_forward(in, {});
    benchmark::DoNotOptimize(ssd_backward(dy, {}, in, out.states, {}, d));
  });
  count_flops(state, 3 * ssd_count(state.range(0)));
}
BENCHMARK(ssd_forward_backward)->ArgName("groups")->Arg(1)->Arg(4);

// Reads and writes the states of so many sequences.
void ssd_step(State& state) {
  const int64_t n = state.range(0);
  SsdInputs in = ssd_inputs(1);
  in.x = at::randn({n, kHeads, kWidth});
  in.dt = at::randn({n, kHeads});
  in.B = at::randn({n, 1, kStates});
  in.C = at::randn({n, 1, kStates});
  const Tensor states = at::zeros({n, kHeads, kWidth, kStates}), slots = at::arange(n);
  repeat(state, [&] { benchmark::DoNotOptimize(kernels::ssd_step(in, {}, states, slots)); });
  count_bytes(state, 2 * kFloat * static_cast<double>(states.numel()));
}
BENCHMARK(ssd_step)->ArgName("sequences")->Arg(1)->Arg(64);

ScanInputs scan_inputs() {
  return {.x = at::randn({kBatch, kRows, kChannels}),
          .dt = at::randn({kBatch, kRows, kChannels}),
          .z = at::randn({kBatch, kRows, kChannels}),
          .B = at::randn({kBatch, kRows, kScanStates}),
          .C = at::randn({kBatch, kRows, kScanStates}),
          .A_log = at::rand({kChannels, kScanStates}),
          .D = at::ones({kChannels}),
          .dt_bias = at::full({kChannels}, -4.0),
          .document = {},
          .initial = {}};
}

void count_scan(State& state) {
  state.counters["ns_per_item"] = Counter(1e-9 * static_cast<double>(kTokens * kChannels * kScanStates),
                                          Counter::kIsIterationInvariantRate | Counter::kInvert);
}

void selective_scan_forward(State& state) {
  const ScanInputs in = scan_inputs();
  repeat(state, [&] { benchmark::DoNotOptimize(kernels::selective_scan_forward(in)); });
  count_scan(state);
}
BENCHMARK(selective_scan_forward);

void selective_scan_backward(State& state) {
  const ScanInputs in = scan_inputs();
  const ScanForward out = kernels::selective_scan_forward(in);
  const Tensor dout = at::randn_like(in.x);
  const ScanInputGradients d{.dx = at::empty_like(in.x),
                             .ddt = at::empty_like(in.dt),
                             .dz = at::empty_like(in.z),
                             .dB = at::empty_like(in.B),
                             .dC = at::empty_like(in.C)};
  repeat(state,
         [&] { benchmark::DoNotOptimize(kernels::selective_scan_backward(dout, {}, in, out.states, d)); });
  count_scan(state);
}
BENCHMARK(selective_scan_backward);

ConvInputs conv_inputs() {
  return {.x = at::randn({kBatch, kRows, kChannels}),
          .weight = at::randn({kChannels, kTaps}),
          .bias = at::randn({kChannels}),
          .document = {},
          .window = {}};
}

// x read and y written.
void conv_forward(State& state) {
  const ConvInputs in = conv_inputs();
  repeat(state, [&] { benchmark::DoNotOptimize(causal_conv1d_forward(in)); });
  count_bytes(state, 2 * kFloat * static_cast<double>(in.x.numel()));
}
BENCHMARK(conv_forward);

// x and dy read, dx written.
void conv_backward(State& state) {
  const ConvInputs in = conv_inputs();
  const Tensor dy = at::randn_like(in.x), dx = at::empty_like(in.x);
  repeat(state, [&] { benchmark::DoNotOptimize(causal_conv1d_backward(dy, in, dx)); });
  count_bytes(state, 3 * kFloat * static_cast<double>(in.x.numel()));
}
BENCHMARK(conv_backward);

// y and z read, the output written.
void norm_forward(State& state) {
  const Tensor y = at::randn({kTokens, kChannels}), z = at::randn_like(y), weight = at::ones({kChannels});
  const GatedNormSpec spec{.group_size = kChannels, .channels_global = kChannels};
  repeat(state, [&] { benchmark::DoNotOptimize(gated_norm_forward(y, z, weight, spec)); });
  count_bytes(state, 3 * kFloat * static_cast<double>(y.numel()));
}
BENCHMARK(norm_forward);

// dout, y and z read, dy and dz written.
void norm_backward(State& state) {
  const Tensor y = at::randn({kTokens, kChannels}), z = at::randn_like(y), weight = at::ones({kChannels});
  const GatedNormSpec spec{.group_size = kChannels, .channels_global = kChannels};
  const Tensor rstd = gated_norm_forward(y, z, weight, spec).rstd, dout = at::randn_like(y),
               dz = at::empty_like(z);
  repeat(state, [&] { benchmark::DoNotOptimize(gated_norm_backward(dout, y, z, rstd, weight, spec, dz)); });
  count_bytes(state, 5 * kFloat * static_cast<double>(y.numel()));
}
BENCHMARK(norm_backward);

// Products of one row with 96 MiB of weights, one matrix after the other: in pages of 2 MiB, and of 4 KiB.
void few_rows(State& state) {
  constexpr int64_t matrices = 64, n = 768, k = 512;
  const bool huge = state.range(0) != 0;
  constexpr int64_t numel = matrices * n * k;
  const Tensor block = huge ? large_zeros(numel, at::kFloat) : at::empty({numel});
  block.uniform_();  // what was never written would be read from one page of zeros
  const Tensor weights = block.view({matrices, n, k}), a = at::rand({1, k});
  const Gemm gemm;
  Tensor c = at::empty({1, n});
  repeat(state, [&] {
    for (int64_t i = 0; i < matrices; ++i) gemm(a, weights[i].t(), c, 0.0);
  });
  count_bytes(state, kFloat * static_cast<double>(block.numel()));
}
BENCHMARK(few_rows)->ArgName("huge_pages")->Arg(0)->Arg(1);

// One sequence of 32 K positions; bytes are those of its keys and values.
void attention_decode(State& state) {
  constexpr int64_t length = 32768, page = 64, width = 64;
  const int64_t heads = state.range(0), groups = state.range(1);
  const Tensor q = at::randn({1, heads, width}), pages = large_zeros(length * 2 * groups * width, at::kFloat)
                                                             .normal_()
                                                             .view({length / page, page, 2, groups, width});
  const Tensor table = at::arange(length / page).view({1, -1}), lengths = at::full({1}, length);
  repeat(state, [&] {
    benchmark::DoNotOptimize(kernels::attention_decode(q, pages, table, lengths, {.scale = 0.125}));
  });
  count_bytes(state, kFloat * static_cast<double>(pages.numel()));
}
BENCHMARK(attention_decode)->ArgNames({"heads", "groups"})->Args({8, 8})->Args({16, 2});

}  // namespace
}  // namespace phalanx::kernels

BENCHMARK_MAIN();
