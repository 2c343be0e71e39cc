#include "phalanx/arch/hf_mamba.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "phalanx/arch/hf_json.h"
#include "phalanx/arch/pattern.h"

namespace phalanx {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Relative {
  std::string_view model_type;
  std::string_view lacking;
};

constexpr auto kRelatives = std::to_array<Relative>(
    {{"bamba", "an MLP after every mixer and rotary positions on half of each head"},
     {"falcon_h1",
      "attention and Mamba side by side in one layer, with multipliers on their inputs and outputs"},
     {"falcon_mamba", "norms on B, C and dt"},
     {"jamba", "experts, and norms on B, C and dt"},
     {"zamba", "attention blocks that several layers share"},
     {"zamba2", "attention blocks that several layers share, with an adapter for each"}});

void need_silu(HfFields& fields, const char* key) {
  const std::string name = fields.text(key, "silu");
  if (name != "silu" && name != "swish") fields.problem(key, "silu", "other gates are not implemented");
}

// Initial step sizes; nothing else reads them, but for time_step_min of nemotron_h.
void read_initial_steps(HfFields& fields, ModelConfig& c, const char* low, const char* high,
                        const char* floor) {
  c.mamba_dt_init_min = fields.number(low, c.mamba_dt_init_min);
  c.mamba_dt_init_max = fields.number(high, c.mamba_dt_init_max);
  c.mamba_dt_init_floor = fields.number(floor, c.mamba_dt_init_floor);
}

// [low, high] of a step size.
std::pair<double, double> read_limits(HfFields& fields, const char* key) {
  if (fields.absent_or_null(key)) return {0.0, kInfinity};
  const Json& value = *fields.find(key);
  if (value.is_array() && value.size() == 2) {
    const std::optional<double> low = json_number(value[0]);
    const std::optional<double> high = json_number(value[1]);
    if (low && high && std::isfinite(*low) && *low >= 0 && *high > *low) return {*low, *high};
  }
  fields.problem(key, "two numbers, the first at least 0 and less than the second",
                 "use [0.0, Infinity] for no limits");
  return {0.0, kInfinity};
}

void set_limits(ModelConfig& c, double low, double high) {
  c.mamba_dt_min = low;
  c.mamba_dt_max = std::isinf(high) ? 0.0 : high;
}

// A pattern of one kind, as long as the model; empty, so that `validate` reports num_layers, when that is no length.
void repeat_layer(ModelConfig& c, char kind) {
  if (c.num_layers >= 1 && c.num_layers <= static_cast<int64_t>(kMaxPatternLength)) {
    c.pattern = fmt::format("({})x{}", kind, c.num_layers);
  }
  c.is_hybrid_model = true;
}

// What mamba and mamba2 share. Keys of the original state-spaces config, which converted files keep, say the same again.
ModelConfig read_pure(HfFields& fields, char kind) {
  ModelConfig c;
  c.vocab_size = fields.integer("vocab_size");
  c.hidden_size = fields.integer("hidden_size");
  c.num_layers = fields.integer("num_hidden_layers");
  repeat_layer(c, kind);
  c.normalization = NormKind::kRmsNorm;
  c.norm_epsilon = fields.number("layer_norm_epsilon", 1e-5);
  c.position_embedding = PositionKind::kNone;
  c.bias = false;
  c.init_std = fields.number("initializer_range", 0.1);
  c.mamba_conv_kernel = fields.integer("conv_kernel", 4);
  c.mamba_conv_bias = fields.flag("use_conv_bias", true);
  read_initial_steps(fields, c, "time_step_min", "time_step_max", "time_step_floor");
  need_silu(fields, "hidden_act");
  fields.must_be("use_bias", false);
  fields.must_be("rms_norm", true);
  fields.must_be("d_model", c.hidden_size);
  fields.must_be("n_layer", c.num_layers);
  fields.must_be("d_intermediate", 0);
  fields.must_be_unset("attn_layer_idx", "attention between the layers is not in this model_type");
  fields.must_be_unset("attn_cfg", "attention between the layers is not in this model_type");
  // Precision of the residual stream, which path computes the scan, and initial values.
  fields.ignore({"residual_in_fp32", "fused_add_norm", "use_mambapy", "use_associative_scan",
                 "time_step_scale", "time_step_init_scheme", "rescale_prenorm_residual",
                 "pad_vocab_size_multiple"});
  return c;
}

void must_be_inner(HfFields& fields, int64_t inner) {
  for (const char* key : {"intermediate_size", "d_inner"}) fields.must_be(key, inner);
}

// Old names that transformers still takes, and that win when both are there.
const char* alias(HfFields& fields, const char* old_name, const char* name) {
  if (fields.absent_or_null(old_name)) return name;
  fields.ignore({name});
  return old_name;
}

char layer_of(const std::string& type) {
  if (type == "linear_attention" || type == "mamba") return 'M';
  if (type == "full_attention" || type == "attention") return '*';
  if (type == "mlp") return '-';
  return '?';
}

std::string pattern_of_types(HfFields& fields, const char* key) {
  std::string pattern;
  const Json& types = *fields.find(key);
  for (const Json& type : types) {
    const char kind = type.is_string() ? layer_of(type.get<std::string>()) : '?';
    if (kind == '?') {
      fields.problem(key,
                     "linear_attention, full_attention or mlp (old names: mamba, attention) for each layer",
                     type == "moe" ? "layers of experts (moe) are not implemented"
                                   : "other kinds of layers are not implemented");
      return "";
    }
    pattern += kind;
  }
  return pattern;
}

std::string pattern_of_text(HfFields& fields, const char* key) {
  const std::string text = fields.text(key, "");
  if (text.find_first_not_of("M*-") == std::string::npos) return text;
  fields.problem(key, "a text of M (Mamba-2), * (attention) and - (MLP)",
                 text.find('E') == std::string::npos ? "other kinds of layers are not implemented"
                                                     : "layers of experts (E) are not implemented");
  return "";
}

// The layers under any of their three names; empty when there is a problem.
std::string read_layers(HfFields& fields) {
  std::string pattern;
  const char* source = nullptr;
  for (const char* key : {"layers_block_type", "layer_types", "hybrid_override_pattern"}) {
    if (fields.absent_or_null(key)) continue;
    const bool is_text = fields.find(key)->is_string();
    const std::string one = is_text ? pattern_of_text(fields, key) : pattern_of_types(fields, key);
    if (source != nullptr && one != pattern) {
      fields.problem(key, fmt::format("the layers of {}", source), "remove one of them");
    }
    source = key;
    pattern = one;
  }
  if (source == nullptr) {
    fields.problem("layers_block_type", "the kind of each layer", "a default would be a layer of experts");
  } else if (pattern.size() > kMaxPatternLength) {
    fields.problem(source, fmt::format("at most {} layers", kMaxPatternLength), "check the file");
    pattern.clear();
  } else if (!pattern.empty()) {
    fields.must_be("num_hidden_layers", pattern.size());
  }
  return pattern;
}

bool has(const std::string& pattern, char kind) {
  return pattern.find(kind) != std::string::npos;
}

void read_nemotron_mamba(HfFields& fields, ModelConfig& c) {
  c.mamba_num_heads = fields.integer("mamba_num_heads");
  c.mamba_head_dim = fields.integer("mamba_head_dim");
  c.mamba_state_dim = fields.integer("ssm_state_size");
  c.mamba_num_groups = fields.integer(alias(fields, "mamba_n_groups", "n_groups"), 8);
  c.mamba_conv_kernel = fields.integer(alias(fields, "mamba_d_conv", "conv_kernel"), 4);
  c.mamba_conv_bias = fields.flag(alias(fields, "mamba_conv_bias", "use_conv_bias"), true);
  c.mamba_chunk_size = fields.integer(alias(fields, "mamba_chunk_size", "chunk_size"), 128);
  const char* low = alias(fields, "mamba_dt_min", "time_step_min");
  read_initial_steps(fields, c, low, alias(fields, "mamba_dt_max", "time_step_max"),
                     alias(fields, "mamba_dt_init_floor", "time_step_floor"));
  c.mamba_dt_min = c.mamba_dt_init_min;
  if (c.mamba_dt_min == 0.0) c.mamba_dt_init_min = ModelConfig().mamba_dt_init_min;
  const char* limit = alias(fields, "mamba_dt_limit", "time_step_limit");
  if (read_limits(fields, limit) != std::pair(0.0, kInfinity)) {
    fields.problem(limit, "[0.0, Infinity]", "this model_type has only the floor time_step_min");
  }
  need_silu(fields, "mamba_hidden_act");
}

void read_nemotron_attention(HfFields& fields, ModelConfig& c) {
  c.num_attention_heads = fields.integer("num_attention_heads");
  // null means one a head; only a missing field takes the default of the class.
  c.num_query_groups =
      fields.find("num_key_value_heads") == nullptr ? 8 : fields.integer("num_key_value_heads", 0);
  const char* size = fields.absent_or_null("head_dim") ? "attention_head_dim" : "head_dim";
  c.kv_channels = fields.integer(size, 128);
  fields.must_be("attention_head_dim", c.kv_channels);
  c.attention_dropout = fields.number("attention_dropout", 0.0);
  fields.must_be_unset("sliding_window", "a window is not implemented in this model_type");
}

// The folders that came before transformers had this class bring its forerunner.
void read_own_code(HfFields& fields) {
  if (fields.absent_or_null("auto_map")) return;
  for (const Json& item : *fields.find("auto_map")) {
    const std::string name = item.is_string() ? item.get<std::string>() : "";
    if (name.starts_with("configuration_nemotron_h.NemotronH") ||
        name.starts_with("modeling_nemotron_h.NemotronH"))
      continue;
    fields.problem("auto_map", "no such field", "the folder brings its own model code, which we cannot run");
    return;
  }
}

// Fields of kinds of layers that a model need not have, and what computes nothing or only initial values.
void ignore_nemotron(HfFields& fields) {
  fields.ignore({"mamba_num_heads",     "mamba_head_dim",
                 "ssm_state_size",      "n_groups",
                 "conv_kernel",         "expand",
                 "mamba_expand",        "use_conv_bias",
                 "chunk_size",          "time_step_min",
                 "time_step_max",       "time_step_floor",
                 "time_step_limit",     "time_step_rank",
                 "mamba_hidden_act",    "mamba_ssm_cache_dtype",
                 "use_mamba_kernels",   "num_attention_heads",
                 "num_key_value_heads", "head_dim",
                 "attention_head_dim",  "attention_dropout",
                 "sliding_window",      "intermediate_size",
                 "mlp_hidden_act"});
  fields.ignore({"n_routed_experts", "num_local_experts", "n_shared_experts", "num_experts_per_tok",
                 "moe_intermediate_size", "moe_shared_expert_intermediate_size", "moe_latent_size",
                 "moe_shared_expert_overlap", "routed_scaling_factor", "n_group", "topk_group",
                 "norm_topk_prob", "output_router_logits", "mtp_layers_block_type",
                 "mtp_hybrid_override_pattern"});
  // No layer reads the dropout; positions only enter through the order of tokens.
  fields.ignore({"residual_in_fp32", "rescale_prenorm_residual", "num_logits_to_keep", "hidden_dropout",
                 "rope_theta", "partial_rotary_factor"});
}

}  // namespace

