#include "phalanx/plan/plan_flops.h"

#include "phalanx/base/error.h"
#include "phalanx/telemetry/flops.h"

namespace phalanx {
namespace {

double mamba_flops(const PlanModel& model, double tokens) {
  const MambaSizes& m = model.mamba;
  const auto hidden = static_cast<double>(model.hidden);
  const auto inner = static_cast<double>(m.inner);
  const double in_projection = 2 * hidden * static_cast<double>(m.in_width());
  const double conv = 2 * static_cast<double>(m.conv * m.conv_width());
  return tokens * (in_projection + conv + 2 * inner * hidden) + meter_scan_flops(m, tokens);
}

double mamba1_flops(const PlanModel& model, double tokens) {
  const Mamba1Sizes& m = model.mamba1;
  const auto inner = static_cast<double>(m.inner);
  const double products =
      3 * static_cast<double>(model.hidden) + static_cast<double>(m.low_width() + m.dt_rank);
  return tokens * inner * (2 * products + 2 * static_cast<double>(m.conv) + 9 * static_cast<double>(m.state));
}

// Training FLOPs of a model that has only what is counted here; causal.
double gpt_part(const PlanModel& model, int64_t attention_layers, int64_t mlp_layers, int64_t vocab,
                const TokenBatch& batch) {
  return gpt_flops_packed({.attention_layers = attention_layers,
                           .mlp_layers = mlp_layers,
                           .hidden = model.hidden,
                           .mlp_hidden = model.ffn,
                           .vocab = vocab,
                           .heads = model.heads,
                           .kv_groups = model.kv_groups,
                           .head_dim = model.head_dim,
                           .gated_mlp = model.gated_mlp},
                          batch.tokens, batch.squared_lengths);
}

}  // namespace

TokenBatch token_batch(int64_t batch, int64_t sequence) {
  const double tokens = static_cast<double>(batch) * static_cast<double>(sequence);
  return {.tokens = tokens, .squared_lengths = tokens * static_cast<double>(sequence)};
}

double core_flops(const PlanModel& model, const TokenBatch& batch, AttentionSpan span) {
  const double square = batch.squared_lengths * static_cast<double>(model.query_width());
  return span == AttentionSpan::kFull ? 4 * square : 2 * square;
}

double meter_scan_flops(const MambaSizes& mamba, double tokens) {
  return tokens * 7 * static_cast<double>(mamba.inner) * static_cast<double>(mamba.state);
}

double ssd_flops(const MambaSizes& mamba, double tokens, int64_t chunk) {
  const auto inner = static_cast<double>(mamba.inner);
  const auto shared = static_cast<double>(mamba.groups * mamba.state);
  return tokens *
         (static_cast<double>(chunk) * (shared + inner) + 4 * inner * static_cast<double>(mamba.state));
}

double layer_flops(const PlanModel& model, LayerKind kind, const TokenBatch& batch, AttentionSpan span) {
  PHALANX_CHECK(is_plannable(kind), "a kind of layer that cannot be planned");
  if (kind == LayerKind::kMamba2) return mamba_flops(model, batch.tokens);
  if (kind == LayerKind::kMamba1) return mamba1_flops(model, batch.tokens);
  if (kind == LayerKind::kMlp) return gpt_part(model, 0, 1, 0, batch) / 3;
  const double causal = gpt_part(model, 1, 0, 0, batch) / 3;
  return span == AttentionSpan::kCausal ? causal : causal + core_flops(model, batch, AttentionSpan::kCausal);
}

double head_flops(const PlanModel& model, const TokenBatch& batch) {
  return gpt_part(model, 0, 0, model.vocab, batch) / 3;
}

double forward_flops(const PlanModel& model, const TokenBatch& batch, AttentionSpan span) {
  check_plannable(model.pattern, "pattern of " + model.name);
  double flops = head_flops(model, batch);
  for (const LayerKind kind : kPlannableKinds) {
    const int64_t layers = model.count(kind);
    if (layers > 0) flops += static_cast<double>(layers) * layer_flops(model, kind, batch, span);
  }
  return flops;
}

StepFlops step_flops(const PlanModel& model, PlanRecompute policy, const TokenBatch& batch,
                     AttentionSpan span, double recomputed) {
  const double forward = forward_flops(model, batch, span);
  double again = 0;
  switch (policy) {
    case PlanRecompute::kNone:
      break;
    case PlanRecompute::kSelective:
      again = static_cast<double>(model.count(LayerKind::kAttention)) * core_flops(model, batch, span);
      break;
    case PlanRecompute::kFull:
      again = forward - head_flops(model, batch);
      break;
  }
  return {.model = 3 * forward, .hardware = 3 * forward + recomputed * again};
}

PaperFlops paper_flops(int64_t batch, int64_t sequence, int64_t layers, int64_t hidden, int64_t vocab) {
  const TokenBatch tokens = token_batch(batch, sequence);
  const auto h = static_cast<double>(hidden);
  const double width = static_cast<double>(layers) * h;
  const double cores = 4 * tokens.squared_lengths * width;  // forward, B s^2 l h
  const double layers_forward = 24 * tokens.tokens * width * h + cores;
  const double model = paper_gpt_flops(batch, sequence, layers, hidden, vocab);
  return {.model = model, .selective = model + 3 * cores, .full = model + layers_forward};
}

}  // namespace phalanx
