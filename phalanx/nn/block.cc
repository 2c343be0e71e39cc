#include "phalanx/nn/block.h"

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/nn/attention.h"
#include "phalanx/nn/embedding.h"
#include "phalanx/nn/head.h"
#include "phalanx/nn/mamba1.h"
#include "phalanx/nn/mamba2.h"
#include "phalanx/nn/mlp.h"
#include "phalanx/nn/norm.h"
#include "phalanx/nn/paper_layers.h"
#include "phalanx/nn/residual.h"
#include "phalanx/shard/parameter_layout.h"

namespace phalanx::nn {
namespace {

Norm make_norm(const BuildContext& context, const std::string& name) {
  return Norm(context.parameter(name + ".weight"), context.parameter(name + ".bias"),
              norm_spec(context.config));
}

Linear make_linear(const BuildContext& context, const std::string& name, ShardRule rule) {
  return Linear(context.parameter(name + ".weight"), context.parameter(name + ".bias"), rule,
                context.tensor_group, context.gemm);
}

// The plain class, or the one of paper_layers.h.
template <typename Plain, typename Paper, typename... Args>
ModulePtr make_plain_or_paper(const BuildContext& context, Args&&... args) {
  if (context.paper_stash) return std::make_unique<Paper>(std::forward<Args>(args)...);
  return std::make_unique<Plain>(std::forward<Args>(args)...);
}

ModulePtr make_attention(int index, int64_t cache_layer, const BuildContext& context) {
  const ModelConfig& config = context.config;
  const int64_t ranks = context.tensor_group.size();
  const int64_t groups = config.num_query_groups;
  PHALANX_CHECK(config.num_attention_heads % ranks == 0 && (groups % ranks == 0 || ranks % groups == 0),
                "ranks of a tensor group hold equally many heads, and groups or one shared group");
  AttentionShape shape;
  shape.index = index;
  shape.cache_layer = cache_layer;
  shape.num_heads = config.num_attention_heads / ranks;
  shape.num_groups = groups_of_rank(config, context.tensor_group.size());
  shape.head_dim = config.kv_channels;
  shape.num_heads_global = config.num_attention_heads;
  shape.first_head = context.tensor_group.rank() * shape.num_heads;
  shape.window = config.window_size;
  shape.dropout = config.attention_dropout;
  if (config.position_embedding == PositionKind::kRope) shape.rotary = kernels::rotary_spec(config);

  const std::string layer = fmt::format("layers.{}", index);
  SelfAttention::Parts parts{.norm = make_norm(context, layer + ".norm"),
                             .qkv = make_linear(context, layer + ".attention.qkv", ShardRule::kColumn),
                             .q_norm = {},
                             .k_norm = {},
                             .out = make_linear(context, layer + ".attention.out", ShardRule::kRow)};
  if (config.qk_norm) {
    parts.q_norm = make_norm(context, layer + ".attention.q_norm");
    parts.k_norm = make_norm(context, layer + ".attention.k_norm");
  }
  if (context.paper_stash) {
    return std::make_unique<PaperAttention>(std::move(parts), shape, context.recompute_core);
  }
  return std::make_unique<SelfAttention>(std::move(parts), shape);
}

ModulePtr make_mlp(int index, const BuildContext& context) {
  const ActivationKind activation = context.config.activation;
  const std::string layer = fmt::format("layers.{}", index);
  const std::string up = layer + (is_gated(activation) ? ".mlp.gate_up" : ".mlp.up");
  return make_plain_or_paper<Mlp, PaperMlp>(
      context, make_norm(context, layer + ".norm"), make_linear(context, up, ShardRule::kColumn),
      make_linear(context, layer + ".mlp.down", ShardRule::kRow), activation);
}

ModulePtr make_mamba2(int index, int64_t cache_layer, const BuildContext& context) {
  const ModelConfig& config = context.config;
  const int ranks = context.tensor_group.size();
  Mamba2Shape shape;
  shape.cache_layer = cache_layer;
  shape.num_heads = config.mamba_num_heads / ranks;
  shape.num_groups = mamba_groups_of_rank(config, ranks);
  shape.head_dim = config.mamba_head_dim;
  shape.state_dim = config.mamba_state_dim;
  shape.conv_kernel = config.mamba_conv_kernel;
  const kernels::SsdSpec ssd{
      .chunk = config.mamba_chunk_size, .dt_min = config.mamba_dt_min, .dt_max = config.mamba_dt_limit()};
  const kernels::GatedNormSpec gate_norm{.group_size = config.mamba_norm_group_size,
                                         .epsilon = config.norm_epsilon,
                                         .norm_before_gate = config.mamba_norm_before_gate,
                                         .channels_global = config.mamba_inner(),
                                         .first_channel = context.tensor_group.rank() * shape.inner(),
                                         .group = &context.tensor_group};
  const std::string layer = fmt::format("layers.{}", index);
  const std::string mamba = layer + ".mamba";
  Mamba2::Parts parts{.norm = make_norm(context, layer + ".norm"),
                      .in = make_linear(context, mamba + ".in", ShardRule::kColumn),
                      .conv_weight = context.parameter(mamba + ".conv.weight"),
                      .conv_bias = context.parameter(mamba + ".conv.bias"),
                      .dt_bias = context.parameter(mamba + ".dt_bias"),
                      .A_log = context.parameter(mamba + ".A_log"),
                      .D = context.parameter(mamba + ".D"),
                      .gate_norm = context.parameter(mamba + ".norm.weight"),
                      .out = make_linear(context, mamba + ".out", ShardRule::kRow)};
  return std::make_unique<Mamba2>(std::move(parts), shape, ssd, gate_norm);
}

ModulePtr make_mamba1(int index, int64_t cache_layer, const BuildContext& context) {
  const ModelConfig& config = context.config;
  const Mamba1Shape shape{.cache_layer = cache_layer,
                          .inner = config.mamba1_inner() / context.tensor_group.size(),
                          .state_dim = config.mamba1_state_dim,
                          .dt_rank = config.mamba1_dt_rank,
                          .conv_kernel = config.mamba_conv_kernel};
  const std::string layer = fmt::format("layers.{}", index);
  const std::string mamba = layer + ".mamba1";
  Mamba1::Parts parts{.norm = make_norm(context, layer + ".norm"),
                      .in = make_linear(context, mamba + ".in", ShardRule::kColumn),
                      .conv_weight = context.parameter(mamba + ".conv.weight"),
                      .conv_bias = context.parameter(mamba + ".conv.bias"),
                      .x_proj = make_linear(context, mamba + ".x_proj", ShardRule::kRow),
                      .dt_proj = make_linear(context, mamba + ".dt_proj", ShardRule::kReplicated),
                      .dt_bias = context.parameter(mamba + ".dt_bias"),
                      .A_log = context.parameter(mamba + ".A_log"),
                      .D = context.parameter(mamba + ".D"),
                      .out = make_linear(context, mamba + ".out", ShardRule::kRow)};
  return std::make_unique<Mamba1>(std::move(parts), shape, context.tensor_group);
}

}  // namespace

ModulePtr make_layer(char kind, int index, const BuildContext& context, int64_t cache_layer) {
  if (cache_layer == kSameAsIndex) cache_layer = index;
  ModulePtr branch;
  switch (kind) {
    case '*':
      branch = make_attention(index, cache_layer, context);
      break;
    case '-':
      branch = make_mlp(index, context);
      break;
    case 'M':
      branch = make_mamba2(index, cache_layer, context);
      break;
    case 'm':
      branch = make_mamba1(index, cache_layer, context);
      break;
    default:
      throw Error(ErrorKind::kBadInput,
                  {.where = fmt::format("model.pattern, layer {}", index),
                   .got = fmt::format("layer kind '{}', which is not implemented", kind),
                   .needed = "'*' (attention), '-' (MLP), 'M' (Mamba-2) or 'm' (Mamba-1)",
                   .fix = "use a pattern of these"});
  }
  return make_plain_or_paper<ResidualLayer, PaperResidual>(
      context, std::move(branch), index, context.config.hidden_size, context.config.hidden_dropout,
      context.sequence_parallel ? context.tensor_group.size() : 1);
}

ModulePtr make_embedding(const BuildContext& context) {
  const bool learned = context.config.position_embedding == PositionKind::kLearnedAbsolute;
  Parameter* position = learned ? context.parameter("embedding.position.weight") : nullptr;
  PHALANX_CHECK(!learned || position != nullptr, "learned positions need embedding.position.weight");
  return make_plain_or_paper<Embedding, PaperEmbedding>(context, context.parameter("embedding.token.weight"),
                                                        position, context.config.hidden_dropout,
                                                        context.tensor_group);
}

ModulePtr make_final_norm(const BuildContext& context) {
  return make_plain_or_paper<FinalNorm, PaperFinalNorm>(context, make_norm(context, "final_norm"));
}

ModulePtr make_head(const BuildContext& context) {
  const char* name = context.config.tied_embeddings ? "embedding.token.weight" : "head.weight";
  return make_plain_or_paper<LossHead, PaperHead>(context, context.parameter(name), context.config.vocab_size,
                                                  context.gemm, context.tensor_group);
}

}  // namespace phalanx::nn
