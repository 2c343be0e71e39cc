#include "phalanx/nn/attention.h"

#include <ATen/ATen.h>

#include <cmath>

#include "phalanx/base/error.h"
#include "phalanx/nn/rows.h"

namespace phalanx::nn {
SelfAttention::SelfAttention(Parts parts, const AttentionShape& shape)
    : parts_(std::move(parts)), shape_(shape) {
  PHALANX_CHECK(parts_.q_norm.has_value() == parts_.k_norm.has_value(), "norms of q and k come together");
  PHALANX_CHECK(shape.num_groups > 0 && shape.num_heads % shape.num_groups == 0,
                "groups divide the query heads");
}

SelfAttention::Heads SelfAttention::split(const Tensor& qkv) const {
  const int64_t heads = shape_.num_heads;
  const int64_t groups = shape_.num_groups;
  const Tensor all = qkv.view({qkv.size(0), heads + 2 * groups, shape_.head_dim});
  return {all.narrow(1, 0, heads), all.narrow(1, heads, groups), all.narrow(1, heads + groups, groups)};
}

void SelfAttention::rotate(const Tensor& heads, const Tensor& position, bool inverse) const {
  if (shape_.rotary) kernels::rotary_(heads, position, *shape_.rotary, inverse);
}

SelfAttention::Heads SelfAttention::push_heads(const Tensor& qkv, const Batch& batch, Stash& stash) const {
  Heads heads = split(qkv);
  const auto turn = [this, position = batch.position](Tensor& x) { rotate(x, position, /*inverse=*/false); };
  if (!parts_.q_norm) {
    turn(heads.q_TAD);
    turn(heads.k_TGD);
    stash.push(qkv, "attention qkv");
    return heads;
  }
  const Norm::Output q = parts_.q_norm->forward(heads.q_TAD, stash);
  const Norm::Output k = parts_.k_norm->forward(heads.k_TGD, stash);
  stash.push(qkv, "attention qkv");
  parts_.q_norm->push_output(q, stash, turn);
  parts_.k_norm->push_output(k, stash, turn);
  heads.q_TAD = q.y;
  heads.k_TGD = k.y;
  turn(heads.q_TAD);
  turn(heads.k_TGD);
  return heads;
}

SelfAttention::Heads SelfAttention::pop_heads(Stash& stash) const {
  if (!parts_.q_norm) return split(stash.pop());
  const Tensor k = stash.pop();
  const Tensor q = stash.pop();
  return {q, k, split(stash.pop()).v_TGD};
}

kernels::AttentionInputs SelfAttention::inputs(const Heads& heads, const Batch& batch) const {
  kernels::AttentionInputs in{.q = by_sample(heads.q_TAD, batch),
                              .k = by_sample(heads.k_TGD, batch),
                              .v = by_sample(heads.v_TGD, batch),
                              .document = documents_by_sample(batch),
                              .sample = {}};
  if (batch.training && shape_.dropout > 0.0) {
    const Tensor first_id = by_sample(batch.token_id, batch).select(1, 0);
    in.sample = first_id.div(batch.seq_length, "floor");
  }
  return in;
}

kernels::AttentionSpec SelfAttention::spec(const Batch& batch) const {
  return {.scale = 1.0 / std::sqrt(static_cast<double>(shape_.head_dim)),
          .window = shape_.window,
          .dropout = batch.training ? shape_.dropout : 0.0,
          .key = batch.random_key(RandomPurpose::kAttentionDropout, shape_.index),
          .num_heads_global = shape_.num_heads_global,
          .first_head = shape_.first_head};
}

Tensor SelfAttention::forward(const Tensor& x_TH, const Batch& batch, Side&, Stash& stash) {
  Norm::Output normed = parts_.norm.forward(x_TH, stash);
  parts_.norm.push_output(normed, stash);
  const bool sharded = batch.rows_are_sharded();
  const Tensor qkv = parts_.qkv.forward(normed.y, sharded);
  normed = {};  // y is rebuilt in backward
  const Heads heads = push_heads(qkv, batch, stash);
  const kernels::AttentionForward result = kernels::attention_forward(inputs(heads, batch), spec(batch));
  stash.push(result.out, "attention output");
  stash.push(result.lse, "attention lse");
  return parts_.out.forward(result.out.view({qkv.size(0), shape_.num_heads * shape_.head_dim}), sharded);
}

Tensor SelfAttention::backward(const Tensor& dy_TH, const Batch& batch, Side&, Stash& stash,
                               WeightGrads& grads) {
  const bool sharded = batch.rows_are_sharded();
  const int64_t width = (shape_.num_heads + 2 * shape_.num_groups) * shape_.head_dim;
  Tensor dqkv;
  {
    kernels::AttentionForward saved;
    saved.lse = stash.pop();
    saved.out = stash.pop();
    const kernels::AttentionInputs in = inputs(pop_heads(stash), batch);
    const Tensor out = saved.out.view({-1, shape_.num_heads * shape_.head_dim});
    const Tensor dout = parts_.out.backward(dy_TH, out, grads, sharded);
    dqkv = at::empty({dout.size(0), width}, dout.options());
    const Heads d = split(dqkv);
    const auto like = [&](const Tensor& grad, const Tensor& x) { return grad.view(x.sizes()); };
    kernels::attention_backward(dout.view(in.q.sizes()), in, saved, spec(batch), like(d.q_TAD, in.q),
                                like(d.k_TGD, in.k), like(d.v_TGD, in.v));
  }
  const Heads d = split(dqkv);
  rotate(d.q_TAD, batch.position, /*inverse=*/true);
  rotate(d.k_TGD, batch.position, /*inverse=*/true);
  if (parts_.q_norm) {
    d.k_TGD.copy_(parts_.k_norm->backward(d.k_TGD, stash, grads));
    d.q_TAD.copy_(parts_.q_norm->backward(d.q_TAD, stash, grads));
  }
  const Tensor dnormed = parts_.qkv.backward(dqkv, /*x=*/stash.pop(), grads, sharded);
  return parts_.norm.backward(dnormed, stash, grads);
}

Tensor SelfAttention::step(const Tensor& x_TH, const Batch& batch, Side&, Cache& cache) {
  Stash none = Stash::null();
  const Heads heads = push_heads(parts_.qkv.forward(parts_.norm.apply(x_TH)), batch, none);
  kernels::AttentionSpec attention = spec(batch);
  attention.dropout = 0.0;
  const int64_t layer = shape_.cache_layer;
  const std::vector<SlotRun> runs = runs_of_slots(batch.slot);
  if (is_decode(runs)) {
    for (const SlotRun& run : runs) {
      cache.append(layer, run.slot, heads.k_TGD.narrow(0, run.first, 1), heads.v_TGD.narrow(0, run.first, 1));
    }
    const std::vector<int64_t> slots = slots_of(runs);
    const Tensor out =
        kernels::attention_decode(heads.q_TAD, cache.pages(layer), cache.page_table(layer, slots),
                                  cache.lengths(layer, slots), attention);
    return parts_.out.forward(out.flatten(1));
  }
  const Tensor out = at::empty({x_TH.size(0), shape_.num_heads, shape_.head_dim}, x_TH.options());
  for (const SlotRun& run : runs) {
    const auto mine = [&run](const Tensor& x) { return x.narrow(0, run.first, run.rows); };
    const int64_t first = cache.length(layer, run.slot);
    cache.append(layer, run.slot, mine(heads.k_TGD), mine(heads.v_TGD));
    const auto [k, v] = cache.read(layer, run.slot);
    mine(out).copy_(kernels::attention_step(mine(heads.q_TAD), k, v, first, attention));
  }
  return parts_.out.forward(out.flatten(1));
}

void SelfAttention::visit_parameters(const ParameterVisitor& visit) {
  parts_.norm.visit_parameters(visit);
  parts_.qkv.visit_parameters(visit);
  if (parts_.q_norm) {
    parts_.q_norm->visit_parameters(visit);
    parts_.k_norm->visit_parameters(visit);
  }
  parts_.out.visit_parameters(visit);
}

}  // namespace phalanx::nn
