#include "phalanx/kernels/attention/attention_vendor.h"

#include <ATen/ATen.h>

#include <limits>
#include <optional>
#include <tuple>
#include <vector>

#include "phalanx/kernels/attention/attention_mask.h"

namespace phalanx::kernels {
namespace {

// The vendor's layout [B, heads, S, D] is a view of ours; it reads grouped keys and values without repeating them.
Tensor heads_first(const Tensor& x) {
  return x.transpose(1, 2);
}

// A causal kernel skips what lies above the diagonal, so the mask only adds the window and the documents.
std::optional<Tensor> additive_mask(const AttentionInputs& in, const AttentionSpec& spec,
                                    const Tensor& document) {
  const int64_t S = in.q.size(1);
  if (!document.defined() && (spec.window == 0 || spec.window >= S)) return std::nullopt;
  const Tensor hidden = hidden_keys(0, S, 0, S, spec.window, document, in.q.device());
  return at::zeros({1, 1, S, S}, in.q.options())
      .masked_fill_(hidden, -std::numeric_limits<double>::infinity());
}

AttentionInputs sample_of(const AttentionInputs& in, int64_t b) {
  return {in.q.narrow(0, b, 1), in.k.narrow(0, b, 1), in.v.narrow(0, b, 1), {}, {}};
}

AttentionForward forward_cpu(const AttentionInputs& in, const std::optional<Tensor>& mask, double scale) {
  auto [out, lse] = at::_scaled_dot_product_flash_attention_for_cpu(
      heads_first(in.q), heads_first(in.k), heads_first(in.v), 0.0, /*is_causal=*/true, mask, scale);
  return {heads_first(out).contiguous(), lse};  // its memory already is [B, S, A, D]
}

void backward_cpu(const Tensor& dout, const AttentionInputs& in, const AttentionForward& saved,
                  const std::optional<Tensor>& mask, double scale, Tensor dq, Tensor dk, Tensor dv) {
  auto [gq, gk, gv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
      heads_first(dout), heads_first(in.q), heads_first(in.k), heads_first(in.v), heads_first(saved.out),
      saved.lse, 0.0,
      /*is_causal=*/true, mask, scale);
  dq.copy_(heads_first(gq));
  dk.copy_(heads_first(gk));
  dv.copy_(heads_first(gv));
}

AttentionForward forward_cuda(const AttentionInputs& in, double scale) {
  const auto result =
      at::_scaled_dot_product_flash_attention(heads_first(in.q), heads_first(in.k), heads_first(in.v), 0.0,
                                              /*is_causal=*/true, /*return_debug_mask=*/false, scale);
  return {heads_first(std::get<0>(result)).contiguous(), std::get<1>(result)};
}

void backward_cuda(const Tensor& dout, const AttentionInputs& in, const AttentionForward& saved, double scale,
                   Tensor dq, Tensor dk, Tensor dv) {
  const int64_t S = in.q.size(1);
  // Lengths of packed sequences and the random state are not read without packing and dropout.
  const Tensor none;
  const Tensor no_state = at::zeros({2}, in.q.options().dtype(at::kLong));
  auto [gq, gk, gv] = at::_scaled_dot_product_flash_attention_backward(
      heads_first(dout), heads_first(in.q), heads_first(in.k), heads_first(in.v), heads_first(saved.out),
      saved.lse, none, none, S, S, 0.0, /*is_causal=*/true, no_state, no_state, scale);
  dq.copy_(heads_first(gq));
  dk.copy_(heads_first(gk));
  dv.copy_(heads_first(gv));
}

}  // namespace

bool vendor_serves(const AttentionInputs& in, const AttentionSpec& spec) {
  if (spec.dropout > 0.0) return false;
  if (in.q.device().is_cpu()) return true;
  const bool half = in.q.scalar_type() == at::kHalf || in.q.scalar_type() == at::kBFloat16;
  const int64_t D = in.q.size(3);
  return in.q.device().is_cuda() && half && spec.window == 0 && !in.document.defined() && D % 8 == 0 &&
         D <= 256;
}

AttentionForward attention_forward_vendor(const AttentionInputs& in, const AttentionSpec& spec) {
  if (!in.q.device().is_cpu()) return forward_cuda(in, spec.scale);
  if (!in.document.defined()) return forward_cpu(in, additive_mask(in, spec, {}), spec.scale);
  // One mask a sample, one sample at a time.
  std::vector<Tensor> outs;
  std::vector<Tensor> lses;
  for (int64_t b = 0; b < in.q.size(0); ++b) {
    const auto mask = additive_mask(in, spec, in.document.select(0, b));
    const AttentionForward sample = forward_cpu(sample_of(in, b), mask, spec.scale);
    outs.push_back(sample.out);
    lses.push_back(sample.lse);
  }
  return {at::cat(outs), at::cat(lses)};
}

void attention_backward_vendor(const Tensor& dout, const AttentionInputs& in, const AttentionForward& saved,
                               const AttentionSpec& spec, Tensor dq, Tensor dk, Tensor dv) {
  if (!in.q.device().is_cpu()) return backward_cuda(dout, in, saved, spec.scale, dq, dk, dv);
  if (!in.document.defined()) {
    return backward_cpu(dout, in, saved, additive_mask(in, spec, {}), spec.scale, dq, dk, dv);
  }
  for (int64_t b = 0; b < in.q.size(0); ++b) {
    const auto mask = additive_mask(in, spec, in.document.select(0, b));
    const AttentionForward sample{saved.out.narrow(0, b, 1), saved.lse.narrow(0, b, 1)};
    backward_cpu(dout.narrow(0, b, 1), sample_of(in, b), sample, mask, spec.scale, dq.narrow(0, b, 1),
                 dk.narrow(0, b, 1), dv.narrow(0, b, 1));
  }
}

}  // namespace phalanx::kernels
