#include "phalanx/kernels/ssd/ssd_ref.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "phalanx/kernels/arguments.h"

namespace phalanx::kernels {
namespace {

// Inputs in the arithmetic's dtype, B and C once a head.
struct Rows {
  Tensor x;      // [B, S, H, P]
  Tensor delta;  // [B, S, H]
  Tensor decay;  // [B, S, H]: exp(delta A), 0 where a document starts
  Tensor B;      // [B, S, H, N]
  Tensor C;

  Rows(const SsdInputs& in, const SsdSpec& spec) {
    const at::ScalarType dtype = arithmetic_dtype(in.x);
    const int64_t copies = in.x.size(2) / in.B.size(2);
    x = in.x.to(dtype);
    delta = ssd_delta(in.dt, in.dt_bias, spec);
    decay = (delta * -in.A_log.exp()).exp();
    B = in.B.to(dtype).repeat_interleave(copies, 2);
    C = in.C.to(dtype).repeat_interleave(copies, 2);
    const int64_t S = x.size(1);
    if (!in.document.defined() || S == 1) return;
    const Tensor same = in.document.narrow(1, 1, S - 1).eq(in.document.narrow(1, 0, S - 1));
    const Tensor goes_on = at::cat({at::ones_like(same.narrow(1, 0, 1)), same}, 1).unsqueeze(-1);
    decay = at::where(goes_on, decay, at::zeros_like(decay));
  }

  // The state [B, H, P, N] after row t.
  Tensor next(const Tensor& state, int64_t t) const {
    const Tensor input = (delta.select(1, t).unsqueeze(-1) * x.select(1, t)).unsqueeze(-1);
    return decay.select(1, t).unsqueeze(-1).unsqueeze(-1) * state + input * B.select(1, t).unsqueeze(-2);
  }
};

Tensor first_state(const SsdInputs& in) {
  if (in.initial.defined()) return in.initial;
  const auto options = in.x.options().dtype(arithmetic_dtype(in.x));
  return at::zeros({in.x.size(0), in.x.size(2), in.x.size(3), in.B.size(3)}, options);
}

// Sum of [B, H, N] over the heads of each group: [B, G, N].
Tensor sum_over_heads(const Tensor& heads, int64_t groups) {
  return heads.reshape({heads.size(0), groups, heads.size(1) / groups, heads.size(2)}).sum(2);
}

// What the adjoint leaves of every row, by row.
struct RowGradients {
  std::vector<Tensor> dx, ddelta, dB, dC;