std::string_view hf_lacking(std::string_view model_type) {
  for (const Relative& relative : kRelatives) {
    if (relative.model_type == model_type) return relative.lacking;
  }
  return {};
}

ModelConfig read_mamba(HfFields& fields) {
  ModelConfig c = read_pure(fields, 'm');
  c.tied_embeddings = fields.flag("tie_word_embeddings", true);
  c.mamba1_state_dim = fields.integer("state_size", 16);
  c.mamba1_expand = fields.integer("expand", 2);
  const Json* rank = fields.find("time_step_rank");
  c.mamba1_dt_rank = rank == nullptr || *rank == "auto" ? 0 : fields.integer("time_step_rank", 0);
  if (rank != nullptr && rank->is_number_integer() && c.mamba1_dt_rank < 1) {
    fields.problem("time_step_rank", "\"auto\", or at least 1", "use \"auto\"");
  }
  // A product of bounded factors; out of bounds, `validate` speaks.
  const auto bounded = [](int64_t x) { return x >= 0 && x < (1 << 30); };
  if (bounded(c.hidden_size) && bounded(c.mamba1_expand)) {
    must_be_inner(fields, c.mamba1_inner());
  } else {
    fields.ignore({"intermediate_size", "d_inner"});
  }
  fields.must_be_unset("ssm_cfg", "settings of the original library are not read");
  return c;
}

