#include <algorithm>

#include "phalanx/arch/hf_json.h"
#include "phalanx/arch/hf_mamba.h"
#include "phalanx/arch/pattern.h"

namespace phalanx {
namespace {

bool only(const Pattern& pattern, LayerKind kind) {
  return count_of(pattern, kind) == static_cast<int64_t>(pattern.layers.size());
}

void check_mamba2_layers(Requirements& r, const ModelConfig& c) {
  r.need(c.mamba_norm_group_size * c.mamba_num_groups == c.mamba_inner(), "mamba_norm_group_size",
         "the channels of a group of heads (0)");
  r.need(!c.mamba_norm_before_gate, "mamba_norm_before_gate", "mamba_norm_before_gate = false");
}

void check_mamba2(Requirements& r, const ModelConfig& c) {
  check_mamba2_layers(r, c);
  r.need(c.mamba_inner() % c.hidden_size == 0, "mamba_num_heads",
         "mamba_num_heads x mamba_head_dim as a multiple of hidden_size");
}

void check_nemotron_h(Requirements& r, const ModelConfig& c, const Pattern& pattern) {
  r.need(!c.tied_embeddings, "tied_embeddings", "tied_embeddings = false");
  if (count_of(pattern, LayerKind::kMamba2) > 0) {
    check_mamba2_layers(r, c);
    r.need(c.mamba_dt_max == 0.0, "mamba_dt_max", "no limit (0)");
  }
  const bool attention = count_of(pattern, LayerKind::kAttention) > 0;
  const bool mlp = count_of(pattern, LayerKind::kMlp) > 0;
  if (attention) {
    r.need(!c.qk_norm, "qk_norm", "qk_norm = false");
    r.need(!c.qkv_bias, "qkv_bias", "qkv_bias = false");
    r.need(c.window_size == 0, "window_size", "full causal attention (0)");
  }
  if (mlp) r.need(!is_gated(c.activation), "activation", "squared_relu, gelu or gelu_tanh");
  if (attention || mlp) r.need(!c.bias, "bias", "bias = false");
}

void write_initial_steps(Json& json, const ModelConfig& c) {
  json["time_step_min"] = c.mamba_dt_init_min;
  json["time_step_max"] = c.mamba_dt_init_max;
  json["time_step_floor"] = c.mamba_dt_init_floor;
}

Json write_pure(const ModelConfig& c, const char* stem, const char* model_type) {
  Json json;
  json["architectures"] = Json::array({std::string(stem) + "ForCausalLM"});
  json["model_type"] = model_type;
  json["vocab_size"] = c.vocab_size;
  json["hidden_size"] = c.hidden_size;
  json["num_hidden_layers"] = c.num_layers;
  json["layer_norm_epsilon"] = c.norm_epsilon;
  json["conv_kernel"] = c.mamba_conv_kernel;
  json["hidden_act"] = "silu";
  json["use_bias"] = false;
  json["use_conv_bias"] = c.mamba_conv_bias;
  json["residual_in_fp32"] = true;
  write_initial_steps(json, c);
  return json;
}

Json write_mamba(const ModelConfig& c) {
  Json json = write_pure(c, "Mamba", "mamba");
  json["expand"] = c.mamba1_expand;
  json["intermediate_size"] = c.mamba1_inner();
  json["state_size"] = c.mamba1_state_dim;
  json["time_step_rank"] = c.mamba1_dt_rank;
  return json;
}

Json write_mamba2(const ModelConfig& c) {
  Json json = write_pure(c, "Mamba2", "mamba2");
  json["expand"] = c.mamba_inner() / c.hidden_size;
  json["num_heads"] = c.mamba_num_heads;
  json["head_dim"] = c.mamba_head_dim;
  json["n_groups"] = c.mamba_num_groups;
  json["state_size"] = c.mamba_state_dim;
  json["chunk_size"] = c.mamba_chunk_size;
  // The default is left out: versions differ in how they spell infinity.
  if (c.mamba_dt_min != 0.0 || c.mamba_dt_max != 0.0) {
    json["time_step_limit"] = Json::array({c.mamba_dt_min, hf_json_of(c.mamba_dt_limit())});
  }
  return json;
}

Json write_nemotron_h(const ModelConfig& c) {
  const Pattern pattern = parse_pattern(c.pattern);
  std::string layers;
  for (const LayerKind kind : pattern.layers) layers += static_cast<char>(kind);
  Json json;
  json["architectures"] = Json::array({"NemotronHForCausalLM"});
  json["model_type"] = "nemotron_h";
  json["vocab_size"] = c.vocab_size;
  json["hidden_size"] = c.hidden_size;
  json["hybrid_override_pattern"] = layers;
  json["num_hidden_layers"] = layers.size();
  json["max_position_embeddings"] = c.max_position_embeddings;
  json["layer_norm_epsilon"] = c.norm_epsilon;
  if (count_of(pattern, LayerKind::kMamba2) > 0) {
    json["mamba_num_heads"] = c.mamba_num_heads;
    json["mamba_head_dim"] = c.mamba_head_dim;
    json["n_groups"] = c.mamba_num_groups;
    json["ssm_state_size"] = c.mamba_state_dim;
    json["conv_kernel"] = c.mamba_conv_kernel;
    json["use_conv_bias"] = c.mamba_conv_bias;
    json["chunk_size"] = c.mamba_chunk_size;
    json["mamba_hidden_act"] = "silu";
    write_initial_steps(json, c);
    // The floor of every step; how the steps began does not matter any more.
    json["time_step_min"] = c.mamba_dt_min;
    json["time_step_max"] = std::max(c.mamba_dt_init_max, c.mamba_dt_min);
  }
  if (count_of(pattern, LayerKind::kAttention) > 0) {
    json["num_attention_heads"] = c.num_attention_heads;
    json["num_key_value_heads"] = c.num_query_groups;
    json["head_dim"] = c.kv_channels;
    json["attention_dropout"] = c.attention_dropout;
  }
  if (count_of(pattern, LayerKind::kMlp) > 0) {
    json["intermediate_size"] = c.ffn_hidden_size;
    json["mlp_hidden_act"] = hf_activation(c.activation);
  }
  for (const char* key : {"use_bias", "mlp_bias", "attention_bias"}) json[key] = false;
  return json;
}

}  // namespace

void check_mamba_family(Requirements& r, const ModelConfig& c, HfFamily family) {
  const Pattern pattern = parse_pattern(c.pattern);
  r.need(c.normalization == NormKind::kRmsNorm, "normalization", "rms_norm");
  r.need(!c.norm_1p, "norm_1p", "norm_1p = false");
  r.need(c.position_embedding == PositionKind::kNone, "position_embedding", "none");
  if (family == HfFamily::kMamba) {
    r.need(only(pattern, LayerKind::kMamba1), "pattern", "Mamba-1 alone, such as (m)x24");
  } else if (family == HfFamily::kMamba2) {
    r.need(only(pattern, LayerKind::kMamba2), "pattern", "Mamba-2 alone, such as (M)x24");
    check_mamba2(r, c);
  } else {
    r.need(count_of(pattern, LayerKind::kMamba1) == 0, "pattern", "Mamba-2 (M), attention (*) and MLP (-)");
    check_nemotron_h(r, c, pattern);
  }
}

Json write_mamba_family(const ModelConfig& config, HfFamily family) {
  if (family == HfFamily::kMamba) return write_mamba(config);
  return family == HfFamily::kMamba2 ? write_mamba2(config) : write_nemotron_h(config);
}

}  // namespace phalanx
