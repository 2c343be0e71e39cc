// File: phalanx/arch/hf_test_fixtures.h
//
// Purpose: config.json files for this folder's tests, as save_pretrained of transformers 5.23.0 wrote them (line breaks
//   inside them aside), and two in the form of transformers 4.
// Contract: the constructor call that made each stands above it.
#pragma once

#include <string_view>

#include "phalanx/arch/hf_config.h"

namespace phalanx::fixtures {

// GPT2Config(vocab_size=128, n_embd=32, n_layer=2, n_head=4, n_positions=64).
inline constexpr std::string_view kGpt2Tied = R"json(
{"activation_function": "gelu_new", "add_cross_attention": false, "architectures": ["GPT2LMHeadModel"],
"attn_pdrop": 0.1, "bos_token_id": 50256, "dtype": "float32", "embd_pdrop": 0.1, "eos_token_id": 50256,
"initializer_range": 0.02, "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_embd": 32, "n_head": 4,
"n_inner": null, "n_layer": 2, "n_positions": 64, "pad_token_id": null, "reorder_and_upcast_attn": false,
"resid_pdrop": 0.1, "scale_attn_by_inverse_layer_idx": false, "scale_attn_weights": true, "summary_activation":
null, "summary_first_dropout": 0.1, "summary_proj_to_labels": true, "summary_type": "cls_index",
"summary_use_proj": true, "tie_word_embeddings": true, "transformers_version": "5.23.0", "use_cache": true,
"vocab_size": 128}
)json";

// the same with n_inner=96, gelu, dropouts 0, untied.
inline constexpr std::string_view kGpt2Untied = R"json(
{"activation_function": "gelu", "add_cross_attention": false, "architectures": ["GPT2LMHeadModel"],
"attn_pdrop": 0.0, "bos_token_id": 50256, "dtype": "float32", "embd_pdrop": 0.0, "eos_token_id": 50256,
"initializer_range": 0.02, "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_embd": 32, "n_head": 4,
"n_inner": 96, "n_layer": 2, "n_positions": 64, "pad_token_id": null, "reorder_and_upcast_attn": false,
"resid_pdrop": 0.0, "scale_attn_by_inverse_layer_idx": false, "scale_attn_weights": true, "summary_activation":
null, "summary_first_dropout": 0.1, "summary_proj_to_labels": true, "summary_type": "cls_index",
"summary_use_proj": true, "tie_word_embeddings": false, "transformers_version": "5.23.0", "use_cache": true,
"vocab_size": 128}
)json";

// LlamaConfig(vocab_size=128, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
//   num_key_value_heads=2, max_position_embeddings=128).
inline constexpr std::string_view kLlamaUntied = R"json(
{"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1,
"dtype": "float32", "eos_token_id": 2, "head_dim": 8, "hidden_act": "silu", "hidden_size": 32,
"initializer_range": 0.02, "intermediate_size": 64, "max_position_embeddings": 128, "mlp_bias": false,
"model_type": "llama", "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2,
"pad_token_id": null, "pretraining_tp": 1, "rms_norm_eps": 1e-06, "rope_parameters": {"rope_theta": 10000.0,
"rope_type": "default"}, "tie_word_embeddings": false, "transformers_version": "5.23.0", "use_cache": true,
"vocab_size": 128}
)json";

// the same with head_dim=16, tied, rope_parameters of type llama3.
inline constexpr std::string_view kLlama3Tied = R"json(
{"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1,
"dtype": "float32", "eos_token_id": 2, "head_dim": 16, "hidden_act": "silu", "hidden_size": 32,
"initializer_range": 0.02, "intermediate_size": 64, "max_position_embeddings": 128, "mlp_bias": false,
"model_type": "llama", "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2,
"pad_token_id": null, "pretraining_tp": 1, "rms_norm_eps": 1e-06, "rope_parameters": {"factor": 8.0,
"high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 64, "rope_theta": 500000.0,
"rope_type": "llama3"}, "tie_word_embeddings": true, "transformers_version": "5.23.0", "use_cache": true,
"vocab_size": 128}
)json";

// the same with attention_bias, mlp_bias, rope_parameters of type linear.
inline constexpr std::string_view kLlamaBiasLinear = R"json(
{"architectures": ["LlamaForCausalLM"], "attention_bias": true, "attention_dropout": 0.0, "bos_token_id": 1,
"dtype": "float32", "eos_token_id": 2, "head_dim": 8, "hidden_act": "silu", "hidden_size": 32,
"initializer_range": 0.02, "intermediate_size": 64, "max_position_embeddings": 128, "mlp_bias": true,
"model_type": "llama", "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2,
"pad_token_id": null, "pretraining_tp": 1, "rms_norm_eps": 1e-06, "rope_parameters": {"factor": 2.0,
"rope_theta": 10000.0, "rope_type": "linear"}, "tie_word_embeddings": false, "transformers_version": "5.23.0",
"use_cache": true, "vocab_size": 128}
)json";

