#include "phalanx/kernels/causal_conv1d/causal_conv1d_ref.h"

#include <ATen/ATen.h>

#include <vector>

#include "phalanx/kernels/arguments.h"

namespace phalanx::kernels {
namespace {

// What a row's taps meet, all rows at once.
struct Taps {
  std::vector<Tensor> inputs;  // [B, S, C] of tap k, zero outside the row's document
  std::vector<Tensor> same;    // [B, S, 1] of tap k: whether that input counts; undefined without documents
};

Taps taps_of(const ConvInputs& in) {
  const int64_t rows = in.x.size(1);
  const int64_t taps = in.weight.size(1);
  const Tensor before =
      in.window.defined() ? in.window : at::zeros({in.x.size(0), taps - 1, in.x.size(2)}, in.x.options());
  const Tensor padded = at::cat({before, in.x}, 1).to(arithmetic_dtype(in.x));
  Tensor documents;
  if (in.document.defined()) {
    documents = at::cat({in.document.narrow(1, 0, 1).expand({-1, taps - 1}), in.document}, 1);
  }
  Taps result;
  for (int64_t k = 0; k < taps; ++k) {
    Tensor input = padded.narrow(1, k, rows);
    Tensor same;
    if (documents.defined()) {
      same = (documents.narrow(1, k, rows) == in.document).unsqueeze(2);
      input = at::where(same, input, at::zeros({}, input.options()));
    }
    result.inputs.push_back(input);
    result.same.push_back(same);
  }
  return result;
}

// c [B, S, C]
Tensor sum_of(const Taps& taps, const ConvInputs& in) {
  const at::ScalarType dtype = arithmetic_dtype(in.x);
  const Tensor weight = in.weight.to(dtype);
  Tensor c = in.bias.defined() ? in.bias.to(dtype).expand_as(in.x) : at::zeros_like(taps.inputs[0]);
  for (size_t k = 0; k < taps.inputs.size(); ++k) {
    c = c + weight.select(1, static_cast<int64_t>(k)) * taps.inputs[k];
  }
  return c;
}

// Sum over all dims but the last.
Tensor sum_rows(const Tensor& tensor) {
  return tensor.reshape({-1, tensor.size(-1)}).sum(0);
}

}  // namespace

Tensor causal_conv1d_forward_ref(const ConvInputs& in) {
  const Tensor c = sum_of(taps_of(in), in);
  return (c * at::sigmoid(c)).to(in.x.scalar_type());
}

ConvGradients causal_conv1d_backward_ref(const Tensor& dy, const ConvInputs& in, Tensor dx) {
  const int64_t rows = in.x.size(1);
  const int64_t taps = in.weight.size(1);
  const Taps met = taps_of(in);
  const Tensor c = sum_of(met, in);
  const Tensor s = at::sigmoid(c);
  const Tensor g = dy.to(c.scalar_type()) * s * (1.0 + c * (1.0 - s));
  const Tensor weight = in.weight.to(c.scalar_type());
  const Tensor padded = at::zeros({in.x.size(0), rows + taps - 1, in.x.size(2)}, c.options());
  std::vector<Tensor> dweight;
  for (int64_t k = 0; k < taps; ++k) {
    const auto index = static_cast<size_t>(k);
    const Tensor own = g * weight.select(1, k);
    padded.narrow(1, k, rows).add_(met.same[index].defined() ? own * met.same[index] : own);
    dweight.push_back(sum_rows(g * met.inputs[index]));
  }
  dx.copy_(padded.narrow(1, taps - 1, rows));
  ConvGradients result;
  result.dweight = at::stack(dweight, 1);
  if (in.bias.defined()) result.dbias = sum_rows(g);
  if (in.window.defined()) result.dwindow = padded.narrow(1, 0, taps - 1).clone();
  return result;
}

Tensor causal_conv1d_step_ref(const Tensor& x, const Tensor& weight, const Tensor& bias,
                              const Tensor& windows, const Tensor& slot) {
  const Tensor window = windows.index_select(0, slot);
  const Tensor row = x.unsqueeze(1);
  const Tensor y =
      causal_conv1d_forward_ref({.x = row, .weight = weight, .bias = bias, .document = {}, .window = window});
  const int64_t kept = weight.size(1) - 1;
  if (kept > 0) Tensor(windows).index_copy_(0, slot, at::cat({window, row}, 1).narrow(1, 1, kept));
  return y.squeeze(1);
}

}  // namespace phalanx::kernels
