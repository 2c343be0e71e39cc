#include "phalanx/arch/hf_config.h"
#include "phalanx/arch/hf_mamba.h"
#include "phalanx/arch/hf_requirements.h"
#include "phalanx/arch/pattern.h"

namespace phalanx {
namespace {

void check_transformer(Requirements& r, const ModelConfig& c) {
  r.need(is_transformer(parse_pattern(c.pattern)), "pattern", "attention and MLP in turn, such as (*-)x12");
  r.need(c.hidden_size % c.num_attention_heads == 0, "num_attention_heads", "a divisor of hidden_size");
  r.need(!c.norm_1p, "norm_1p", "norm_1p = false");
  r.need(!c.qk_norm, "qk_norm", "qk_norm = false");
}

void check_gpt2(Requirements& r, const ModelConfig& c) {
  r.need(c.normalization == NormKind::kLayerNorm, "normalization", "layer_norm");
  r.need(!is_gated(c.activation), "activation", "gelu, gelu_tanh or squared_relu");
  r.need(c.position_embedding == PositionKind::kLearnedAbsolute, "position_embedding", "learned_absolute");
  r.need(c.bias, "bias", "bias = true");
  r.need(c.num_query_groups == c.num_attention_heads, "num_query_groups", "one group a head");
  r.need(c.kv_channels * c.num_attention_heads == c.hidden_size, "kv_channels",
         "hidden_size / num_attention_heads");
  r.need(c.window_size == 0, "window_size", "full causal attention (0)");
}

void check_llama_like(Requirements& r, const ModelConfig& c, HfFamily family) {
  r.need(c.normalization == NormKind::kRmsNorm, "normalization", "rms_norm");
  r.need(is_gated(c.activation), "activation", "swiglu or geglu");
  r.need(c.position_embedding == PositionKind::kRope, "position_embedding", "rope");
  r.need(c.rotary_percent == 1.0, "rotary_percent", "1: the whole head rotates");
  if (family == HfFamily::kLlama) {
    r.need(c.bias || !c.qkv_bias, "qkv_bias", "biases in all linear layers or in none");
    r.need(c.window_size == 0, "window_size", "full causal attention (0)");
  } else {
    r.need(!c.bias, "bias", "bias = false");
    r.need(c.qkv_bias == (family == HfFamily::kQwen2), "qkv_bias",
           family == HfFamily::kQwen2 ? "qkv_bias = true" : "qkv_bias = false");
  }
}

Json write_gpt2(const ModelConfig& c) {
  Json json;
  json["architectures"] = Json::array({"GPT2LMHeadModel"});
  json["model_type"] = "gpt2";
  json["vocab_size"] = c.vocab_size;
  json["n_positions"] = c.max_position_embeddings;
  json["n_embd"] = c.hidden_size;
  json["n_layer"] = c.num_layers;
  json["n_head"] = c.num_attention_heads;
  json["n_inner"] = c.ffn_hidden_size;
  json["activation_function"] = hf_activation(c.activation);
  json["layer_norm_epsilon"] = c.norm_epsilon;
  json["resid_pdrop"] = c.hidden_dropout;
  json["embd_pdrop"] = c.hidden_dropout;
  json["attn_pdrop"] = c.attention_dropout;
  json["scale_attn_weights"] = true;
  json["scale_attn_by_inverse_layer_idx"] = false;
  return json;
}

Json rope_scaling(const ModelConfig& c) {
  if (c.rope_scaling == RopeScalingKind::kNone) return nullptr;
  Json json;
  const bool linear = c.rope_scaling == RopeScalingKind::kLinear;
  json["rope_type"] = linear ? "linear" : "llama3";
  json["factor"] = c.rope_scaling_factor;
  if (linear) return json;
  json["low_freq_factor"] = c.rope_low_freq_factor;
  json["high_freq_factor"] = c.rope_high_freq_factor;
  json["original_max_position_embeddings"] = c.rope_original_max_position;
  return json;
}

Json write_llama_like(const ModelConfig& c, HfFamily family) {
  Json json;
  const std::string stem = family == HfFamily::kLlama     ? "Llama"
                           : family == HfFamily::kMistral ? "Mistral"
                                                          : "Qwen2";
  json["architectures"] = Json::array({stem + "ForCausalLM"});
  json["model_type"] = std::string(hf_model_type(family));
  json["vocab_size"] = c.vocab_size;
  json["hidden_size"] = c.hidden_size;
  json["intermediate_size"] = c.ffn_hidden_size;
  json["num_hidden_layers"] = c.num_layers;
  json["num_attention_heads"] = c.num_attention_heads;
  json["num_key_value_heads"] = c.num_query_groups;
  json["head_dim"] = c.kv_channels;
  json["max_position_embeddings"] = c.max_position_embeddings;
  json["hidden_act"] = c.activation == ActivationKind::kSwiglu ? "silu" : "gelu_pytorch_tanh";
  json["rms_norm_eps"] = c.norm_epsilon;
  json["rope_theta"] = c.rotary_base;
  json["rope_scaling"] = rope_scaling(c);
  json["attention_dropout"] = c.attention_dropout;
  if (family == HfFamily::kLlama) {
    json["attention_bias"] = c.bias;
    json["mlp_bias"] = c.bias;
  } else {
    json["sliding_window"] = c.window_size > 0 ? Json(c.window_size) : Json(nullptr);
  }
  if (family == HfFamily::kQwen2) {
    json["use_sliding_window"] = c.window_size > 0;
    json["max_window_layers"] = c.window_size > 0 ? 0 : c.num_layers;  // layers from here on have the window
  }
  return json;
}

}  // namespace

std::string hf_activation(ActivationKind kind) {
  if (kind == ActivationKind::kGelu) return "gelu";
  return kind == ActivationKind::kSquaredRelu ? "relu2" : "gelu_new";
}

void require_hf_family(const ModelConfig& config, HfFamily family) {
  Requirements requirements(family);
  if (is_mamba_family(family)) {
    check_mamba_family(requirements, config, family);
  } else {
    check_transformer(requirements, config);
    if (family == HfFamily::kGpt2) {
      check_gpt2(requirements, config);
    } else {
      check_llama_like(requirements, config, family);
    }
  }
  requirements.problems().throw_if_any();
}

HfFamily hf_family_for(const ModelConfig& config) {
  const Pattern pattern = parse_pattern(config.pattern);
  const auto layers = static_cast<int64_t>(pattern.layers.size());
  HfFamily nearest = HfFamily::kLlama;
  if (count_of(pattern, LayerKind::kMamba1) > 0) {
    nearest = HfFamily::kMamba;
  } else if (count_of(pattern, LayerKind::kMamba2) == layers) {
    nearest = HfFamily::kMamba2;
  } else if (has_mamba(pattern) || config.position_embedding == PositionKind::kNone) {
    nearest = HfFamily::kNemotronH;
  } else if (config.normalization == NormKind::kLayerNorm) {
    nearest = HfFamily::kGpt2;
  } else if (config.qkv_bias && !config.bias) {
    nearest = HfFamily::kQwen2;
  } else if (config.window_size > 0) {
    nearest = HfFamily::kMistral;
  }
  require_hf_family(config, nearest);
  return nearest;
}

Json hf_config_from_model(const ModelConfig& config, HfFamily family) {
  require_hf_family(config, family);
  Json json = is_mamba_family(family)     ? write_mamba_family(config, family)
              : family == HfFamily::kGpt2 ? write_gpt2(config)
                                          : write_llama_like(config, family);
  json["tie_word_embeddings"] = config.tied_embeddings;
  json["initializer_range"] = config.init_std;
  json["use_cache"] = true;
  for (const char* token : {"bos_token_id", "eos_token_id", "pad_token_id"}) json[token] = nullptr;
  return json;
}

}  // namespace phalanx
