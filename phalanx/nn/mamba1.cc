#include "phalanx/nn/mamba1.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "phalanx/base/error.h"
#include "phalanx/nn/rows.h"
#include "phalanx/nn/tensor_parallel.h"

namespace phalanx::nn {

Mamba1::Mamba1(Parts parts, const Mamba1Shape& shape, comm::Group& tensor_group)
    : parts_(std::move(parts)), shape_(shape), group_(&tensor_group) {
  for (const Parameter* p : {parts_.conv_weight, parts_.dt_bias, parts_.A_log, parts_.D}) {
    PHALANX_CHECK(p != nullptr, "a Mamba-1 layer needs all its parameters");
  }
}

kernels::ConvInputs Mamba1::conv_inputs(const Tensor& x, const Tensor& document) const {
  return {.x = x,
          .weight = parts_.conv_weight->full(),
          .bias = parts_.conv_bias != nullptr ? parts_.conv_bias->full() : Tensor(),
          .document = document,
          .window = {}};
}

kernels::ScanInputs Mamba1::scan_inputs(const Tensor& x, const Tensor& dt, const Tensor& z,
                                        const Tensor& low) const {
  const int64_t states = shape_.state_dim;
  return {.x = x,
          .dt = dt,
          .z = z,
          .B = low.narrow(-1, shape_.dt_rank, states),
          .C = low.narrow(-1, shape_.dt_rank + states, states),
          .A_log = parts_.A_log->full(),
          .D = parts_.D->full(),
          .dt_bias = parts_.dt_bias->full(),
          .document = {},
          .initial = {}};
}

Tensor Mamba1::forward(const Tensor& x_TH, const Batch& batch, Side&, Stash& stash) {
  const bool sharded = batch.rows_are_sharded();
  Norm::Output normed = parts_.norm.forward(x_TH, stash);
  parts_.norm.push_output(normed, stash);
  const Tensor in_TI = parts_.in.forward(normed.y, sharded);
  normed = {};  // u is rebuilt in backward
  stash.push(in_TI, "mamba1 x z");
  const Tensor in = by_sample(in_TI, batch);
  const Tensor document = documents_by_sample(batch);
  kernels::ScanForward scanned;
  {
    const Tensor conv = kernels::causal_conv1d_forward(conv_inputs(in.narrow(2, 0, shape_.inner), document));
    const Tensor low_TR = parts_.x_proj.forward(conv.flatten(0, 1));
    stash.push(low_TR, "mamba1 dt B C");
    const Tensor dt_TI = parts_.dt_proj.forward(low_TR.narrow(1, 0, shape_.dt_rank));
    kernels::ScanInputs inputs = scan_inputs(
        conv, by_sample(dt_TI, batch), in.narrow(2, shape_.inner, shape_.inner), by_sample(low_TR, batch));
    inputs.document = document;
    scanned = kernels::selective_scan_forward(inputs);
  }
  stash.push(scanned.states, "mamba1 chunk states");
  const Tensor out_TI = scanned.out.view({in_TI.size(0), shape_.inner});
  stash.push(out_TI, "mamba1 scan output");
  return parts_.out.forward(out_TI, sharded);
}

Tensor Mamba1::backward(const Tensor& dy_TH, const Batch& batch, Side&, Stash& stash, WeightGrads& grads) {
  const bool sharded = batch.rows_are_sharded();
  const int64_t inner = shape_.inner;
  Tensor din_TI;
  {
    const Tensor dout = parts_.out.backward(dy_TH, /*x=*/stash.pop(), grads, sharded);
    const Tensor states = stash.pop();
    const Tensor low_TR = stash.pop();
    const Tensor in_TI = stash.pop();
    const Tensor in = by_sample(in_TI, batch);
    din_TI = at::empty_like(in_TI);
    const Tensor din = by_sample(din_TI, batch);
    const Tensor document = documents_by_sample(batch);
    const kernels::ConvInputs conv_in = conv_inputs(in.narrow(2, 0, inner), document);
    const Tensor conv = kernels::causal_conv1d_forward(conv_in);
    const Tensor conv_TI = conv.flatten(0, 1);
    const Tensor delta_low = low_TR.narrow(1, 0, shape_.dt_rank);
    const Tensor dt_TI = parts_.dt_proj.forward(delta_low);
    kernels::ScanInputs inputs =
        scan_inputs(conv, by_sample(dt_TI, batch), in.narrow(2, inner, inner), by_sample(low_TR, batch));
    inputs.document = document;
    const Tensor dconv = at::empty_like(conv);
    const Tensor ddt_TI = at::empty_like(dt_TI);
    Tensor dlow_TR = at::empty_like(low_TR);
    const Tensor dlow = by_sample(dlow_TR, batch);
    const kernels::ScanGradients scan = kernels::selective_scan_backward(
        dout.view(conv.sizes()), /*dfinal=*/{}, inputs, states,
        {.dx = dconv,
         .ddt = by_sample(ddt_TI, batch),
         .dz = din.narrow(2, inner, inner),
         .dB = dlow.narrow(2, shape_.dt_rank, shape_.state_dim),
         .dC = dlow.narrow(2, shape_.dt_rank + shape_.state_dim, shape_.state_dim)});
    grads.add(*parts_.dt_bias, scan.ddt_bias);
    grads.add(*parts_.A_log, scan.dA_log);
    grads.add(*parts_.D, scan.dD);
    dlow_TR.narrow(1, 0, shape_.dt_rank).copy_(parts_.dt_proj.backward(ddt_TI, delta_low, grads));
    // So far from this rank's channels.
    dlow_TR = start_sum(std::move(dlow_TR), *group_, /*sharded=*/false).take();
    dconv.view(conv_TI.sizes()).add_(parts_.x_proj.backward(dlow_TR, conv_TI, grads));
    const kernels::ConvGradients weights =
        kernels::causal_conv1d_backward(dconv, conv_in, din.narrow(2, 0, inner));
    grads.add(*parts_.conv_weight, weights.dweight);
    if (parts_.conv_bias != nullptr) grads.add(*parts_.conv_bias, weights.dbias);
  }
  const Tensor dnormed = parts_.in.backward(din_TI, /*x=*/stash.pop(), grads, sharded);
  return parts_.norm.backward(dnormed, stash, grads);
}

Tensor Mamba1::step_run(const Tensor& in_TI, const SlotRun& run, Cache& cache) const {
  const Tensor mine = in_TI.narrow(0, run.first, run.rows).unsqueeze(0);
  const Tensor windows = cache.windows(shape_.cache_layer);
  const Tensor states = cache.states(shape_.cache_layer);
  const int64_t at_row = cache.pool_row(run.slot);
  kernels::ConvInputs conv_in = conv_inputs(mine.narrow(2, 0, shape_.inner), {});
  conv_in.window = windows.narrow(0, at_row, 1);
  const Tensor conv = kernels::causal_conv1d_forward(conv_in);
  windows[at_row].copy_(
      kernels::causal_conv1d_window(conv_in.x.squeeze(0), windows[at_row], shape_.conv_kernel));
  const Tensor low_TR = parts_.x_proj.forward(conv.squeeze(0));
  const Tensor dt_TI = parts_.dt_proj.forward(low_TR.narrow(1, 0, shape_.dt_rank));
  kernels::ScanInputs inputs =
      scan_inputs(conv, dt_TI.unsqueeze(0), mine.narrow(2, shape_.inner, shape_.inner), low_TR.unsqueeze(0));
  inputs.initial = states.narrow(0, at_row, 1);
  const kernels::ScanForward scanned = kernels::selective_scan_forward(inputs);
  states[at_row].copy_(scanned.final_state.squeeze(0));
  return scanned.out.squeeze(0);
}

Tensor Mamba1::step(const Tensor& x_TH, const Batch& batch, Side&, Cache& cache) {
  const Tensor in_TI = parts_.in.forward(parts_.norm.apply(x_TH));
  const std::vector<SlotRun> runs = runs_of_slots(batch.slot);
  Tensor out_TI;
  if (is_decode(runs)) {
    const Tensor rows = cache.pool_rows(slots_of(runs));
    const Tensor conv =
        kernels::causal_conv1d_step(in_TI.narrow(1, 0, shape_.inner), parts_.conv_weight->full(),
                                    parts_.conv_bias != nullptr ? parts_.conv_bias->full() : Tensor(),
                                    cache.windows(shape_.cache_layer), rows);
    const Tensor low_TR = parts_.x_proj.forward(conv);
    const Tensor dt_TI = parts_.dt_proj.forward(low_TR.narrow(1, 0, shape_.dt_rank));
    out_TI = kernels::selective_scan_step(
        scan_inputs(conv, dt_TI, in_TI.narrow(1, shape_.inner, shape_.inner), low_TR),
        cache.states(shape_.cache_layer), rows);
  } else {
    out_TI = at::empty({x_TH.size(0), shape_.inner}, x_TH.options());
    for (const SlotRun& run : runs) {
      out_TI.narrow(0, run.first, run.rows).copy_(step_run(in_TI, run, cache));
    }
  }
  return parts_.out.forward(out_TI);
}

void Mamba1::visit_parameters(const ParameterVisitor& visit) {
  parts_.norm.visit_parameters(visit);
  parts_.in.visit_parameters(visit);
  visit(*parts_.conv_weight);
  if (parts_.conv_bias != nullptr) visit(*parts_.conv_bias);
  parts_.x_proj.visit_parameters(visit);
  parts_.dt_proj.visit_parameters(visit);
  for (Parameter* p : {parts_.dt_bias, parts_.A_log, parts_.D}) visit(*p);
  parts_.out.visit_parameters(visit);
}

}  // namespace phalanx::nn
