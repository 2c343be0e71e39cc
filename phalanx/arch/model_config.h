// File: phalanx/arch/model_config.h
//
// Purpose: everything that decides which function of the tokens a model is. Nothing here depends on a layout.
// Contract: plain data; `finalize` fills the fields that follow from others (zero means "derive"), `validate` throws
//   one Error(kBadInput) that lists every violation. The names are Megatron's.
// Units: sizes in elements, lengths in tokens.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "phalanx/config/fields.h"

namespace phalanx {

enum class NormKind { kLayerNorm, kRmsNorm };
enum class ActivationKind { kGelu, kGeluTanh, kSwiglu, kGeglu, kSquaredRelu };
enum class PositionKind { kLearnedAbsolute, kRope, kNone };
enum class RopeScalingKind { kNone, kLinear, kLlama3 };

std::span<const EnumName<NormKind>> enum_names(NormKind);
std::span<const EnumName<ActivationKind>> enum_names(ActivationKind);
std::span<const EnumName<PositionKind>> enum_names(PositionKind);
std::span<const EnumName<RopeScalingKind>> enum_names(RopeScalingKind);

inline bool is_gated(ActivationKind kind) {
  return kind == ActivationKind::kSwiglu || kind == ActivationKind::kGeglu;
}

struct ModelConfig {
  std::string pattern =
      "";                  // one character a residual layer; empty: (*-)xN from num_layers, or hybrid_pattern
  int64_t num_layers = 0;  // `*-` pairs, or layers of a hybrid; derived from the pattern when that is given
  // num_layers counts residual layers. Derived for a pattern with Mamba layers and for ratios above 0.
  bool is_hybrid_model = false;
  double hybrid_attention_ratio = 0.0;  // share of attention layers where no pattern is given, and of MLPs
  double hybrid_mlp_ratio = 0.0;        // (hybrid_pattern.h); the rest is Mamba-2
  int64_t hidden_size = 0;
  int64_t num_attention_heads = 0;
  int64_t num_query_groups = 0;  // key/value heads; 0: as many as heads
  int64_t kv_channels = 0;       // size of a head; 0: hidden_size / heads
  int64_t ffn_hidden_size = 0;   // 0: 4 h, or int(8 h / 3 / 64) * 64 when gated
  int64_t vocab_size = 0;        // true vocabulary; logical tensors have this many rows
  int64_t make_vocab_size_divisible_by = 128;
  int64_t seq_length = 1024;
  int64_t max_position_embeddings = 0;  // 0: seq_length
  NormKind normalization = NormKind::kLayerNorm;
  double norm_epsilon = 1e-5;
  bool norm_1p = false;  // weight stored as (w - 1)
  bool qk_norm = false;  // norm over each head of q and k, before rotary
  ActivationKind activation = ActivationKind::kGeluTanh;
  PositionKind position_embedding = PositionKind::kLearnedAbsolute;
  double rotary_base = 10000.0;
  double rotary_percent = 1.0;
  RopeScalingKind rope_scaling = RopeScalingKind::kNone;
  double rope_scaling_factor = 8.0;
  double rope_low_freq_factor = 1.0;
  double rope_high_freq_factor = 4.0;
  int64_t rope_original_max_position = 8192;
  int64_t window_size = 0;  // 0: full causal; w: a token sees itself and the w - 1 before it
  bool bias = true;         // biases of attention-out and MLP linears, and of q, k, v
  bool qkv_bias = false;    // biases of q, k, v although bias is off
  bool tied_embeddings = true;
  double hidden_dropout = 0.0;
  double attention_dropout = 0.0;
  double init_std = 0.02;

  // Mamba-2. The sizes of a kind of layer that the pattern lacks are neither derived nor checked.
  int64_t mamba_state_dim = 128;
  int64_t mamba_head_dim = 64;
  int64_t mamba_num_groups = 8;   // heads of a group share B and C
  int64_t mamba_num_heads = 0;    // 0: 2 hidden_size / mamba_head_dim
  int64_t mamba_conv_kernel = 4;  // of both kinds, as the next
  bool mamba_conv_bias = true;
  int64_t mamba_chunk_size = 128;       // tokens that are scanned at once; another one rounds differently
  int64_t mamba_norm_group_size = 0;    // channels; 0: those of a group of heads
  bool mamba_norm_before_gate = false;  // norm(y) silu(z) instead of norm(y silu(z))
  double mamba_dt_min = 0.0;            // bounds of the step size, after softplus
  double mamba_dt_max = 0.0;            // 0: none
  double mamba_dt_init_min = 1e-3;      // initial step sizes, of both kinds: log-uniform between these two,
  double mamba_dt_init_max = 0.1;
  double mamba_dt_init_floor = 1e-4;  // and at least this
  // Mamba-1.
  int64_t mamba1_state_dim = 16;
  int64_t mamba1_expand = 2;   // inner width / hidden_size
  int64_t mamba1_dt_rank = 0;  // 0: hidden_size / 16, rounded up

  template <typename Visitor>
  void visit_fields(Visitor& v);
  template <typename Visitor>
  void visit_mamba_fields(Visitor& v);  // part of visit_fields

  bool has_qkv_bias() const { return bias || qkv_bias; }
  int64_t padded_vocab_size() const;
  int64_t mamba_inner() const { return mamba_num_heads * mamba_head_dim; }
  int64_t mamba1_inner() const { return mamba1_expand * hidden_size; }
  double mamba_dt_limit() const;  // mamba_dt_max, or infinity for its 0
  int64_t rotary_dim() const;     // leading part of a head that rotates: int(kv_channels * rotary_percent)

