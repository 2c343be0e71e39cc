#include "phalanx/plan/plan_model.h"

#include <algorithm>

#include <fmt/format.h>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

constexpr size_t kMarkWindow = 30;  // layers shown on each side of a mistake

// Where the layer stands in the text that `expand` writes: a `|` goes before each later stage.
size_t place_in_text(const Pattern& pattern, size_t layer) {
  size_t bars = 0;
  for (size_t stage = 1; stage < pattern.num_stages(); ++stage) {
    if (pattern.stage_begin[stage] <= layer) ++bars;
  }
  return layer + bars;
}

std::string describe_layer(const Pattern& pattern, size_t layer) {
  const LayerKind kind = pattern.layers[layer];
  return fmt::format("layer {} of kind {} ({})", layer, static_cast<char>(kind), layer_kind_name(kind));
}

const LayerKind* find_unplannable(const Pattern& pattern) {
  const auto it = std::find_if_not(pattern.layers.begin(), pattern.layers.end(), is_plannable);
  return it == pattern.layers.end() ? nullptr : &*it;
}

}  // namespace

int64_t PlanModel::count(LayerKind kind) const {
  return std::count(pattern.layers.begin(), pattern.layers.end(), kind);
}

bool is_plannable(LayerKind kind) {
  return std::find(kPlannableKinds.begin(), kPlannableKinds.end(), kind) != kPlannableKinds.end();
}

void check_plannable(const Pattern& pattern, const std::string& where) {
  const LayerKind* const found = find_unplannable(pattern);
  if (found == nullptr) return;
  const auto layer = static_cast<size_t>(found - pattern.layers.data());
  const std::string text = expand(pattern);
  const size_t at = place_in_text(pattern, layer);
  const size_t begin = at > kMarkWindow ? at - kMarkWindow : 0;
  const std::string lead = begin > 0 ? "..." : "";
  const std::string tail = begin + 2 * kMarkWindow < text.size() ? "..." : "";
  throw Error(ErrorKind::kBadInput,
              {.where = where,
               .got = describe_layer(pattern, layer),
               .needed = "kinds that can be planned: * (attention), - (MLP) and M (Mamba-2)",
               .fix = fmt::format("change the marked layer\n    {}{}{}\n    {}^", lead,
                                  text.substr(begin, 2 * kMarkWindow), tail,
                                  std::string(lead.size() + at - begin, ' '))});
}

PlanModel plan_model(const ModelConfig& config, std::string name) {
  PlanModel model;
  model.name = std::move(name);
  model.pattern = parse_pattern(config.pattern);
  check_plannable(model.pattern, "model.pattern");
  model.hidden = config.hidden_size;
  model.heads = config.num_attention_heads;
  model.kv_groups = config.num_query_groups;
  model.head_dim = config.kv_channels;
  model.ffn = config.ffn_hidden_size;
  model.vocab = config.padded_vocab_size();
  model.true_vocab = config.vocab_size;
  model.sequence = config.seq_length;
  const bool learned = config.position_embedding == PositionKind::kLearnedAbsolute;
  model.positions = learned ? config.max_position_embeddings : 0;
  model.gated_mlp = is_gated(config.activation);
  model.bias = config.bias;
  model.qkv_bias = config.qkv_bias;
  model.qk_norm = config.qk_norm;
  model.norm_bias = config.normalization == NormKind::kLayerNorm;
  model.tied = config.tied_embeddings;
  model.dropout = config.hidden_dropout > 0 || config.attention_dropout > 0;
  if (model.count(LayerKind::kMamba2) > 0) {
    model.mamba = {.inner = config.mamba_inner(),
                   .state = config.mamba_state_dim,
                   .groups = config.mamba_num_groups,
                   .head_dim = config.mamba_head_dim,
                   .conv = config.mamba_conv_kernel,
                   .conv_bias = config.mamba_conv_bias};
    const int64_t own = config.mamba_inner() / config.mamba_num_groups;
    if (config.mamba_norm_group_size != own) model.mamba.norm_group = config.mamba_norm_group_size;
  }
  if (model.count(LayerKind::kMamba1) > 0) {
    model.mamba1 = {.inner = config.mamba1_inner(),
                    .state = config.mamba1_state_dim,
                    .dt_rank = config.mamba1_dt_rank,
                    .conv = config.mamba_conv_kernel,
                    .conv_bias = config.mamba_conv_bias};
  }
  return model;
}

PlanModel paper_gpt(std::string name, int64_t layers, int64_t hidden, int64_t heads, int64_t vocab,
                    int64_t sequence) {
  PHALANX_CHECK(layers > 0 && hidden > 0 && heads > 0 && hidden % heads == 0,
                "a GPT has layers, and heads that divide its width");
  PlanModel model;
  model.name = std::move(name);
  model.pattern = parse_pattern(fmt::format("(*-)x{}", layers));
  model.hidden = hidden;
  model.heads = heads;
  model.kv_groups = heads;
  model.head_dim = hidden / heads;
  model.ffn = 4 * hidden;
  model.vocab = vocab;
  model.sequence = sequence;
  model.positions = sequence;
  return model;
}

std::vector<std::string> model_violations(const PlanModel& model) {
  std::vector<std::string> violations;
  const auto positive = [&](const char* name, int64_t value) {
    if (value < 1) violations.push_back(fmt::format("{} = {} is below 1", name, value));
    return value >= 1;
  };
  const auto divides = [&](const char* name, int64_t value, const char* part_name, int64_t part) {
    if (value % part != 0)
      violations.push_back(fmt::format("{} = {} is no multiple of {} = {}", name, value, part_name, part));
  };
  if (model.pattern.layers.empty()) violations.emplace_back("the pattern has no layer");
  if (const LayerKind* const found = find_unplannable(model.pattern)) {
    const auto layer = static_cast<size_t>(found - model.pattern.layers.data());
    violations.push_back(describe_layer(model.pattern, layer) + " cannot be planned");
  }
  positive("hidden", model.hidden);
  positive("vocab", model.vocab);
  positive("sequence", model.sequence);
  if (model.count(LayerKind::kAttention) > 0) {
    bool ok = positive("head_dim", model.head_dim);
    ok &= positive("heads", model.heads);
    if (positive("kv_groups", model.kv_groups) && ok)
      divides("heads", model.heads, "kv_groups", model.kv_groups);
  }
  if (model.count(LayerKind::kMlp) > 0) positive("ffn", model.ffn);
  if (model.count(LayerKind::kMamba2) > 0) {
    bool ok = positive("mamba.inner", model.mamba.inner);
    ok &= positive("mamba.head_dim", model.mamba.head_dim);
    ok &= positive("mamba.groups", model.mamba.groups);
    ok &= positive("mamba.state", model.mamba.state);
    ok &= positive("mamba.conv", model.mamba.conv);
    if (ok) {
      divides("mamba.inner", model.mamba.inner, "mamba.head_dim", model.mamba.head_dim);
      divides("mamba heads", model.mamba.heads(), "mamba.groups", model.mamba.groups);
    }
  }
  if (model.count(LayerKind::kMamba1) > 0) {
    positive("mamba1.inner", model.mamba1.inner);
    positive("mamba1.state", model.mamba1.state);
    positive("mamba1.dt_rank", model.mamba1.dt_rank);
    positive("mamba1.conv", model.mamba1.conv);
  }
  return violations;
}

}  // namespace phalanx