  explicit RowGradients(int64_t rows) : dx(rows), ddelta(rows), dB(rows), dC(rows) {}
};

}  // namespace

Tensor ssd_delta(const Tensor& dt, const Tensor& dt_bias, const SsdSpec& spec) {
  const Tensor raw = dt.to(arithmetic_dtype(dt)) + dt_bias;
  return at::clamp(at::softplus(raw, 1.0, kSoftplusThreshold), spec.dt_min, spec.dt_max);
}

Tensor ssd_delta_slope(const Tensor& dt, const Tensor& dt_bias, const SsdSpec& spec) {
  const Tensor raw = dt.to(arithmetic_dtype(dt)) + dt_bias;
  const Tensor value = at::softplus(raw, 1.0, kSoftplusThreshold);
  const Tensor slope = at::where(raw > kSoftplusThreshold, at::ones_like(raw), at::sigmoid(raw));
  return at::where(value.ge(spec.dt_min).logical_and(value.le(spec.dt_max)), slope, at::zeros_like(slope));
}

SsdForward ssd_forward_ref(const SsdInputs& in, const SsdSpec& spec) {
  const Rows rows(in, spec);
  const int64_t S = in.x.size(1);
  Tensor state = first_state(in);
  std::vector<Tensor> y;
  std::vector<Tensor> states;
  for (int64_t t = 0; t < S; ++t) {
    if (t % spec.chunk == 0) states.push_back(state);
    state = rows.next(state, t);
    const Tensor read = at::matmul(state, rows.C.select(1, t).unsqueeze(-1)).squeeze(-1);
    y.push_back(read + in.D.unsqueeze(-1) * rows.x.select(1, t));
  }
  return {.y = at::stack(y, 1).to(in.x.scalar_type()), .states = at::stack(states, 1), .final_state = state};
}

SsdGradients ssd_backward_ref(const Tensor& dy, const Tensor& dfinal, const SsdInputs& in,
                              const Tensor& states, const SsdSpec& spec, const SsdInputGradients& d) {
  const Rows rows(in, spec);
  const Tensor before = states.defined() ? states : ssd_forward_ref(in, spec).states;
  const Tensor gradient = dy.to(arithmetic_dtype(dy));
  const Tensor A = -in.A_log.exp();
  const int64_t S = in.x.size(1);
  const int64_t groups = in.B.size(2);
  RowGradients out(S);
  Tensor dA = at::zeros_like(in.A_log);
  Tensor adjoint = dfinal.defined() ? dfinal : at::zeros_like(first_state(in));  // by the state after row t
  for (int64_t chunk = before.size(1) - 1; chunk >= 0; --chunk) {
    const int64_t first = chunk * spec.chunk;
    const int64_t last = std::min(S, first + spec.chunk);
    std::vector<Tensor> run = {before.select(1, chunk)};
    for (int64_t t = first; t < last; ++t) run.push_back(rows.next(run.back(), t));
    for (int64_t t = last - 1; t >= first; --t) {
      const Tensor x = rows.x.select(1, t);
      const Tensor delta = rows.delta.select(1, t);
      const Tensor dy_row = gradient.select(1, t);
      const Tensor decay = rows.decay.select(1, t);
      adjoint = adjoint + dy_row.unsqueeze(-1) * rows.C.select(1, t).unsqueeze(-2);
      const Tensor dC = (run[t - first + 1] * dy_row.unsqueeze(-1)).sum(2);
      const Tensor dB = (adjoint * (delta.unsqueeze(-1) * x).unsqueeze(-1)).sum(2);
      const Tensor dinput = at::matmul(adjoint, rows.B.select(1, t).unsqueeze(-1)).squeeze(-1);
      const Tensor dalpha = decay * (adjoint * run[t - first]).sum(at::IntArrayRef({-2, -1}));
      out.dx[t] = delta.unsqueeze(-1) * dinput + in.D.unsqueeze(-1) * dy_row;
      out.ddelta[t] = (dinput * x).sum(-1) + A * dalpha;
      out.dB[t] = sum_over_heads(dB, groups);
      out.dC[t] = sum_over_heads(dC, groups);
      dA = dA + (delta * dalpha).sum(0);
      adjoint = decay.unsqueeze(-1).unsqueeze(-1) * adjoint;
    }
  }
  const Tensor ddt = at::stack(out.ddelta, 1) * ssd_delta_slope(in.dt, in.dt_bias, spec);
  Tensor(d.dx).copy_(at::stack(out.dx, 1));
  Tensor(d.ddt).copy_(ddt);
  Tensor(d.dB).copy_(at::stack(out.dB, 1));
  Tensor(d.dC).copy_(at::stack(out.dC, 1));
  return {.ddt_bias = ddt.sum(at::IntArrayRef({0, 1})),
          .dA_log = dA * A,
          .dD = (gradient * rows.x).sum(at::IntArrayRef({0, 1, 3})),
          .dinitial = in.initial.defined() ? adjoint : Tensor()};
}

Tensor ssd_step_ref(const SsdInputs& in, const SsdSpec& spec, const Tensor& states, const Tensor& slot) {
  SsdInputs row = in;
  for (Tensor* tensor : {&row.x, &row.dt, &row.B, &row.C}) *tensor = tensor->unsqueeze(1);
  row.document = Tensor();
  row.initial = states.index_select(0, slot);
  const SsdForward after = ssd_forward_ref(row, spec);
  Tensor(states).index_copy_(0, slot, after.final_state);
  return after.y.squeeze(1);
}

}  // namespace phalanx::kernels
