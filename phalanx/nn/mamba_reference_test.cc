// The plain state-space layers that the tests of this folder compare with: one row after the other, no chunks.
#include <ATen/ATen.h>

#include <cmath>

#include "phalanx/nn/test_reference.h"

namespace phalanx::nn::testing {
namespace {

Tensor plain_softplus(const Tensor& x) {
  return at::where(x.gt(20.0), x, x.clamp_max(20.0).exp().log1p());
}

Tensor plain_silu(const Tensor& x) {
  return x * x.sigmoid();
}

bool starts_document(const Batch& batch, int64_t row, int64_t first) {
  if (row == first) return true;
  return batch.document.defined() &&
         batch.document[row].item<int64_t>() != batch.document[row - 1].item<int64_t>();
}

// x [T, C], samples of `length` rows.
Tensor reference_conv(const Tensor& x, const Values& values, const std::string& name, int64_t length,
                      const Batch& batch) {
  const Tensor weight = values.at(name + ".weight");
  const int64_t taps = weight.size(1);
  std::vector<Tensor> rows;
  int64_t start = 0;  // of the document
  for (int64_t t = 0; t < x.size(0); ++t) {
    if (starts_document(batch, t, t / length * length)) start = t;
    Tensor c = at::zeros({x.size(1)}, x.options());
    if (values.contains(name + ".bias")) c = c + values.at(name + ".bias");
    for (int64_t k = 0; k < taps && t - k >= start; ++k) c = c + weight.select(1, taps - 1 - k) * x[t - k];
    rows.push_back(plain_silu(c));
  }
  return at::stack(rows, 0);
}

}  // namespace

Tensor reference_mamba2(const Tensor& x, const Values& values, int index, const ModelConfig& config,
                        const Batch& batch) {
  const std::string layer = "layers." + std::to_string(index);
  const std::string mamba = layer + ".mamba";
  const int64_t heads = config.mamba_num_heads;
  const int64_t groups = config.mamba_num_groups;
  const int64_t inner = heads * config.mamba_head_dim;
  const int64_t states = config.mamba_state_dim;
  const int64_t length = config.seq_length;
  const Tensor u = reference_norm(x, values, layer + ".norm", config);
  const Tensor in = u.matmul(values.at(mamba + ".in.weight").t());
  const Tensor z = in.narrow(1, 0, inner);
  const Tensor conv = reference_conv(in.narrow(1, inner, inner + 2 * groups * states), values,
                                     mamba + ".conv", length, batch);
  const Tensor delta =
      plain_softplus(in.narrow(1, 2 * inner + 2 * groups * states, heads) + values.at(mamba + ".dt_bias"))
          .clamp(config.mamba_dt_min, config.mamba_dt_limit());
  const Tensor A = -values.at(mamba + ".A_log").exp();
  std::vector<Tensor> outputs;
  Tensor state;
  for (int64_t t = 0; t < x.size(0); ++t) {
    if (starts_document(batch, t, t / length * length)) {
      state = at::zeros({heads, config.mamba_head_dim, states}, x.options());
    }
    const Tensor x_t = conv[t].narrow(0, 0, inner).view({heads, config.mamba_head_dim});
    const auto of_heads = [&](int64_t first) {
      return conv[t]
          .narrow(0, first, groups * states)
          .view({groups, states})
          .repeat_interleave(heads / groups, 0);
    };
    const Tensor B = of_heads(inner);
    const Tensor C = of_heads(inner + groups * states);
    const Tensor d = delta[t].view({heads, 1, 1});
    state = (d * A.view({heads, 1, 1})).exp() * state + d * x_t.unsqueeze(2) * B.unsqueeze(1);
    const Tensor y = (state * C.unsqueeze(1)).sum(2) + values.at(mamba + ".D").unsqueeze(1) * x_t;
    outputs.push_back(y.reshape({inner}));
  }
  const Tensor y = at::stack(outputs, 0);
  const Tensor v = config.mamba_norm_before_gate ? y : y * plain_silu(z);
  const Tensor by_group = v.view({v.size(0), -1, config.mamba_norm_group_size});
  Tensor o = (by_group / (by_group.square().mean(2, /*keepdim=*/true) + config.norm_epsilon).sqrt())
                 .view(v.sizes()) *
             values.at(mamba + ".norm.weight");
  if (config.mamba_norm_before_gate) o = o * plain_silu(z);
  return o.matmul(values.at(mamba + ".out.weight").t());
}

Tensor reference_mamba1(const Tensor& x, const Values& values, int index, const ModelConfig& config,
                        const Batch& batch) {
  const std::string layer = "layers." + std::to_string(index);
  const std::string mamba = layer + ".mamba1";
  const int64_t inner = config.mamba1_inner();
  const int64_t states = config.mamba1_state_dim;
  const int64_t rank = config.mamba1_dt_rank;
  const Tensor u = reference_norm(x, values, layer + ".norm", config);
  const Tensor in = u.matmul(values.at(mamba + ".in.weight").t());
  const Tensor conv =
      reference_conv(in.narrow(1, 0, inner), values, mamba + ".conv", config.seq_length, batch);
  const Tensor low = conv.matmul(values.at(mamba + ".x_proj.weight").t());
  const Tensor delta =
      plain_softplus(low.narrow(1, 0, rank).matmul(values.at(mamba + ".dt_proj.weight").t()) +
                     values.at(mamba + ".dt_bias"));
  const Tensor A = -values.at(mamba + ".A_log").exp();
  std::vector<Tensor> outputs;
  Tensor state;
  for (int64_t t = 0; t < x.size(0); ++t) {
    if (starts_document(batch, t, t / config.seq_length * config.seq_length)) {
      state = at::zeros({inner, states}, x.options());
    }
    const Tensor d = delta[t].unsqueeze(1);
    state = (d * A).exp() * state + d * conv[t].unsqueeze(1) * low[t].narrow(0, rank, states);
    outputs.push_back((state * low[t].narrow(0, rank + states, states)).sum(1) +
                      values.at(mamba + ".D") * conv[t]);
  }
  const Tensor o = at::stack(outputs, 0) * plain_silu(in.narrow(1, inner, inner));
  return o.matmul(values.at(mamba + ".out.weight").t());
}

}  // namespace phalanx::nn::testing
