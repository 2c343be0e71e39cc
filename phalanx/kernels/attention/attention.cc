#include "phalanx/kernels/attention/attention.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/kernels/attention/attention_vendor.h"

namespace phalanx::kernels {
namespace {

std::string shape_of(const Tensor& x) {
  return fmt::format("{}", fmt::join(x.sizes(), "x"));
}

void check_inputs(const AttentionInputs& in, const AttentionSpec& spec) {
  const Tensor& q = in.q;
  const Tensor& k = in.k;
  PHALANX_CHECK(q.dim() == 4 && k.dim() == 4 && q.size(0) == k.size(0) && q.size(1) == k.size(1) &&
                    q.size(3) == k.size(3) && q.size(2) % k.size(2) == 0 && k.sizes() == in.v.sizes(),
                fmt::format("attention: q {}, k {}, v {}", shape_of(q), shape_of(k), shape_of(in.v)));
  PHALANX_CHECK(
      q.is_floating_point() && q.scalar_type() == k.scalar_type() && q.scalar_type() == in.v.scalar_type(),
      "attention: q, k and v have one floating dtype");
  PHALANX_CHECK(!in.document.defined() || (in.document.dim() == 2 && in.document.size(0) == q.size(0) &&
                                           in.document.size(1) == q.size(1)),
                fmt::format("attention: document {} for q {}", shape_of(in.document), shape_of(q)));
  PHALANX_CHECK(spec.window >= 0 && spec.dropout >= 0.0 && spec.dropout < 1.0,
                fmt::format("attention: window {}, dropout {}", spec.window, spec.dropout));
  if (spec.dropout == 0.0) return;
  PHALANX_CHECK(in.sample.defined() && in.sample.dim() == 1 && in.sample.size(0) == q.size(0),
                "attention: dropout needs the index of every sample");
  PHALANX_CHECK(spec.first_head >= 0 && spec.first_head + q.size(2) <= spec.num_heads_global,
                fmt::format("attention: heads {} to {} of {}", spec.first_head,
                            spec.first_head + q.size(2) - 1, spec.num_heads_global));
}

}  // namespace

AttentionForward attention_forward(const AttentionInputs& in, const AttentionSpec& spec) {
  check_inputs(in, spec);
  return vendor_serves(in, spec) ? attention_forward_vendor(in, spec) : attention_forward_ref(in, spec);
}

void attention_backward(const Tensor& dout, const AttentionInputs& in, const AttentionForward& saved,
                        const AttentionSpec& spec, Tensor dq, Tensor dk, Tensor dv) {
  check_inputs(in, spec);
  PHALANX_CHECK(dout.sizes() == in.q.sizes() && saved.out.sizes() == in.q.sizes() &&
                    dq.sizes() == in.q.sizes() && dk.sizes() == in.k.sizes() && dv.sizes() == in.v.sizes(),
                fmt::format("attention_backward: dout {}, out {}, dq {}, dk {}, dv {}", shape_of(dout),
                            shape_of(saved.out), shape_of(dq), shape_of(dk), shape_of(dv)));
  if (vendor_serves(in, spec)) return attention_backward_vendor(dout, in, saved, spec, dq, dk, dv);
  attention_backward_ref(dout, in, saved, spec, dq, dk, dv);
}

}  // namespace phalanx::kernels
