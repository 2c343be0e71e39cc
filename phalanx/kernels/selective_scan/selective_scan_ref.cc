#include "phalanx/kernels/selective_scan/selective_scan_ref.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "phalanx/kernels/arguments.h"

namespace phalanx::kernels {
namespace {

constexpr double kLinearAbove = 20.0;  // of softplus

// The inputs in the dtype of the arithmetic, and what rows share.
struct Wide {
  Tensor x;
  Tensor biased;  // dt + dt_bias
  Tensor delta;
  Tensor z;
  Tensor B;
  Tensor C;
  Tensor A;
  Tensor keep;  // [B, S, 1, 1] false where a row starts a document; undefined: none does

  explicit Wide(const ScanInputs& in) {
    const at::ScalarType dtype = arithmetic_dtype(in.x);
    x = in.x.to(dtype);
    biased = in.dt.to(dtype) + in.dt_bias;
    delta = at::softplus(biased, 1, kLinearAbove);
    z = in.z.to(dtype);
    B = in.B.to(dtype);
    C = in.C.to(dtype);
    A = -in.A_log.exp();
    const int64_t rows = x.size(1);
    if (in.document.defined() && x.dim() == 3 && rows > 1) {
      const Tensor same = in.document.narrow(1, 1, rows - 1) == in.document.narrow(1, 0, rows - 1);
      keep = at::cat({at::ones_like(same.narrow(1, 0, 1)), same}, 1).unsqueeze(-1).unsqueeze(-1);
    }
  }

  // exp(delta A) [B, C, N] of row t.
  Tensor decay(int64_t t) const { return (delta.select(1, t).unsqueeze(-1) * A).exp(); }
  // delta B x [B, C, N] of row t.
  Tensor input(int64_t t) const {
    return (delta.select(1, t) * x.select(1, t)).unsqueeze(-1) * B.select(1, t).unsqueeze(1);
  }
  // The state that row t sees.
  Tensor before(const Tensor& h, int64_t t) const {
    return keep.defined() ? at::where(keep.select(1, t), h, at::zeros_like(h)) : h;
  }
};

Tensor first_state(const ScanInputs& in) {
  if (in.initial.defined()) return in.initial;
  return at::zeros({in.x.size(0), in.x.size(2), in.A_log.size(1)}, in.A_log.options());
}

// g silu'(z)
Tensor silu_gradient(const Tensor& g, const Tensor& z) {
  const Tensor s = z.sigmoid();
  return g * s * (1.0 + z * (1.0 - s));
}

}  // namespace

ScanForward selective_scan_forward_ref(const ScanInputs& in, int64_t chunk) {
  const Wide w(in);
  const int64_t rows = w.x.size(1);
  std::vector<Tensor> y;
  std::vector<Tensor> states;
  Tensor h = first_state(in);
  for (int64_t t = 0; t < rows; ++t) {
    if (t % chunk == 0) states.push_back(h);
    h = w.decay(t) * w.before(h, t) + w.input(t);
    y.push_back((h * w.C.select(1, t).unsqueeze(1)).sum(-1));
  }
  ScanForward result;
  result.out = ((at::stack(y, 1) + in.D * w.x) * at::silu(w.z)).to(in.x.scalar_type());
  result.states = at::stack(states, 1);
  result.final_state = h;
  return result;
}

ScanGradients selective_scan_backward_ref(const Tensor& dout, const Tensor& dfinal, const ScanInputs& in,
                                          const Tensor& states, const ScanInputGradients& d, int64_t chunk) {
  const Wide w(in);
  const int64_t rows = w.x.size(1);
  const Tensor g = dout.to(w.x.scalar_type());
  const Tensor dy = g * at::silu(w.z);
  Tensor y = in.D * w.x;
  Tensor dx = dy * in.D;
  Tensor ddelta = at::zeros_like(w.x);
  Tensor dB = at::zeros(w.B.sizes(), w.B.options());
  Tensor dC = at::zeros(w.C.sizes(), w.C.options());
  Tensor dA = at::zeros_like(w.A);
  Tensor carried = dfinal.defined() ? dfinal : at::zeros_like(states.select(1, 0));
  for (int64_t begin = (rows - 1) / chunk * chunk; begin >= 0; begin -= chunk) {
    const int64_t end = std::min(rows, begin + chunk);
    std::vector<Tensor> h = {states.select(1, begin / chunk)};
    for (int64_t t = begin; t < end; ++t) {
      h.push_back(w.decay(t) * w.before(h.back(), t) + w.input(t));
    }
    for (int64_t t = end - 1; t >= begin; --t) {
      const auto at_row = [t](const Tensor& tensor) { return tensor.select(1, t); };
      const Tensor& state = h[t - begin + 1];
      const Tensor decay = w.decay(t);
      const Tensor q = decay * w.before(h[t - begin], t);
      const Tensor lambda = at_row(dy).unsqueeze(-1) * at_row(w.C).unsqueeze(1) + carried;
      at_row(y).add_((state * at_row(w.C).unsqueeze(1)).sum(-1));
      at_row(dC).copy_((at_row(dy).unsqueeze(-1) * state).sum(1));
      at_row(dB).copy_((lambda * (at_row(w.delta) * at_row(w.x)).unsqueeze(-1)).sum(1));
      const Tensor s = (lambda * at_row(w.B).unsqueeze(1)).sum(-1);
      at_row(dx).add_(s * at_row(w.delta));
      at_row(ddelta).copy_(s * at_row(w.x) + (lambda * w.A * q).sum(-1));
      dA = dA + (lambda * at_row(w.delta).unsqueeze(-1) * q).sum(0);
      carried = w.before(decay * lambda, t);
    }
  }
  const Tensor slope = at::where(w.biased > kLinearAbove, at::ones_like(w.biased), w.biased.sigmoid());
  const Tensor ddt = ddelta * slope;
  d.dx.copy_(dx);
  d.ddt.copy_(ddt);
  d.dz.copy_(silu_gradient(g * y, w.z));
  d.dB.copy_(dB);
  d.dC.copy_(dC);
  ScanGradients result;
  result.dA_log = dA * w.A;
  result.dD = (dy * w.x).sum(at::IntArrayRef{0, 1});
  result.ddt_bias = ddt.sum(at::IntArrayRef{0, 1});
  if (in.initial.defined()) result.dinitial = carried;
  return result;
}

Tensor selective_scan_step_ref(const ScanInputs& in, const Tensor& states, const Tensor& slot) {
  const Wide w(in);
  Tensor h = states.index_select(0, slot);
  h = (w.delta.unsqueeze(-1) * w.A).exp() * h + (w.delta * w.x).unsqueeze(-1) * w.B.unsqueeze(1);
  states.index_copy_(0, slot, h);
  const Tensor y = (h * w.C.unsqueeze(1)).sum(-1) + in.D * w.x;
  return (y * at::silu(w.z)).to(in.x.scalar_type());
}

}  // namespace phalanx::kernels