ModelConfig read_mamba2(HfFields& fields) {
  ModelConfig c = read_pure(fields, 'M');
  c.tied_embeddings = fields.flag("tie_word_embeddings", false);
  c.mamba_num_heads = fields.integer("num_heads");
  c.mamba_head_dim = fields.integer("head_dim");
  c.mamba_state_dim = fields.integer("state_size", 128);
  c.mamba_num_groups = fields.integer("n_groups", 8);
  c.mamba_chunk_size = fields.integer("chunk_size", 256);
  const auto [low, high] = read_limits(fields, "time_step_limit");
  set_limits(c, low, high);
  const double expand = fields.number("expand", 2.0);
  const double inner = static_cast<double>(c.mamba_num_heads) * static_cast<double>(c.mamba_head_dim);
  if (expand * static_cast<double>(c.hidden_size) != inner) {
    fields.problem("expand", "num_heads x head_dim / hidden_size", "one of the four is wrong");
    fields.ignore({"intermediate_size", "d_inner"});
  } else if (std::abs(inner) < 0x1p53) {
    must_be_inner(fields, static_cast<int64_t>(inner));
  }
  // The rank is of Mamba-1; norm_before_gate is written by some, but read by none.
  fields.ignore({"time_step_rank", "norm_before_gate"});
  return c;
}