// MistralConfig of those sizes, sliding_window=16.
inline constexpr std::string_view kMistral = R"json(
{"architectures": ["MistralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "dtype": "float32",
"eos_token_id": 2, "head_dim": 8, "hidden_act": "silu", "hidden_size": 32, "initializer_range": 0.02,
"intermediate_size": 64, "max_position_embeddings": 128, "model_type": "mistral", "num_attention_heads": 4,
"num_hidden_layers": 2, "num_key_value_heads": 2, "pad_token_id": null, "rms_norm_eps": 1e-06,
"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}, "sliding_window": 16, "tie_word_embeddings":
false, "transformers_version": "5.23.0", "use_cache": true, "vocab_size": 128}
)json";

// Qwen2Config of those sizes, tied.
inline constexpr std::string_view kQwen2Tied = R"json(
{"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": null, "dtype": "float32",
"eos_token_id": null, "hidden_act": "silu", "hidden_size": 32, "initializer_range": 0.02, "intermediate_size":
64, "layer_types": ["full_attention", "full_attention"], "max_position_embeddings": 128, "max_window_layers":
28, "model_type": "qwen2", "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2,
"pad_token_id": null, "rms_norm_eps": 1e-06, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
"sliding_window": null, "tie_word_embeddings": true, "transformers_version": "5.23.0", "use_cache": true,
"use_sliding_window": false, "vocab_size": 128}
)json";

// the same untied, use_sliding_window=True, sliding_window=16, max_window_layers=0.
inline constexpr std::string_view kQwen2Window = R"json(
{"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": null, "dtype": "float32",
"eos_token_id": null, "hidden_act": "silu", "hidden_size": 32, "initializer_range": 0.02, "intermediate_size":
64, "layer_types": ["sliding_attention", "sliding_attention"], "max_position_embeddings": 128,
"max_window_layers": 0, "model_type": "qwen2", "num_attention_heads": 4, "num_hidden_layers": 2,
"num_key_value_heads": 2, "pad_token_id": null, "rms_norm_eps": 1e-06, "rope_parameters": {"rope_theta":
10000.0, "rope_type": "default"}, "sliding_window": 16, "tie_word_embeddings": false, "transformers_version":
"5.23.0", "use_cache": true, "use_sliding_window": true, "vocab_size": 128}
)json";

// MambaConfig(vocab_size=128, hidden_size=32, state_size=8, num_hidden_layers=2).
inline constexpr std::string_view kMamba = R"json(
{"architectures": ["MambaForCausalLM"], "bos_token_id": 0, "conv_kernel": 4, "dtype": "float32", "eos_token_id":
0, "expand": 2, "hidden_act": "silu", "hidden_size": 32, "initializer_range": 0.1, "intermediate_size": 64,
"layer_norm_epsilon": 1e-05, "model_type": "mamba", "num_hidden_layers": 2, "pad_token_id": 0,
"rescale_prenorm_residual": false, "residual_in_fp32": true, "state_size": 8, "tie_word_embeddings": true,
"time_step_floor": 0.0001, "time_step_init_scheme": "random", "time_step_max": 0.1, "time_step_min": 0.001,
"time_step_rank": 2, "time_step_scale": 1.0, "transformers_version": "5.23.0", "use_associative_scan": true,
"use_bias": false, "use_cache": true, "use_conv_bias": true, "use_mambapy": false, "vocab_size": 128}
)json";

// Mamba2Config(vocab_size=128, hidden_size=32, state_size=16, num_heads=8, head_dim=8, n_groups=2, chunk_size=8,
//   num_hidden_layers=2).
inline constexpr std::string_view kMamba2 = R"json(
{"architectures": ["Mamba2ForCausalLM"], "bos_token_id": 0, "chunk_size": 8, "conv_kernel": 4, "dtype":
"float32", "eos_token_id": 2, "expand": 2, "head_dim": 8, "hidden_act": "silu", "hidden_size": 32,
"initializer_range": 0.1, "layer_norm_epsilon": 1e-05, "model_type": "mamba2", "n_groups": 2, "num_heads": 8,
"num_hidden_layers": 2, "pad_token_id": 1, "rescale_prenorm_residual": false, "residual_in_fp32": true,
"state_size": 16, "tie_word_embeddings": false, "time_step_floor": 0.0001, "time_step_limit": [0.0,
{"__float__": "Infinity"}], "time_step_max": 0.1, "time_step_min": 0.001, "time_step_rank": 2,
"transformers_version": "5.23.0", "use_bias": false, "use_cache": true, "use_conv_bias": true, "vocab_size":
128}
)json";