  bool operator==(const ModelConfig&) const = default;
};

void finalize(ModelConfig& config);
void validate(const ModelConfig& config);

template <typename Visitor>
void ModelConfig::visit_fields(Visitor& v) {
  v.field(
      "pattern", pattern,
      "one character a residual layer: * attention, - MLP, M Mamba-2, m Mamba-1; (..)xN repeats, | ends a stage");
  v.field(
      "num_layers", num_layers,
      "transformer layers, that is `*-` pairs, or residual layers of a hybrid; leave it to a given pattern");
  v.field("is_hybrid_model", is_hybrid_model,
          "num_layers counts residual layers; without a pattern they are Mamba-2, but for the two ratios");
  v.field("hybrid_attention_ratio", hybrid_attention_ratio,
          "share of attention among num_layers residual layers; 0 means none, or as the pattern says");
  v.field("hybrid_mlp_ratio", hybrid_mlp_ratio,
          "share of MLPs among num_layers residual layers; 0 means none, or as the pattern says");
  v.field("hidden_size", hidden_size, "width of the residual stream");
  v.field("num_attention_heads", num_attention_heads, "query heads");
  v.field("num_query_groups", num_query_groups, "key/value heads; 0 means one for each query head");
  v.field("kv_channels", kv_channels, "size of a head; 0 means hidden_size / num_attention_heads");
  v.field("ffn_hidden_size", ffn_hidden_size,
          "width of the MLP; 0 means 4 h, or int(8 h / 3 / 64) * 64 when gated");
  v.field("vocab_size", vocab_size, "tokens in the vocabulary; 0 means the tokenizer's");
  v.field("make_vocab_size_divisible_by", make_vocab_size_divisible_by,
          "pad the stored vocabulary to a multiple");
  v.field("seq_length", seq_length, "tokens in a training sample");
  v.field("max_position_embeddings", max_position_embeddings, "longest sequence; 0 means seq_length");
  v.field("normalization", normalization, "kind of norm");
  v.field("norm_epsilon", norm_epsilon, "added to the variance");
  v.field("norm_1p", norm_1p, "store norm weights as w - 1, so that decay pulls towards 1");
  v.field("qk_norm", qk_norm, "norm over each head of q and k");
  v.field("activation", activation, "MLP activation");
  v.field("position_embedding", position_embedding, "how positions enter");
  v.field("rotary_base", rotary_base, "base of the rotary frequencies");
  v.field("rotary_percent", rotary_percent, "share of a head that rotates");
  v.field("rope_scaling", rope_scaling, "rule that stretches rotary frequencies");
  v.field("rope_scaling_factor", rope_scaling_factor, "stretch of the rule");
  v.field("rope_low_freq_factor", rope_low_freq_factor,
          "llama3 rule: wavelengths above original / this are stretched");
  v.field("rope_high_freq_factor", rope_high_freq_factor,
          "llama3 rule: wavelengths below original / this are kept");
  v.field("rope_original_max_position", rope_original_max_position,
          "llama3 rule: positions before stretching");
  v.field("window_size", window_size,
          "sliding window in tokens, the current one included; 0 means full causal");
  v.field("bias", bias, "biases in linear layers");
  v.field("qkv_bias", qkv_bias, "biases in q, k, v although bias is off");
  v.field("tied_embeddings", tied_embeddings, "output head shares the token embedding");
  v.field("hidden_dropout", hidden_dropout, "dropout after the embedding and each residual branch");
  v.field("attention_dropout", attention_dropout, "dropout of attention probabilities");
  v.field("init_std", init_std,
          "standard deviation of initial weights; output projections divide by sqrt(residual branches)");
  visit_mamba_fields(v);
}

template <typename Visitor>
void ModelConfig::visit_mamba_fields(Visitor& v) {
  v.field("mamba_state_dim", mamba_state_dim, "Mamba-2: states of a channel");
  v.field("mamba_head_dim", mamba_head_dim, "Mamba-2: channels of a head");
  v.field("mamba_num_groups", mamba_num_groups, "Mamba-2: groups of heads that share B and C");
  v.field("mamba_num_heads", mamba_num_heads, "Mamba-2: heads; 0 means 2 hidden_size / mamba_head_dim");
  v.field("mamba_conv_kernel", mamba_conv_kernel, "Mamba: tokens that the convolution sees");
  v.field("mamba_conv_bias", mamba_conv_bias, "Mamba: bias of the convolution");
  v.field("mamba_chunk_size", mamba_chunk_size, "Mamba-2: tokens that are scanned at once");
  v.field("mamba_norm_group_size", mamba_norm_group_size,
          "Mamba-2: channels that the gated norm sees at once; 0 means inner width / mamba_num_groups");
  v.field("mamba_norm_before_gate", mamba_norm_before_gate, "Mamba-2: norm first, then gate");
  v.field("mamba_dt_min", mamba_dt_min, "Mamba-2: smallest step size");
  v.field("mamba_dt_max", mamba_dt_max, "Mamba-2: largest step size; 0 means no limit");
  v.field("mamba_dt_init_min", mamba_dt_init_min, "Mamba: smallest initial step size");
  v.field("mamba_dt_init_max", mamba_dt_init_max, "Mamba: largest initial step size");
  v.field("mamba_dt_init_floor", mamba_dt_init_floor, "Mamba: initial step sizes are raised to this");
  v.field("mamba1_state_dim", mamba1_state_dim, "Mamba-1: states of a channel");
  v.field("mamba1_expand", mamba1_expand, "Mamba-1: inner width as a multiple of hidden_size");
  v.field("mamba1_dt_rank", mamba1_dt_rank,
          "Mamba-1: rank of the step size; 0 means hidden_size / 16, rounded up");
}

}  // namespace phalanx
