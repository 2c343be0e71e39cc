#include "phalanx/plan/flops_meter.h"

#include "phalanx/telemetry/flops.h"

namespace phalanx {
namespace {

double times(int64_t layers, double flops) {
  return static_cast<double>(layers) * flops;
}

// What telemetry's meter knows: attention, MLPs, logits.
double gpt_part(const MeterModel& m, const TokenBatch& batch, bool output_gate) {
  return gpt_flops_packed({.attention_layers = m.attention_layers,
                           .mlp_layers = m.mlp_layers,
                           .hidden = m.hidden,
                           .mlp_hidden = m.ffn,
                           .vocab = m.vocab,
                           .heads = m.heads,
                           .kv_groups = m.kv_groups,
                           .head_dim = m.head_dim,
                           .gated_mlp = m.gated_mlp,
                           .output_gate = output_gate},
                          batch.tokens, batch.squared_lengths);
}

double expert_layer(const MeterModel& m, const TokenBatch& batch) {
  const ExpertSizes& e = m.experts;
  const int64_t matrices = m.gated_mlp ? 3 : 2;
  const int64_t width = e.latent == 0 ? m.hidden : e.latent;
  int64_t weights = e.top_k * matrices * e.ffn * width + matrices * e.shared_ffn * m.hidden;
  if (e.latent > 0) weights += 2 * e.latent * m.hidden;
  return 6 * batch.tokens * static_cast<double>(weights);
}

double latent_layer(const MeterModel& m, const TokenBatch& batch) {
  const LatentAttentionSizes& a = m.latent;
  const int64_t query = m.heads * (a.head_dim + a.rope_dim);
  const int64_t value = m.heads * a.value_dim;
  int64_t weights = a.query_rank == 0 ? m.hidden * query : a.query_rank * (m.hidden + query + 1);
  weights += a.key_rank * (m.hidden + m.heads * a.head_dim + value + 1) + m.hidden * a.rope_dim;
  weights += value * m.hidden;
  return 6 * batch.tokens * static_cast<double>(weights) +
         3 * batch.squared_lengths * static_cast<double>(query + value);
}

double mamba_layer(const MeterModel& m, const TokenBatch& batch, int64_t inner, bool with_conv) {
  const MambaSizes& s = m.mamba;
  const int64_t conv_width = inner + 2 * s.groups * s.state;
  const int64_t in_width = inner + conv_width + s.heads();
  int64_t a_token = 2 * m.hidden * in_width + 7 * inner * s.state + 2 * inner * m.hidden;
  if (with_conv) a_token += 2 * s.conv * conv_width;
  return 3 * batch.tokens * static_cast<double>(a_token);
}

}  // namespace

MeterModel meter_model(const PlanModel& model) {
  check_plannable(model.pattern, "pattern of " + model.name);
  return {.hybrid = !is_transformer(model.pattern),
          .attention_layers = model.count(LayerKind::kAttention),
          .mlp_layers = model.count(LayerKind::kMlp),
          .mamba_layers = model.count(LayerKind::kMamba2),
          .hidden = model.hidden,
          .heads = model.heads,
          .kv_groups = model.kv_groups,
          .head_dim = model.head_dim,
          .ffn = model.ffn,
          .vocab = model.vocab,
          .gated_mlp = model.gated_mlp,
          .mamba = model.mamba};
}

MeterReading read_meter(const MeterModel& m, const TokenBatch& batch) {
  const double experts = times(m.expert_layers, expert_layer(m, batch));
  const double latent = times(m.latent_layers, latent_layer(m, batch));
  const double routers =
      times(m.expert_layers, 6 * batch.tokens * static_cast<double>(m.hidden * m.experts.experts));
  const double mamba = times(m.mamba_layers, mamba_layer(m, batch, 2 * m.hidden, /*with_conv=*/false));
  const double true_mamba = times(m.mamba_layers, mamba_layer(m, batch, m.mamba.inner, /*with_conv=*/true));
  return {
      .megatron = gpt_part(m, batch, m.output_gate && !m.hybrid) + experts + (m.hybrid ? 0 : latent) + mamba,
      .corrected = gpt_part(m, batch, m.output_gate) + experts + routers + latent + true_mamba};
}

}  // namespace phalanx