// NemotronHConfig(vocab_size=128, hidden_size=32, hybrid_override_pattern="M-*-", num_attention_heads=4,
//   num_key_value_heads=2, head_dim=8, mamba_num_heads=8, mamba_head_dim=8, n_groups=2, ssm_state_size=16, chunk_size=8,
//   intermediate_size=48, time_step_min=0.05).
inline constexpr std::string_view kNemotronH = R"json(
{"architectures": ["NemotronHForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id":
1, "chunk_size": 8, "conv_kernel": 4, "dtype": "float32", "eos_token_id": 2, "expand": 2, "head_dim": 8,
"hidden_dropout": 0.0, "hidden_size": 32, "initializer_range": 0.02, "intermediate_size": 48,
"layer_norm_epsilon": 1e-05, "layers_block_type": ["linear_attention", "mlp", "full_attention", "mlp"],
"mamba_head_dim": 8, "mamba_hidden_act": "silu", "mamba_num_heads": 8, "mamba_proj_bias": false,
"mamba_ssm_cache_dtype": "float32", "max_position_embeddings": 4096, "mlp_bias": false, "mlp_hidden_act":
"relu2", "model_type": "nemotron_h", "moe_intermediate_size": 7688, "moe_latent_size": null,
"moe_shared_expert_intermediate_size": 7688, "moe_shared_expert_overlap": true, "mtp_layers_block_type":
["full_attention", "moe"], "n_group": 1, "n_groups": 2, "n_routed_experts": 8, "n_shared_experts": 1,
"norm_topk_prob": true, "num_attention_heads": 4, "num_experts_per_tok": 2, "num_key_value_heads": 2,
"num_logits_to_keep": 1, "num_nextn_predict_layers": 0, "output_router_logits": false, "pad_token_id": 0,
"rescale_prenorm_residual": true, "residual_in_fp32": false, "routed_scaling_factor": 1.0, "sliding_window":
null, "ssm_state_size": 16, "tie_word_embeddings": false, "time_step_floor": 0.0001, "time_step_limit": [0.0,
{"__float__": "Infinity"}], "time_step_max": 0.1, "time_step_min": 0.05, "topk_group": 1,
"transformers_version": "5.23.0", "use_bias": false, "use_cache": true, "use_conv_bias": true,
"use_mamba_kernels": true, "vocab_size": 128}
)json";

// The form of transformers 4: rope_theta beside rope_scaling, torch_dtype, generation defaults, fields that later
// versions dropped. A GPT-2 of 2019 has no tie_word_embeddings and an n_ctx.
inline constexpr std::string_view kGpt2Old = R"json(
{"activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1, "bos_token_id": 127,
"embd_pdrop": 0.1, "eos_token_id": 127, "initializer_range": 0.02, "layer_norm_epsilon": 1e-05, "model_type": "gpt2",
"n_ctx": 64, "n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 64, "resid_pdrop": 0.1, "summary_activation":
null, "summary_first_dropout": 0.1, "summary_proj_to_labels": true, "summary_type": "cls_index", "summary_use_proj":
true, "task_specific_params": {"text-generation": {"do_sample": true, "max_length": 50}}, "vocab_size": 128}
)json";

inline constexpr std::string_view kLlama3Old = R"json(
{"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1,
"eos_token_id": [2, 3], "head_dim": 16, "hidden_act": "silu", "hidden_size": 32, "initializer_range": 0.02,
"intermediate_size": 64, "max_position_embeddings": 128, "mlp_bias": false, "model_type": "llama",
"num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2, "pretraining_tp": 1, "rms_norm_eps":
1e-06, "rope_scaling": {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
"original_max_position_embeddings": 64, "rope_type": "llama3"}, "rope_theta": 500000.0, "tie_word_embeddings": true,
"torch_dtype": "bfloat16", "transformers_version": "4.43.0", "use_cache": true, "vocab_size": 128}
)json";

// What kGpt2Tied, kLlamaUntied and kLlama3Tied mean.
inline ModelConfig expected_gpt2() {
  ModelConfig c;
  c.num_layers = 2;
  c.hidden_size = 32;
  c.num_attention_heads = 4;
  c.vocab_size = 128;
  c.seq_length = 64;
  c.hidden_dropout = 0.1;
  c.attention_dropout = 0.1;
  finalize(c);
  return c;
}

inline ModelConfig expected_llama() {
  ModelConfig c;
  c.num_layers = 2;
  c.hidden_size = 32;
  c.num_attention_heads = 4;
  c.num_query_groups = 2;
  c.ffn_hidden_size = 64;
  c.vocab_size = 128;
  c.seq_length = 128;
  c.normalization = NormKind::kRmsNorm;
  c.norm_epsilon = 1e-6;
  c.activation = ActivationKind::kSwiglu;
  c.position_embedding = PositionKind::kRope;
  c.bias = false;
  c.tied_embeddings = false;
  finalize(c);
  return c;
}

inline ModelConfig expected_llama3() {
  ModelConfig c = expected_llama();
  c.kv_channels = 16;
  c.tied_embeddings = true;
  c.rotary_base = 500000.0;
  c.rope_scaling = RopeScalingKind::kLlama3;
  c.rope_original_max_position = 64;
  return c;
}

inline Json parse(std::string_view text) {
  return parse_json(text, "config.json");
}

inline ModelConfig import_text(std::string_view text) {
  return model_config_from_hf(parse(text), "config.json");
}

}  // namespace phalanx::fixtures