ModelConfig read_nemotron_h(HfFields& fields) {
  ModelConfig c;
  c.vocab_size = fields.integer("vocab_size");
  c.hidden_size = fields.integer("hidden_size");
  c.pattern = read_layers(fields);
  ignore_nemotron(fields);
  if (has(c.pattern, 'M')) read_nemotron_mamba(fields, c);
  if (has(c.pattern, '*')) read_nemotron_attention(fields, c);
  c.activation = ActivationKind::kSquaredRelu;
  if (has(c.pattern, '-')) {
    c.ffn_hidden_size = fields.integer("intermediate_size");
    c.activation = plain_activation(fields, "mlp_hidden_act", "relu2");
  }
  c.max_position_embeddings = fields.integer("max_position_embeddings", 4096);
  c.normalization = NormKind::kRmsNorm;
  c.norm_epsilon = fields.number("layer_norm_epsilon", 1e-5);
  c.position_embedding = PositionKind::kNone;
  c.bias = false;
  c.init_std = fields.number("initializer_range", 0.02);
  c.tied_embeddings = false;
  for (const char* key : {"rms_norm_eps", "norm_eps"}) fields.must_be(key, c.norm_epsilon);
  for (const char* key : {"use_bias", "mamba_proj_bias", "mlp_bias", "attention_bias"})
    fields.must_be(key, false);
  fields.must_be("tie_word_embeddings", false);
  fields.must_be("num_nextn_predict_layers", 0);
  read_own_code(fields);
  return c;
}

}  // namespace phalanx
