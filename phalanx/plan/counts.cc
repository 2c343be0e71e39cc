#include "phalanx/plan/counts.h"

#include <algorithm>
#include <array>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

int64_t norm_parameters(const PlanModel& model, int64_t width) {
  return model.norm_bias ? 2 * width : width;
}

// What a rank of `tp` holds of `groups` things: a share, or a replica of one where there are more ranks.
int64_t share(int64_t groups, int64_t tp) {
  return std::max<int64_t>(groups / tp, 1);
}

int64_t attention_parameters(const PlanModel& model, int64_t tp) {
  const int64_t query = model.heads / tp * model.head_dim;
  const int64_t key = share(model.kv_groups, tp) * model.head_dim;
  int64_t count = (query + 2 * key) * model.hidden + query * model.hidden;
  if (model.bias || model.qkv_bias) count += query + 2 * key;
  if (model.bias) count += model.hidden;
  if (model.qk_norm) count += 2 * model.head_dim;  // weights alone
  return count;
}

int64_t mlp_parameters(const PlanModel& model, int64_t tp) {
  const int64_t inner = model.ffn / tp;
  const int64_t up = model.gated_mlp ? 2 * inner : inner;
  return up * model.hidden + inner * model.hidden + (model.bias ? up + model.hidden : 0);
}

int64_t mamba_parameters(const PlanModel& model, int64_t tp) {
  const MambaSizes& m = model.mamba;
  const int64_t inner = m.inner / tp;
  const int64_t heads = m.heads() / tp;
  const int64_t conv_width = inner + 2 * share(m.groups, tp) * m.state;
  const int64_t in_width = inner + conv_width + heads;
  const int64_t conv = conv_width * (m.conv + (m.conv_bias ? 1 : 0));
  return model.hidden * in_width + conv + 3 * heads + inner + inner * model.hidden;
}

int64_t mamba1_parameters(const PlanModel& model, int64_t tp) {
  const Mamba1Sizes& m = model.mamba1;
  const int64_t inner = m.inner / tp;
  const int64_t conv = inner * (m.conv + (m.conv_bias ? 1 : 0));
  // dt_bias and D, then A_log.
  return 3 * inner * model.hidden + conv + inner * (m.low_width() + m.dt_rank) + 2 * inner + inner * m.state;
}

int64_t head_parameters(const PlanModel& model, int64_t rows) {
  return norm_parameters(model, model.hidden) + rows * model.hidden;
}

}  // namespace

int64_t paper_parameters(int64_t layers, int64_t hidden, int64_t vocab, int64_t sequence) {
  return layers * (12 * hidden * hidden + 13 * hidden) + (vocab + sequence) * hidden;
}

int64_t layer_parameters(const PlanModel& model, LayerKind kind, int64_t tp) {
  PHALANX_CHECK(is_plannable(kind), "a kind of layer that cannot be planned");
  const int64_t norm = norm_parameters(model, model.hidden);
  if (kind == LayerKind::kAttention) return norm + attention_parameters(model, tp);
  if (kind == LayerKind::kMlp) return norm + mlp_parameters(model, tp);
  return norm + (kind == LayerKind::kMamba2 ? mamba_parameters(model, tp) : mamba1_parameters(model, tp));
}

ParameterCounts count_parameters(const PlanModel& model) {
  check_plannable(model.pattern, "pattern of " + model.name);
  const auto all = [&](LayerKind kind) {
    const int64_t layers = model.count(kind);
    return layers == 0 ? 0 : layers * layer_parameters(model, kind);
  };
  const int64_t table = model.token_rows() * model.hidden;
  return {.token_embedding = table,
          .position_embedding = model.positions * model.hidden,
          .attention = all(LayerKind::kAttention),
          .mlp = all(LayerKind::kMlp),
          .mamba = all(LayerKind::kMamba2) + all(LayerKind::kMamba1),
          .final_norm = norm_parameters(model, model.hidden),
          .head = model.tied ? 0 : table};
}

std::vector<StageParameters> stage_parameters(const PlanModel& model, const PlanLayout& layout) {
  check_plannable(model.pattern, "pattern of " + model.name);
  const int64_t rows = model.vocab / layout.tp;
  // One array by character instead of a map: the planner comes here for every layout of a search.
  std::array<int64_t, 128> by_kind{};
  for (const LayerKind kind : kPlannableKinds) {
    if (model.count(kind) > 0) by_kind[static_cast<size_t>(kind)] = layer_parameters(model, kind, layout.tp);
  }
  std::vector<StageParameters> stages;
  for (const StageSlice& slice : stage_slices(model, layout)) {
    StageParameters stage;
    for (size_t i = slice.begin; i < slice.end; ++i) {
      const int64_t count = by_kind[static_cast<size_t>(model.pattern.layers[i])];
      stage.layers += count;
      stage.largest_layer = std::max(stage.largest_layer, count);
    }
    stages.push_back(stage);
  }
  stages.front().embedding = (rows + model.positions) * model.hidden;
  const bool own_head = !model.tied || stages.size() > 1;
  stages.back().head = head_parameters(model, own_head ? rows : 0);
  return stages;
}

int64_t rank_parameter_count(const PlanModel& model, const PlanLayout& layout,
                             const std::vector<StageParameters>& stages, const std::vector<int>& chunks) {
  const auto last = static_cast<int>(stages.size()) - 1;
  int64_t count = 0;
  bool has_first = false;
  bool has_last = false;
  for (const int stage : chunks) {
    count += stages[static_cast<size_t>(stage)].total();
    has_first |= stage == 0;
    has_last |= stage == last;
  }
  const bool counted_twice = model.tied && last > 0 && has_first && has_last;
  return counted_twice ? count - model.vocab / layout.tp * model.hidden : count;
}

std::vector<int64_t> rank_parameters(const PlanModel& model, const PlanLayout& layout) {
  const std::vector<StageParameters> stages = stage_parameters(model, layout);
  std::vector<int64_t> ranks;
  for (const std::vector<int>& chunks : layout_placement(layout))
    ranks.push_back(rank_parameter_count(model, layout, stages, chunks));
  return ranks;
}

}  // namespace phalanx
