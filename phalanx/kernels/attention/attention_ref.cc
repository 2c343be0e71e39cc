// The reference path: one sample at a time. The queries of a group are stacked, [G, R S, D] with R = A / G, so that
// keys and values are never repeated.
#include <ATen/ATen.h>

#include <limits>
#include <vector>

#include "phalanx/kernels/arguments.h"
#include "phalanx/kernels/attention/attention.h"
#include "phalanx/kernels/attention/attention_mask.h"

namespace phalanx::kernels {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

// [S, A, D] -> [G, R S, D]
Tensor grouped(const Tensor& x, int64_t G) {
  const int64_t S = x.size(0);
  const int64_t R = x.size(1) / G;
  return x.to(arithmetic_dtype(x)).unflatten(1, {G, R}).permute({1, 2, 0, 3}).reshape({G, R * S, x.size(2)});
}

// [G, R S, D] -> [S, A, D]
Tensor ungrouped(const Tensor& x, int64_t S) {
  const int64_t G = x.size(0);
  const int64_t R = x.size(1) / S;
  return x.view({G, R, S, x.size(2)}).permute({2, 0, 1, 3}).reshape({S, G * R, x.size(2)});
}

// [S, G, D] -> [G, S, D]
Tensor by_group(const Tensor& x) {
  return x.to(arithmetic_dtype(x)).transpose(0, 1);
}

// Scores [G, R S, S] with -inf where a key is hidden.
Tensor masked_scores(const Tensor& q, const Tensor& k, const Tensor& hidden, double scale) {
  Tensor scores = (q * scale).bmm(k.transpose(1, 2));
  scores.view({-1, hidden.size(0), hidden.size(1)}).masked_fill_(hidden, kMinusInfinity);
  return scores;
}

Tensor hidden_of_sample(const AttentionInputs& in, const AttentionSpec& spec, int64_t b) {
  const int64_t S = in.q.size(1);
  const Tensor document = in.document.defined() ? in.document.select(0, b) : Tensor();
  return hidden_keys(0, S, 0, S, spec.window, document, in.q.device());
}

// Shaped like the scores; undefined without dropout. The factor 1 / (1 - p) is applied to the small operands.
Tensor dropped_of_sample(const AttentionInputs& in, const AttentionSpec& spec, int64_t b,
                         const Tensor& scores) {
  if (spec.dropout == 0.0) return {};
  const int64_t sample = in.sample[b].item<int64_t>();
  return dropped_probabilities(spec, sample, in.q.size(2), in.q.size(1), in.q.device()).view(scores.sizes());
}

}  // namespace

AttentionForward attention_forward_ref(const AttentionInputs& in, const AttentionSpec& spec) {
  const int64_t S = in.q.size(1);
  std::vector<Tensor> outs;
  std::vector<Tensor> lses;
  for (int64_t b = 0; b < in.q.size(0); ++b) {
    const Tensor q = grouped(in.q.select(0, b), in.k.size(2));
    const Tensor k = by_group(in.k.select(0, b));
    Tensor p = masked_scores(q, k, hidden_of_sample(in, spec, b), spec.scale);
    lses.push_back(p.logsumexp(-1).view({-1, S}));
    p = p.softmax(-1);
    const Tensor dropped = dropped_of_sample(in, spec, b, p);
    if (dropped.defined()) p = p.masked_fill(dropped, 0.0);
    const Tensor out = p.bmm(by_group(in.v.select(0, b)) * (1.0 / (1.0 - spec.dropout)));
    outs.push_back(ungrouped(out, S).to(in.q.scalar_type()));
  }
  return {at::stack(outs), at::stack(lses)};
}

void attention_backward_ref(const Tensor& dout, const AttentionInputs& in, const AttentionForward& saved,
                            const AttentionSpec& spec, Tensor dq, Tensor dk, Tensor dv) {
  const int64_t S = in.q.size(1);
  const int64_t G = in.k.size(2);
  for (int64_t b = 0; b < in.q.size(0); ++b) {
    const Tensor q = grouped(in.q.select(0, b), G);
    const Tensor k = by_group(in.k.select(0, b));
    const Tensor dy = grouped(dout.select(0, b), G);
    const Tensor y = grouped(saved.out.select(0, b), G);
    const Tensor lse = saved.lse.select(0, b).reshape({G, -1, 1});
    Tensor p = masked_scores(q, k, hidden_of_sample(in, spec, b), spec.scale).sub_(lse).exp_();
    const Tensor scaled_dy = dy * (1.0 / (1.0 - spec.dropout));
    Tensor dp = scaled_dy.bmm(by_group(in.v.select(0, b)).transpose(1, 2));
    const Tensor dropped = dropped_of_sample(in, spec, b, p);
    if (dropped.defined()) dp.masked_fill_(dropped, 0.0);
    // sum_j p_ij dp_ij without another pass over S x S: it is the row sum of dout * out.
    dp.sub_((dy * y).sum(-1, /*keepdim=*/true)).mul_(p);  // d scores
    if (dropped.defined()) p.masked_fill_(dropped, 0.0);
    dv.select(0, b).copy_(p.transpose(1, 2).bmm(scaled_dy).transpose(0, 1));
    dq.select(0, b).copy_(ungrouped(dp.bmm(k * spec.scale), S));
    dk.select(0, b).copy_(dp.transpose(1, 2).bmm(q * spec.scale).transpose(0, 1));
  }
}

}  // namespace phalanx::kernels
