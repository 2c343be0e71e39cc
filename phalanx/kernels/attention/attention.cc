#include "phalanx/kernels/attention/attention.h"

#include <ATen/ATen.h>

#include <limits>

#include "phalanx/kernels/dropout/dropout.h"

namespace phalanx::kernels {
namespace {

// [S, S] true where key j is visible to query i of sample b.
Tensor visible(const AttentionInputs& in, const AttentionSpec& spec, int64_t b) {
  const int64_t s = in.q.size(1);
  const auto options = at::TensorOptions(at::kLong).device(in.q.device());
  const Tensor i = at::arange(s, options).unsqueeze(1), j = at::arange(s, options).unsqueeze(0);
  Tensor mask = j <= i;
  if (spec.window > 0) mask = mask & ((i - j) < spec.window);
  if (in.document.defined()) {
    const Tensor d = in.document[b];
    mask = mask & (d.unsqueeze(1) == d.unsqueeze(0));
  }
  return mask;
}

Tensor keep(const AttentionInputs& in, const AttentionSpec& spec, int64_t b) {
  const int64_t s = in.q.size(1), a = in.q.size(2);
  const auto options = at::TensorOptions(at::kLong).device(in.q.device());
  const Tensor head = at::arange(a, options).view({a, 1, 1}) + spec.first_head;
  const Tensor i = at::arange(s, options).view({1, s, 1}), j = at::arange(s, options).view({1, 1, s});
  const Tensor index = ((in.sample[b] * spec.num_heads_global + head) * s + i) * s + j;
  return dropout_keep_mask(index, spec.key, spec.dropout);
}

at::ScalarType wide(const Tensor& x) { return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat; }

Tensor heads(const Tensor& x, int64_t a) {  // [S, G, D] -> [A, S, D]
  return x.permute({1, 0, 2}).to(wide(x)).repeat_interleave(a / x.size(1), 0);
}

}  // namespace

AttentionForward attention_forward_ref(const AttentionInputs& in, const AttentionSpec& spec) {
  const int64_t a = in.q.size(2);
  std::vector<Tensor> outs, lses;
  for (int64_t b = 0; b < in.q.size(0); ++b) {
    Tensor scores = heads(in.q[b], a).matmul(heads(in.k[b], a).transpose(1, 2)) * spec.scale;
    scores = scores.masked_fill(~visible(in, spec, b), -std::numeric_limits<double>::infinity());
    const Tensor lse = scores.logsumexp(-1);
    Tensor p = (scores - lse.unsqueeze(-1)).exp();
    if (spec.dropout > 0) p = p * keep(in, spec, b) / (1 - spec.dropout);
    outs.push_back(p.matmul(heads(in.v[b], a)).permute({1, 0, 2}).to(in.q.scalar_type()));
    lses.push_back(lse);
  }
  return {at::stack(outs).contiguous(), at::stack(lses)};
}

void attention_backward_ref(const Tensor& dout, const AttentionInputs& in, const AttentionForward& saved,
                            const AttentionSpec& spec, Tensor dq, Tensor dk, Tensor dv) {
  const int64_t a = in.q.size(2), g = in.k.size(2), s = in.q.size(1), d = in.q.size(3);
  const auto fold = [&](const Tensor& x) { return x.view({g, a / g, s, d}).sum(1).permute({1, 0, 2}); };
  for (int64_t b = 0; b < in.q.size(0); ++b) {
    const Tensor q = heads(in.q[b], a), k = heads(in.k[b], a), v = heads(in.v[b], a);
    const Tensor go = heads(dout[b], a), o = heads(saved.out[b], a);
    Tensor scores = q.matmul(k.transpose(1, 2)) * spec.scale;
    scores = scores.masked_fill(~visible(in, spec, b), -std::numeric_limits<double>::infinity());
    const Tensor p = (scores - saved.lse[b].unsqueeze(-1)).exp();
    Tensor dropped = p, dp = go.matmul(v.transpose(1, 2));
    if (spec.dropout > 0) {
      const Tensor mask = keep(in, spec, b) / (1 - spec.dropout);
      dropped = p * mask;
      dp = dp * mask;
    }
    const Tensor ds = p * (dp - (go * o).sum(-1, true)) * spec.scale;
    dq[b].copy_(ds.matmul(k).permute({1, 0, 2}));
    dk[b].copy_(fold(ds.transpose(1, 2).matmul(q)));
    dv[b].copy_(fold(dropped.transpose(1, 2).matmul(go)));
  }
}

AttentionForward attention_forward(const AttentionInputs& in, const AttentionSpec& spec) {
  return attention_forward_ref(in, spec);
}

void attention_backward(const Tensor& dout, const AttentionInputs& in, const AttentionForward& saved,
                        const AttentionSpec& spec, Tensor dq, Tensor dk, Tensor dv) {
  attention_backward_ref(dout, in, saved, spec, dq, dk, dv);
}

Tensor attention_step(const Tensor& q, const Tensor& k, const Tensor& v, int64_t first, const AttentionSpec& spec) {
  const int64_t n = q.size(0), a = q.size(1), l = k.size(0);
  const auto options = at::TensorOptions(at::kLong).device(q.device());
  const Tensor i = at::arange(first, first + n, options).unsqueeze(1), j = at::arange(l, options).unsqueeze(0);
  Tensor mask = j <= i;
  if (spec.window > 0) mask = mask & ((i - j) < spec.window);
  Tensor scores = heads(q, a).matmul(heads(k, a).transpose(1, 2)) * spec.scale;
  scores = scores.masked_fill(~mask, -std::numeric_limits<double>::infinity());
  return scores.softmax(-1).matmul(heads(v, a)).permute({1, 0, 2}).to(q.scalar_type()).contiguous();
}

}  // namespace phalanx::kernels
