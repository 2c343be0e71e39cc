// The fp32 bodies. A group of 16 channels fills vectors side by side, whatever their width; states come one after
// another, in tiles of 8 whose values stay in registers while time passes. Vectors of states instead were measured a
// fifth slower: every row then sums across lanes.
#include "phalanx/kernels/selective_scan/selective_scan_cpu.h"

#include <algorithm>

#include "phalanx/kernels/flush_denormals.h"
#include "phalanx/kernels/selective_scan/scan_scratch.h"

#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "phalanx/kernels/selective_scan/selective_scan_cpu.cc"
#include <hwy/foreach_target.h>
// foreach_target.h comes first.
#include "phalanx/kernels/selective_scan/scan_vectors.h"

HWY_BEFORE_NAMESPACE();
namespace phalanx::kernels {
namespace HWY_NAMESPACE {
namespace {

// Rows of one tile from its states in `scratch`, which end as those after the last row; y is added to. kKeep leaves the
// states and decays for reverse_tile.
template <bool kKeep>
void advance_tile(const ScanScratch& scratch, int64_t rows, int64_t first_state, const ScanAhead& ahead) {
  G A[kScanTile];
  G h[kScanTile];
#pragma GCC unroll 8
  for (int64_t j = 0; j < kScanTile; ++j) {
    A[j] = load(scratch.A + (first_state + j) * kScanGroup);
    h[j] = load(scratch.h + (first_state + j) * kScanGroup);
    if constexpr (kKeep) store(h[j], scratch.kept_h + j * kScanGroup);
  }
  for (int64_t r = 0; r < rows; ++r) {
    ahead.fetch(r);
    if (HWY_UNLIKELY(scratch.resets[static_cast<size_t>(r)] != 0)) {
      for (G& state : h) state = fill(0.0f);
    }
    const float* B = scratch.B + r * scratch.states + first_state;
    const float* C = scratch.C + r * scratch.states + first_state;
    const G delta = load(scratch.delta + r * kScanGroup);
    const G u = load(scratch.u + r * kScanGroup);
    G y = load(scratch.y + r * kScanGroup);
#pragma GCC unroll 8
    for (int64_t j = 0; j < kScanTile; ++j) {
      const G decay = exp_nonpositive(delta * A[j]);
      h[j] = fma(decay, h[j], u * fill(B[j]));
      y = fma(h[j], fill(C[j]), y);
      if constexpr (kKeep) {
        store(decay, scratch.kept_decay + r * kScanTileFloats + j * kScanGroup);
        store(h[j], scratch.kept_h + (r + 1) * kScanTileFloats + j * kScanGroup);
      }
    }
    store(y, scratch.y + r * kScanGroup);
  }
#pragma GCC unroll 8
  for (int64_t j = 0; j < kScanTile; ++j) store(h[j], scratch.h + (first_state + j) * kScanGroup);
}

void forward_group(const ScanProblem<float>& p, const ScanGroup& g, const ScanResults<float>& out,
                   ScanScratch& scratch) {
  const G bias = load_channels(p.dt_bias + g.channel, g.count);
  const G D = load_channels(p.D + g.channel, g.count);
  const int64_t sample_state = g.sample * p.state_size();
  load_states(p.A, p, g, scratch.A);
  load_states(p.initial != nullptr ? p.initial + sample_state : nullptr, p, g, scratch.h);
  for (int64_t c = 0; c < p.chunks(); ++c) {
    const ScanRange range = chunk_rows(p, c);
    store_states(scratch.h, p, g, out.states + sample_state * p.chunks() + c * p.state_size());
    scratch.read_rows(p, g.sample, range);
    for (int64_t r = 0; r < range.size(); ++r) {
      const G x = load_channels(p.x.row(g.sample, range.begin + r) + g.channel, g.count);
      const G dt = load_channels(p.dt.row(g.sample, range.begin + r) + g.channel, g.count);
      const G delta = softplus(dt + bias).value;
      store(delta, scratch.delta + r * kScanGroup);
      store(delta * x, scratch.u + r * kScanGroup);
      store(D * x, scratch.y + r * kScanGroup);
    }
    ScanAhead ahead;
    ahead.add(p.z, g, range);
    ahead.add(out.out, g, range);
    const ScanRange next = chunk_rows(p, c + 1);
    ahead.add(p.x, g, next);
    ahead.add(p.dt, g, next);
    for (int64_t n = 0; n < scratch.states; n += kScanTile) {
      advance_tile<false>(scratch, range.size(), n, n == 0 ? ahead : ScanAhead());
    }
    for (int64_t r = 0; r < range.size(); ++r) {
      const G z = load_channels(p.z.row(g.sample, range.begin + r) + g.channel, g.count);
      const G y = load(scratch.y + r * kScanGroup);
      store_channels(y * (z * sigmoid(z)), g.count, out.out.row(g.sample, range.begin + r) + g.channel);
    }
  }
  store_states(scratch.h, p, g, out.final_state + sample_state);
}

// Of one tile, while time goes back.
struct Reverse {
  G lambda[kScanTile];  // what arrives from the row after
  G dA[kScanTile];
  const float* A;
  // Of the row at hand:
  const float* B;
  const float* C;
  const float* before;  // states
  const float* after;
  const float* decay;
  G delta;
  G u;
  G dy;
  G s;
  G w;
};

struct Products {
  G B;
  G C;
};

// The terms of dB and dC of states [J, J + K), summed over neighbouring channels as far as K allows.
template <int64_t J, int64_t K>
HWY_INLINE Products reverse_states(Reverse& v) {
  if constexpr (K == 1) {
    const G lambda = fma(v.dy, fill(v.C[J]), v.lambda[J]);
    v.s = fma(lambda, fill(v.B[J]), v.s);
    v.lambda[J] = load(v.decay + J * kScanGroup) * lambda;
    const G lambda_q = v.lambda[J] * load(v.before + J * kScanGroup);
    v.w = fma(lambda_q, load(v.A + J * kScanGroup), v.w);
    v.dA[J] = fma(lambda_q, v.delta, v.dA[J]);
    return {lambda * v.u, v.dy * load(v.after + J * kScanGroup)};
  } else {
    const Products lower = reverse_states<J, K / 2>(v);
    const Products upper = reverse_states<J + K / 2, K / 2>(v);
    return {pair_sums(lower.B, upper.B), pair_sums(lower.C, upper.C)};
  }
}

// Needs what advance_tile<true> kept. dB and dC are the block's, at the first row and state.
void reverse_tile(const ScanScratch& scratch, int64_t rows, int64_t first_state, float* dB, float* dC,
                  const ScanAhead& ahead) {
  HWY_ALIGN const float zeros[kScanTileFloats] = {};
  HWY_ALIGN float sums[kScanGroup];
  Reverse v;
  v.A = scratch.A + first_state * kScanGroup;
#pragma GCC unroll 8
  for (int64_t j = 0; j < kScanTile; ++j) {
    v.lambda[j] = load(scratch.lambda + (first_state + j) * kScanGroup);
    v.dA[j] = fill(0.0f);
  }
  for (int64_t r = rows - 1; r >= 0; --r) {
    ahead.fetch(r);
    const bool reset = scratch.resets[static_cast<size_t>(r)] != 0;
    v.B = scratch.B + r * scratch.states + first_state;
    v.C = scratch.C + r * scratch.states + first_state;
    v.before = reset ? zeros : scratch.kept_h + r * kScanTileFloats;
    v.after = scratch.kept_h + (r + 1) * kScanTileFloats;
    v.decay = scratch.kept_decay + r * kScanTileFloats;
    v.delta = load(scratch.delta + r * kScanGroup);
    v.u = load(scratch.u + r * kScanGroup);
    v.dy = load(scratch.dy + r * kScanGroup);
    v.s = load(scratch.s + r * kScanGroup);
    v.w = load(scratch.w + r * kScanGroup);
    const Products products = reverse_states<0, kScanTile>(v);
    store(v.s, scratch.s + r * kScanGroup);
    store(v.w, scratch.w + r * kScanGroup);
    store(pair_sums(products.B, products.C), sums);
    add_tile(sums, dB + r * scratch.states);
    add_tile(sums + kScanTile, dC + r * scratch.states);
    if (HWY_UNLIKELY(reset)) {
      for (G& lambda : v.lambda) lambda = fill(0.0f);
    }
  }
#pragma GCC unroll 8
  for (int64_t j = 0; j < kScanTile; ++j) {
    float* dA = scratch.dA + (first_state + j) * kScanGroup;
    store(load(dA) + v.dA[j], dA);
    store(v.lambda[j], scratch.lambda + (first_state + j) * kScanGroup);
  }
}

struct RowSums {
  G dD;
  G ddt_bias;
};

// What the states need of rows.
void prepare_rows(const ScanProblem<float>& p, const ScanGroup& g, const ScanRange& range,
                  const ScanAdjoint<float>& d, const ScanScratch& scratch) {
  const G bias = load_channels(p.dt_bias + g.channel, g.count);
  const G D = load_channels(p.D + g.channel, g.count);
  for (int64_t r = 0; r < range.size(); ++r) {
    const auto row = [&](const ScanRows<const float>& of) HWY_ATTR {
      return load_channels(of.row(g.sample, range.begin + r) + g.channel, g.count);
    };
    const G x = row(p.x);
    const G z = row(p.z);
    const Softplus delta = softplus(row(p.dt) + bias);
    const G gate = sigmoid(z);
    store(delta.value, scratch.delta + r * kScanGroup);
    store(delta.slope, scratch.slope + r * kScanGroup);
    store(gate, scratch.gate + r * kScanGroup);
    store(delta.value * x, scratch.u + r * kScanGroup);
    store(D * x, scratch.y + r * kScanGroup);
    store(row(d.dout) * (z * gate), scratch.dy + r * kScanGroup);
    store(fill(0.0f), scratch.s + r * kScanGroup);
    store(fill(0.0f), scratch.w + r * kScanGroup);
  }
}

// The gradients of rows from what the states left.
RowSums finish_rows(const ScanProblem<float>& p, const ScanGroup& g, const ScanRange& range,
                    const ScanAdjoint<float>& d, const ScanScratch& scratch) {
  const G D = load_channels(p.D + g.channel, g.count);
  const G one = fill(1.0f);
  const G minus = fill(-1.0f);
  RowSums sums{fill(0.0f), fill(0.0f)};
  for (int64_t r = 0; r < range.size(); ++r) {
    const auto row = [&](const ScanRows<const float>& of) HWY_ATTR {
      return load_channels(of.row(g.sample, range.begin + r) + g.channel, g.count);
    };
    const auto write = [&](const G& value, const ScanRows<float>& to) HWY_ATTR {
      store_channels(value, g.count, to.row(g.sample, range.begin + r) + g.channel);
    };
    const G x = row(p.x);
    const G z = row(p.z);
    const G dy = load(scratch.dy + r * kScanGroup);
    const G s = load(scratch.s + r * kScanGroup);
    const G ddelta = fma(s, x, load(scratch.w + r * kScanGroup));
    const G ddt = ddelta * load(scratch.slope + r * kScanGroup);
    const G gate = load(scratch.gate + r * kScanGroup);
    const G slope = gate * fma(z, fma(gate, minus, one), one);
    write(fma(dy, D, s * load(scratch.delta + r * kScanGroup)), d.dx);
    write(ddt, d.ddt);
    write(row(d.dout) * load(scratch.y + r * kScanGroup) * slope, d.dz);
    sums.dD = fma(dy, x, sums.dD);
    sums.ddt_bias = sums.ddt_bias + ddt;
  }
  return sums;
}

void backward_group(const ScanProblem<float>& p, const ScanGroup& g, const ScanAdjoint<float>& d,
                    ScanScratch& scratch) {
  const int64_t sample_state = g.sample * p.state_size();
  load_states(p.A, p, g, scratch.A);
  load_states(d.dfinal != nullptr ? d.dfinal + sample_state : nullptr, p, g, scratch.lambda);
  load_states(nullptr, p, g, scratch.dA);
  RowSums sums{fill(0.0f), fill(0.0f)};
  for (int64_t c = p.chunks() - 1; c >= 0; --c) {
    const ScanRange range = chunk_rows(p, c);
    load_states(d.states + sample_state * p.chunks() + c * p.state_size(), p, g, scratch.h);
    scratch.read_rows(p, g.sample, range);
    prepare_rows(p, g, range, d, scratch);
    ScanAhead ahead;
    for (const ScanRows<float>& written : {d.dx, d.ddt, d.dz}) ahead.add(written, g, range);
    ScanAhead before;
    for (const ScanRows<const float>& read : {p.x, p.dt, p.z, d.dout})
      before.add(read, g, chunk_rows(p, c - 1));
    for (int64_t n = 0; n < scratch.states; n += kScanTile) {
      advance_tile<true>(scratch, range.size(), n, n == 0 ? ahead : ScanAhead());
      const int64_t at = range.begin * scratch.states + n;
      reverse_tile(scratch, range.size(), n, d.dB + at, d.dC + at, n == 0 ? before : ScanAhead());
    }
    const RowSums of_chunk = finish_rows(p, g, range, d, scratch);
    sums = {sums.dD + of_chunk.dD, sums.ddt_bias + of_chunk.ddt_bias};
  }
  store_states(scratch.dA, p, g, d.dA + sample_state);
  store_channels(sums.dD, g.count, d.dD + g.sample * p.channels + g.channel);
  store_channels(sums.ddt_bias, g.count, d.ddt_bias + g.sample * p.channels + g.channel);
  if (d.dinitial != nullptr) store_states(scratch.lambda, p, g, d.dinitial + sample_state);
}

// One row of 16 channels: terms[i] holds 16 states of channel i.
template <int64_t J, int64_t K>
HWY_INLINE G sums_of_states(const G* terms) {
  if constexpr (K == 1) {
    return terms[J];
  } else {
    return pair_sums(sums_of_states<J, K / 2>(terms), sums_of_states<J + K / 2, K / 2>(terms));
  }
}

void step_group(const ScanProblem<float>& p, const ScanGroup& g, const ScanRows<float>& out, float* state) {
  HWY_ALIGN float delta[kScanGroup];
  HWY_ALIGN float u[kScanGroup];
  const G x = load_channels(p.x.row(g.sample, 0) + g.channel, g.count);
  const G dt = load_channels(p.dt.row(g.sample, 0) + g.channel, g.count);
  const G z = load_channels(p.z.row(g.sample, 0) + g.channel, g.count);
  const G soft = softplus(dt + load_channels(p.dt_bias + g.channel, g.count)).value;
  store(soft, delta);
  store(soft * x, u);
  G y = load_channels(p.D + g.channel, g.count) * x;
  for (int64_t n = 0; n < p.states; n += kScanGroup) {
    const int64_t count = std::min(kScanGroup, p.states - n);
    const G B = load_channels(p.B.row(g.sample, 0) + n, count);
    const G C = load_channels(p.C.row(g.sample, 0) + n, count);
    G terms[kScanGroup];
    for (int64_t i = 0; i < kScanGroup; ++i) {
      terms[i] = fill(0.0f);
      if (i >= g.count) continue;
      const int64_t at = (g.channel + i) * p.states + n;
      const G A = load_channels(p.A + at, count);
      const G h = fma(exp_nonpositive(fill(delta[i]) * A), load_channels(state + at, count), fill(u[i]) * B);
      store_channels(h, count, state + at);
      terms[i] = h * C;
    }
    y = y + sums_of_states<0, kScanGroup>(terms);
  }
  store_channels(y * (z * sigmoid(z)), g.count, out.row(g.sample, 0) + g.channel);
}

// Calls body for each group of the block.
template <typename Body>
void for_groups(const ScanBlock& block, const Body& body) {
  for (int64_t i = block.first_channel; i < block.end_channel; i += kScanGroup) {
    body(ScanGroup{block.sample, i, std::min(kScanGroup, block.end_channel - i)});
  }
}

void Forward(const ScanProblem<float>& p, const ScanBlock& block, const ScanResults<float>& out) {
  ScanScratch scratch(p, /*backward=*/false);
  for_groups(block, [&](const ScanGroup& g) { forward_group(p, g, out, scratch); });
}

void Backward(const ScanProblem<float>& p, const ScanBlock& block, const ScanAdjoint<float>& d) {
  ScanScratch scratch(p, /*backward=*/true);
  for_groups(block, [&](const ScanGroup& g) { backward_group(p, g, d, scratch); });
}

void Step(const ScanProblem<float>& p, const ScanBlock& block, const ScanRows<float>& out, float* state) {
  for_groups(block, [&](const ScanGroup& g) { step_group(p, g, out, state); });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace phalanx::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phalanx::kernels {

HWY_EXPORT(Forward);
HWY_EXPORT(Backward);
HWY_EXPORT(Step);

template <>
void scan_forward_block(const ScanProblem<float>& p, const ScanBlock& block, const ScanResults<float>& out) {
  const FlushDenormals flush;
  HWY_DYNAMIC_DISPATCH(Forward)(p, block, out);
}

template <>
void scan_backward_block(const ScanProblem<float>& p, const ScanBlock& block, const ScanAdjoint<float>& d) {
  const FlushDenormals flush;
  HWY_DYNAMIC_DISPATCH(Backward)(p, block, d);
}

template <>
void scan_step_block(const ScanProblem<float>& p, const ScanBlock& block, const ScanRows<float>& out,
                     float* state) {
  const FlushDenormals flush;
  HWY_DYNAMIC_DISPATCH(Step)(p, block, out, state);
}

}  // namespace phalanx::kernels
#endif  // HWY_ONCE
