// PaperAttention of paper_layers.h: plain batched products, with all probabilities.
#include <ATen/ATen.h>

#include <limits>

#include "phalanx/base/error.h"
#include "phalanx/kernels/arguments.h"
#include "phalanx/kernels/attention/attention_mask.h"
#include "phalanx/nn/paper_layers.h"

namespace phalanx::nn {
namespace {

// [B, S, G, D] -> [B, A, S, D], groups repeated for their heads.
Tensor by_head(const Tensor& x, int64_t heads) {
  const int64_t repeats = heads / x.size(2);
  return x.to(kernels::arithmetic_dtype(x)).repeat_interleave(repeats, 2).transpose(1, 2);
}

// Back, summed over the heads of a group: [B, A, S, D] -> [B, S, G, D].
Tensor by_group(const Tensor& x, int64_t groups) {
  return x.transpose(1, 2).unflatten(2, {groups, -1}).sum(3);
}

Tensor hidden_pairs(const kernels::AttentionInputs& in, int64_t window) {
  const int64_t rows = in.q.size(1);
  std::vector<Tensor> samples;
  for (int64_t b = 0; b < in.q.size(0); ++b) {
    const Tensor document = in.document.defined() ? in.document.select(0, b) : Tensor();
    samples.push_back(kernels::hidden_keys(0, rows, 0, rows, window, document, in.q.device()));
  }
  return at::stack(samples).unsqueeze(1);
}

Tensor kept_probabilities(const kernels::AttentionInputs& in, const kernels::AttentionSpec& spec) {
  std::vector<Tensor> samples;
  for (int64_t b = 0; b < in.q.size(0); ++b) {
    const Tensor dropped = kernels::dropped_probabilities(spec, in.sample[b].item<int64_t>(), in.q.size(2),
                                                          in.q.size(1), in.q.device());
    samples.push_back(dropped.logical_not());
  }
  return at::stack(samples);
}

}  // namespace

PaperAttention::PaperAttention(Parts parts, const AttentionShape& shape, bool recompute_core)
    : SelfAttention(std::move(parts), shape), recompute_core_(recompute_core) {
  PHALANX_CHECK(!parts_.q_norm.has_value(), "the paper's attention has no norms of q and k");
}

PaperAttention::Core PaperAttention::compute_core(const kernels::AttentionInputs& in,
                                                  const kernels::AttentionSpec& spec) const {
  const int64_t heads = in.q.size(2);
  const at::ScalarType dtype = in.q.scalar_type();
  Tensor scores = at::matmul(by_head(in.q, heads) * spec.scale, by_head(in.k, heads).transpose(2, 3));
  scores.masked_fill_(hidden_pairs(in, spec.window), -std::numeric_limits<double>::infinity());
  Core core;
  core.softmax = scores.softmax(-1).to(dtype);
  core.dropped = core.softmax;
  if (spec.dropout == 0.0) return core;
  core.mask = kept_probabilities(in, spec);
  core.dropped = core.softmax.mul(core.mask).mul_(1.0 / (1.0 - spec.dropout));
  return core;
}

void PaperAttention::push_core(const Core& core, Stash& stash) const {
  if (recompute_core_) return;
  stash.push(core.softmax, "softmax output");
  if (!core.mask.defined()) return;
  stash.push(core.mask, "softmax mask");
  stash.push(core.dropped, "softmax dropout output");
}

PaperAttention::Core PaperAttention::pop_core(Stash& stash, bool dropout) const {
  Core core;
  if (recompute_core_) return core;
  if (dropout) {
    core.dropped = stash.pop();
    core.mask = stash.pop();
  }
  core.softmax = stash.pop();
  if (!dropout) core.dropped = core.softmax;
  return core;
}

Tensor PaperAttention::forward(const Tensor& x_TH, const Batch& batch, Side&, Stash& stash) {
  const bool sharded = batch.rows_are_sharded();
  const Tensor normed = parts_.norm.forward_of_input(x_TH, stash, "norm input");
  stash.push(normed, "qkv input");
  Heads heads = split(parts_.qkv.forward(normed, sharded));
  rotate(heads.q_TAD, batch.position, /*inverse=*/false);
  rotate(heads.k_TGD, batch.position, /*inverse=*/false);
  for (Tensor* part : {&heads.q_TAD, &heads.k_TGD, &heads.v_TGD})
    *part = part->clone(at::MemoryFormat::Contiguous);
  stash.push(heads.q_TAD, "query and key");
  stash.push(heads.k_TGD, "query and key");
  const kernels::AttentionInputs in = inputs(heads, batch);
  const Core core = compute_core(in, spec(batch));
  push_core(core, stash);
  stash.push(heads.v_TGD, "value");
  const Tensor v = by_head(in.v, shape_.num_heads);
  const Tensor out = at::matmul(core.dropped.to(v.scalar_type()), v).transpose(1, 2);
  const Tensor out_TH =
      out.to(x_TH.scalar_type()).reshape({-1, shape_.num_heads * shape_.head_dim}).contiguous();
  stash.push(out_TH, "projection input");
  return parts_.out.forward(out_TH, sharded);
}

Tensor PaperAttention::backward(const Tensor& dy_TH, const Batch& batch, Side&, Stash& stash,
                                WeightGrads& grads) {
  const bool sharded = batch.rows_are_sharded();
  const kernels::AttentionSpec attention = spec(batch);
  const Tensor dout_TH = parts_.out.backward(dy_TH, /*x=*/stash.pop(), grads, sharded);
  Heads heads;
  heads.v_TGD = stash.pop();
  Core core = pop_core(stash, attention.dropout > 0);
  heads.k_TGD = stash.pop();
  heads.q_TAD = stash.pop();
  const kernels::AttentionInputs in = inputs(heads, batch);
  if (recompute_core_) core = compute_core(in, attention);
  const at::ScalarType dtype = kernels::arithmetic_dtype(in.q);
  const Tensor dout = dout_TH.view(in.q.sizes()).to(dtype).transpose(1, 2);
  const Tensor dv = at::matmul(core.dropped.to(dtype).transpose(2, 3), dout);
  Tensor dp = at::matmul(dout, by_head(in.v, shape_.num_heads).transpose(2, 3));
  if (core.mask.defined()) dp.mul_(core.mask).mul_(1.0 / (1.0 - attention.dropout));
  const Tensor p = core.softmax.to(dtype);
  const Tensor dscores = p * (dp - (dp * p).sum(-1, /*keepdim=*/true)) * attention.scale;
  const Tensor dq = at::matmul(dscores, by_head(in.k, shape_.num_heads)).transpose(1, 2);
  const Tensor dk = at::matmul(dscores.transpose(2, 3), by_head(in.q, shape_.num_heads));
  const int64_t width = (shape_.num_heads + 2 * shape_.num_groups) * shape_.head_dim;
  const Tensor dqkv = at::empty({dout_TH.size(0), width}, dout_TH.options());
  const Heads d = split(dqkv);
  d.q_TAD.copy_(dq.reshape(d.q_TAD.sizes()));
  d.k_TGD.copy_(by_group(dk, shape_.num_groups).reshape(d.k_TGD.sizes()));
  d.v_TGD.copy_(by_group(dv, shape_.num_groups).reshape(d.v_TGD.sizes()));
  rotate(d.q_TAD, batch.position, /*inverse=*/true);
  rotate(d.k_TGD, batch.position, /*inverse=*/true);
  const Tensor dnormed = parts_.qkv.backward(dqkv, /*x=*/stash.pop(), grads, sharded);
  return parts_.norm.backward_of_input(dnormed, stash, grads);
}

}  // namespace phalanx::nn
