#include "phalanx/plan/layer_time.h"

#include <algorithm>

#include "phalanx/base/error.h"
#include "phalanx/plan/roofline.h"

namespace phalanx {
namespace {

// Bytes of a 16-bit element that is read or written once.
constexpr double kElement = 2;

struct Sizes {
  int64_t rows = 0;       // T
  int64_t rows_here = 0;  // of norms and residuals
  double residual = 0;    // elements of norms and residuals
};

Sizes sizes_of(const PriceContext& c) {
  Sizes sizes;
  sizes.rows = c.layout.micro_batch * c.model.sequence / c.layout.cp;
  sizes.rows_here = c.layout.sequence_parallel ? std::max<int64_t>(sizes.rows / c.layout.tp, 1) : sizes.rows;
  sizes.residual = static_cast<double>(sizes.rows_here) * static_cast<double>(c.model.hidden);
  return sizes;
}

int64_t shard(int64_t size, int64_t ranks) {
  return std::max<int64_t>((size + ranks - 1) / ranks, 1);
}

// Forward, input gradient and weight gradient of rows x [k, n].
struct LinearTime {
  double forward = 0;
  double input = 0;
  double weight = 0;
};

LinearTime linear_time(int64_t rows, int64_t n, int64_t k, const Cluster& cluster) {
  return {.forward = product_seconds({.m = rows, .n = n, .k = k}, cluster),
          .input = product_seconds({.m = rows, .n = k, .k = n}, cluster),
          .weight = product_seconds({.m = n, .n = k, .k = rows}, cluster)};
}

// A column-parallel product, something in between, a row-parallel product: the shape of every layer kind here.
LayerTime pair_of_linears(const LinearTime& column, const LinearTime& row, const PriceContext& c) {
  LayerTime time;
  time.forward.product = column.forward + row.forward;
  time.backward_input.product = column.input + row.input;
  time.backward_weight.product = column.weight + row.weight;
  if (c.layout.tp == 1) return time;
  const LayerComm& comm = c.comm;
  if (c.layout.sequence_parallel) {
    time.forward.tensor = 2 * comm.gather;
    const double again = c.software.overlap_tensor ? std::max(0.0, comm.gather - column.input) : comm.gather;
    time.backward_input.tensor = 2 * comm.gather + again;
    time.hidden = c.software.overlap_tensor ? std::min(comm.gather, column.weight) : 0;
  } else {
    time.forward.tensor = comm.all_reduce;
    time.backward_input.tensor = comm.all_reduce;
    time.hidden = c.software.overlap_tensor ? std::min(comm.all_reduce, column.weight) : 0;
  }
  return time;
}

void add_residual(const PriceContext& c, LayerTime& time) {
  const double elements = sizes_of(c).residual;
  const bool dropout = c.model.dropout;
  time.forward.pointwise += memory_seconds(elements * (2 * kElement + (dropout ? 7 : 6)), c.cluster);
  time.backward_input.pointwise += memory_seconds(elements * (4 * kElement + (dropout ? 5 : 4)), c.cluster);
}

// Scores and their use. Without fusion every score is written and read several times.
void add_attention_core(const PriceContext& c, LayerTime& time) {
  const int64_t heads = c.layout.micro_batch * shard(c.model.heads, c.layout.tp);
  const int64_t s = c.model.sequence;
  const int64_t queries = std::max<int64_t>(s / c.layout.cp, 1);
  const double products =
      product_seconds({.m = queries, .n = s, .k = c.model.head_dim, .batch = heads}, c.cluster) +
      product_seconds({.m = queries, .n = c.model.head_dim, .k = s, .batch = heads}, c.cluster);
  if (c.software.fused_attention) {
    // The causal half alone; backward has five products for the two forward.
    time.forward.core = products / 2;
    time.backward_input.core = 2.5 * products / 2;
  } else {
    const double scores = static_cast<double>(heads) * static_cast<double>(queries) * static_cast<double>(s);
    time.forward.core = products + memory_seconds(scores * (c.model.dropout ? 9 : 4), c.cluster);
    time.backward_input.core = 2 * products + memory_seconds(scores * (c.model.dropout ? 11 : 6), c.cluster);
  }
  time.forward.context = std::max(0.0, c.comm.context_ring - time.forward.core);
  time.backward_input.context = std::max(0.0, 2 * c.comm.context_ring - time.backward_input.core);
}

LayerTime attention_time(const PriceContext& c) {
  const int64_t rows = sizes_of(c).rows;
  const int64_t q = shard(c.model.heads, c.layout.tp) * c.model.head_dim;
  const int64_t kv = shard(c.model.kv_groups, c.layout.tp) * c.model.head_dim;
  LayerTime time = pair_of_linears(linear_time(rows, q + 2 * kv, c.model.hidden, c.cluster),
                                   linear_time(rows, c.model.hidden, q, c.cluster), c);
  add_attention_core(c, time);
  add_residual(c, time);
  return time;
}

LayerTime mlp_time(const PriceContext& c) {
  const int64_t rows = sizes_of(c).rows;
  const int64_t ffn = shard(c.model.ffn, c.layout.tp);
  const int64_t up = c.model.gated_mlp ? 2 * ffn : ffn;
  LayerTime time = pair_of_linears(linear_time(rows, up, c.model.hidden, c.cluster),
                                   linear_time(rows, c.model.hidden, ffn, c.cluster), c);
  const double elements = static_cast<double>(rows) * static_cast<double>(ffn);
  time.forward.pointwise = memory_seconds(elements * (c.model.gated_mlp ? 6 : 4), c.cluster);
  time.backward_input.pointwise = memory_seconds(elements * (c.model.gated_mlp ? 10 : 6), c.cluster);
  add_residual(c, time);
  return time;
}

// Chunks of 128 rows: C B^T in each group, scores times x, the states of chunks and what they add (models.md 2.3).
double scan_seconds(const PriceContext& c, int64_t rows) {
  constexpr int64_t kChunk = 128;
  const MambaSizes& m = c.model.mamba;
  const int64_t heads = shard(m.heads(), c.layout.tp);
  const int64_t groups = shard(m.groups, c.layout.tp);
  const int64_t chunks = (rows + kChunk - 1) / kChunk;
  const auto [batch_g, batch_h] = std::pair(chunks * groups, chunks * heads);
  return product_seconds({.m = kChunk, .n = kChunk, .k = m.state, .batch = batch_g}, c.cluster) +
         product_seconds({.m = kChunk, .n = m.head_dim, .k = kChunk, .batch = batch_h}, c.cluster) +
         product_seconds({.m = m.head_dim, .n = m.state, .k = kChunk, .batch = batch_h}, c.cluster) +
         product_seconds({.m = kChunk, .n = m.head_dim, .k = m.state, .batch = batch_h}, c.cluster);
}

LayerTime mamba_time(const PriceContext& c) {
  const int64_t rows = sizes_of(c).rows;
  const MambaSizes& m = c.model.mamba;
  const int64_t t = c.layout.tp;
  const int64_t inner = shard(m.inner, t);
  const int64_t states = 2 * shard(m.groups, t) * m.state;
  LayerTime time =
      pair_of_linears(linear_time(rows, 2 * inner + states + shard(m.heads(), t), c.model.hidden, c.cluster),
                      linear_time(rows, c.model.hidden, inner, c.cluster), c);
  time.forward.core = scan_seconds(c, rows);
  time.backward_input.core = 2 * time.forward.core;
  const auto r = static_cast<double>(rows);
  const double conv = r * static_cast<double>(inner + states);
  const double gated_norm = r * static_cast<double>(inner);
  time.forward.pointwise = memory_seconds(conv * 4 + gated_norm * 6, c.cluster);
  time.backward_input.pointwise = memory_seconds(conv * 8 + gated_norm * 10, c.cluster);
  add_residual(c, time);
  return time;
}

// The scan is priced by the bytes it moves; its arithmetic, which no matrix unit does, is not.
LayerTime mamba1_time(const PriceContext& c) {
  const int64_t rows = sizes_of(c).rows;
  const Mamba1Sizes& m = c.model.mamba1;
  const int64_t inner = shard(m.inner, c.layout.tp);
  LayerTime time = pair_of_linears(linear_time(rows, 2 * inner, c.model.hidden, c.cluster),
                                   linear_time(rows, c.model.hidden, inner, c.cluster), c);
  for (const LinearTime& linear :
       {linear_time(rows, m.low_width(), inner, c.cluster), linear_time(rows, inner, m.dt_rank, c.cluster)}) {
    time.forward.product += linear.forward;
    time.backward_input.product += linear.input;
    time.backward_weight.product += linear.weight;
  }
  const double elements = static_cast<double>(rows) * static_cast<double>(inner);
  time.forward.core = memory_seconds(elements * 4, c.cluster);
  time.backward_input.core = memory_seconds(elements * 8, c.cluster);
  time.forward.pointwise = memory_seconds(elements * 4, c.cluster);
  time.backward_input.pointwise = memory_seconds(elements * 8, c.cluster);
  add_residual(c, time);
  return time;
}

void add_recompute(const PriceContext& c, LayerKind kind, LayerTime& time) {
  const bool all =
      c.layout.recompute == PlanRecompute::kFull || (c.layout.recompute_mlp && kind == LayerKind::kMlp);
  if (all) time.recompute = time.forward;
  // Fused attention keeps no scores: there is nothing to compute again that its backward does not already do.
  if (c.layout.recompute == PlanRecompute::kSelective && !c.software.fused_attention) {
    time.recompute.core = time.forward.core;
  }
}

}  // namespace

Work operator+(const Work& a, const Work& b) {
  return {.product = a.product + b.product,
          .core = a.core + b.core,
          .pointwise = a.pointwise + b.pointwise,
          .tensor = a.tensor + b.tensor,
          .context = a.context + b.context};
}

Work operator*(double factor, const Work& work) {
  return {.product = factor * work.product,
          .core = factor * work.core,
          .pointwise = factor * work.pointwise,
          .tensor = factor * work.tensor,
          .context = factor * work.context};
}

LayerTime operator+(const LayerTime& a, const LayerTime& b) {
  return {.forward = a.forward + b.forward,
          .backward_input = a.backward_input + b.backward_input,
          .backward_weight = a.backward_weight + b.backward_weight,
          .recompute = a.recompute + b.recompute,
          .hidden = a.hidden + b.hidden};
}

LayerTime layer_time(LayerKind kind, const PriceContext& context) {
  LayerTime time;
  switch (kind) {
    case LayerKind::kAttention:
      time = attention_time(context);
      break;
    case LayerKind::kMlp:
      time = mlp_time(context);
      break;
    case LayerKind::kMamba2:
      time = mamba_time(context);
      break;
    case LayerKind::kMamba1:
      time = mamba1_time(context);
      break;
    case LayerKind::kExperts:
    case LayerKind::kCrossAttention:
      PHALANX_CHECK(false, "check_layout refuses kinds that have no price");
  }
  add_recompute(context, kind, time);
  return time;
}

LayerTime head_time(const PriceContext& c) {
  const int64_t rows = sizes_of(c).rows;
  const int64_t vocab = shard(c.model.vocab, c.layout.tp);
  const LinearTime logits = linear_time(rows, vocab, c.model.hidden, c.cluster);
  LayerTime time;
  time.forward.product = logits.forward;
  time.backward_input.product = logits.input;
  time.backward_weight.product = logits.weight;
  // 16-bit logits to fp32, the exponentials, and their gradient back to 16 bits.
  const double elements = static_cast<double>(rows) * static_cast<double>(vocab);
  const double norm = sizes_of(c).residual;
  time.forward.pointwise = memory_seconds(elements * 10 + norm * 4, c.cluster);
  time.backward_input.pointwise = memory_seconds(elements * 6 + norm * 8, c.cluster);
  if (c.layout.tp > 1) {
    if (c.layout.sequence_parallel) time.forward.tensor = c.comm.gather;
    time.backward_input.tensor = c.layout.sequence_parallel ? c.comm.gather : c.comm.all_reduce;
    if (c.software.overlap_tensor) time.hidden = std::min(time.backward_input.tensor, logits.weight);
  }
  return time;
}

LayerTime embedding_time(const PriceContext& c) {
  const double elements = sizes_of(c).residual;
  LayerTime time;
  time.forward.pointwise = memory_seconds(elements * 7, c.cluster);
  time.backward_weight.pointwise = memory_seconds(elements * 10, c.cluster);
  if (c.layout.tp > 1) time.forward.tensor = c.layout.sequence_parallel ? c.comm.gather : c.comm.all_reduce;
  return time;
}

}  // namespace phalanx
