#include "phalanx/nn/block.h"

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/nn/attention.h"
#include "phalanx/nn/embedding.h"
#include "phalanx/nn/head.h"
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

}  // namespace

ModulePtr make_layer(char kind, int index, const BuildContext& context, int64_t cache_layer) {
  ModulePtr branch;
  switch (kind) {
    case '*':
      branch = make_attention(index, cache_layer == kSameAsIndex ? index : cache_layer, context);
      break;
    case '-':
      branch = make_mlp(index, context);
      break;
    default:
      throw Error(ErrorKind::kBadInput,
                  {.where = fmt::format("model.pattern, layer {}", index),
                   .got = fmt::format("layer kind '{}', which is not implemented", kind),
                   .needed = "'*' (attention) or '-' (MLP)",
                   .fix = "use a pattern of '*' and '-'"});
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
