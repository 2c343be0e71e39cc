#include "phalanx/nn/mamba2.h"

#include <ATen/ATen.h>

#include "phalanx/base/error.h"

namespace phalanx::nn {
Mamba2::Mamba2(Parts parts, const Mamba2Shape& shape, const kernels::SsdSpec& ssd,
               const kernels::GatedNormSpec& gate_norm)
    : parts_(std::move(parts)), shape_(shape), ssd_(ssd), gate_norm_(gate_norm) {
  PHALANX_CHECK(shape.num_groups > 0 && shape.num_heads % shape.num_groups == 0, "groups divide the heads");
  for (const Parameter* p : {parts_.conv_weight, parts_.dt_bias, parts_.A_log, parts_.D, parts_.gate_norm}) {
    PHALANX_CHECK(p != nullptr, "a Mamba-2 layer needs all its parameters");
  }
}

Mamba2::Columns Mamba2::split(const Tensor& in_TI) const {
  const int64_t inner = shape_.inner();
  const int64_t conv = shape_.conv_width();
  return {in_TI.narrow(1, 0, inner), in_TI.narrow(1, inner, conv),
          in_TI.narrow(1, inner + conv, shape_.num_heads)};
}

kernels::ConvInputs Mamba2::conv_inputs(const Tensor& xBC_TC, const Batch& batch) const {
  return {.x = by_sample(xBC_TC, batch),
          .weight = parts_.conv_weight->full(),
          .bias = parts_.conv_bias != nullptr ? parts_.conv_bias->full() : Tensor(),
          .document = documents_by_sample(batch),
          .window = {}};
}

Mamba2::Branches Mamba2::branches(const Tensor& conv) const {
  const int64_t last = conv.dim() - 1;
  const int64_t inner = shape_.inner();
  const int64_t states = shape_.num_groups * shape_.state_dim;
  const auto by_group = [&](int64_t first) {
    return conv.narrow(last, first, states).unflatten(last, {shape_.num_groups, shape_.state_dim});
  };
  return {conv.narrow(last, 0, inner).unflatten(last, {shape_.num_heads, shape_.head_dim}), by_group(inner),
          by_group(inner + states)};
}

kernels::SsdInputs Mamba2::ssd_inputs(const Tensor& conv, const Tensor& dt) const {
  const Branches b = branches(conv);
  return {.x = b.x,
          .dt = dt,
          .B = b.B,
          .C = b.C,
          .dt_bias = parts_.dt_bias->full(),
          .A_log = parts_.A_log->full(),
          .D = parts_.D->full(),
          .document = {},
          .initial = {}};
}

Tensor Mamba2::forward(const Tensor& x_TH, const Batch& batch, Side&, Stash& stash) {
  const bool sharded = batch.rows_are_sharded();
  Norm::Output normed = parts_.norm.forward(x_TH, stash);
  parts_.norm.push_output(normed, stash);
  const Tensor in_TI = parts_.in.forward(normed.y, sharded);
  normed = {};  // u is rebuilt in backward
  stash.push(in_TI, "mamba z x B C dt");
  const Columns in = split(in_TI);
  kernels::SsdForward scanned;
  {
    const Tensor conv = kernels::causal_conv1d_forward(conv_inputs(in.xBC, batch));
    kernels::SsdInputs inputs = ssd_inputs(conv, by_sample(in.dt, batch));
    inputs.document = documents_by_sample(batch);
    scanned = kernels::ssd_forward(inputs, ssd_);
  }
  const Tensor y_TD = scanned.y.view({in_TI.size(0), shape_.inner()});
  stash.push(y_TD, "mamba scan output");
  const kernels::GatedNormForward gated =
      kernels::gated_norm_forward(y_TD, in.z, parts_.gate_norm->full(), gate_norm_);
  stash.push(gated.rstd, "mamba norm rstd");
  const auto rebuild = [this](const std::vector<Tensor>& sources) {
    return kernels::gated_norm_apply(sources[0], split(sources[1]).z, sources[2], parts_.gate_norm->full(),
                                     gate_norm_);
  };
  stash.push_rebuild({y_TD, in_TI, gated.rstd}, rebuild, "mamba out input");
  return parts_.out.forward(gated.out, sharded);
}

Tensor Mamba2::backward(const Tensor& dy_TH, const Batch& batch, Side&, Stash& stash, WeightGrads& grads) {
  const bool sharded = batch.rows_are_sharded();
  Tensor din_TI;
  {
    const Tensor dout = parts_.out.backward(dy_TH, /*x=*/stash.pop(), grads, sharded);
    const Tensor rstd = stash.pop();
    const Tensor y_TD = stash.pop();
    const Tensor in_TI = stash.pop();
    const Columns in = split(in_TI);
    din_TI = at::empty_like(in_TI);
    const Columns din = split(din_TI);
    kernels::GatedNormBackward gated =
        kernels::gated_norm_backward(dout, y_TD, in.z, rstd, parts_.gate_norm->full(), gate_norm_, din.z);
    grads.add(*parts_.gate_norm, gated.dweight);

    const kernels::ConvInputs conv_in = conv_inputs(in.xBC, batch);
    const Tensor conv = kernels::causal_conv1d_forward(conv_in);
    kernels::SsdInputs inputs = ssd_inputs(conv, by_sample(in.dt, batch));
    inputs.document = documents_by_sample(batch);
    const Tensor dconv = at::empty_like(conv);
    const Branches d = branches(dconv);
    const kernels::SsdGradients scan =
        kernels::ssd_backward(gated.dy.view(inputs.x.sizes()), /*dfinal=*/{}, inputs, /*states=*/{}, ssd_,
                              {.dx = d.x, .ddt = by_sample(din.dt, batch), .dB = d.B, .dC = d.C});
    grads.add(*parts_.dt_bias, scan.ddt_bias);
    grads.add(*parts_.A_log, scan.dA_log);
    grads.add(*parts_.D, scan.dD);
    const kernels::ConvGradients weights =
        kernels::causal_conv1d_backward(dconv, conv_in, by_sample(din.xBC, batch));
    grads.add(*parts_.conv_weight, weights.dweight);
    if (parts_.conv_bias != nullptr) grads.add(*parts_.conv_bias, weights.dbias);
  }
  const Tensor dnormed = parts_.in.backward(din_TI, /*x=*/stash.pop(), grads, sharded);
  return parts_.norm.backward(dnormed, stash, grads);
}

Tensor Mamba2::step_run(const Columns& in, const SlotRun& run, Cache& cache) const {
  const auto mine = [&run](const Tensor& x) { return x.narrow(0, run.first, run.rows).unsqueeze(0); };
  const int64_t layer = shape_.cache_layer;
  const Tensor windows = cache.windows(layer);
  const Tensor states = cache.states(layer);
  const int64_t at_row = cache.pool_row(run.slot);
  kernels::ConvInputs conv_in{.x = mine(in.xBC),
                              .weight = parts_.conv_weight->full(),
                              .bias = parts_.conv_bias != nullptr ? parts_.conv_bias->full() : Tensor(),
                              .document = {},
                              .window = windows.narrow(0, at_row, 1)};
  const Tensor conv = kernels::causal_conv1d_forward(conv_in);
  windows[at_row].copy_(
      kernels::causal_conv1d_window(conv_in.x.squeeze(0), windows[at_row], shape_.conv_kernel));
  kernels::SsdInputs inputs = ssd_inputs(conv, mine(in.dt));
  inputs.initial = states.narrow(0, at_row, 1);
  const kernels::SsdForward scanned = kernels::ssd_forward(inputs, ssd_);
  states[at_row].copy_(scanned.final_state.squeeze(0));
  return scanned.y.view({run.rows, shape_.inner()});
}

Tensor Mamba2::step(const Tensor& x_TH, const Batch& batch, Side&, Cache& cache) {
  const Columns in = split(parts_.in.forward(parts_.norm.apply(x_TH)));
  const std::vector<SlotRun> runs = runs_of_slots(batch.slot);
  Tensor y_TD;
  if (is_decode(runs)) {
    const Tensor rows = cache.pool_rows(slots_of(runs));
    const Tensor conv = kernels::causal_conv1d_step(
        in.xBC, parts_.conv_weight->full(), parts_.conv_bias != nullptr ? parts_.conv_bias->full() : Tensor(),
        cache.windows(shape_.cache_layer), rows);
    const Tensor y = kernels::ssd_step(ssd_inputs(conv, in.dt), ssd_, cache.states(shape_.cache_layer), rows);
    y_TD = y.view({x_TH.size(0), shape_.inner()});
  } else {
    y_TD = at::empty({x_TH.size(0), shape_.inner()}, x_TH.options());
    for (const SlotRun& run : runs) y_TD.narrow(0, run.first, run.rows).copy_(step_run(in, run, cache));
  }
  return parts_.out.forward(
      kernels::gated_norm_forward(y_TD, in.z, parts_.gate_norm->full(), gate_norm_).out);
}

void Mamba2::visit_parameters(const ParameterVisitor& visit) {
  parts_.norm.visit_parameters(visit);
  parts_.in.visit_parameters(visit);
  visit(*parts_.conv_weight);
  if (parts_.conv_bias != nullptr) visit(*parts_.conv_bias);
  for (Parameter* p : {parts_.dt_bias, parts_.A_log, parts_.D, parts_.gate_norm}) visit(*p);
  parts_.out.visit_parameters(visit);
}

}  // namespace phalanx::nn
