#include "phalanx/arch/hf_config.h"

#include <algorithm>
#include <array>

#include "phalanx/arch/hf_fields.h"
#include "phalanx/arch/hf_mamba.h"
#include "phalanx/arch/violations.h"

namespace phalanx {
namespace {

struct FamilyNames {
  HfFamily family;
  std::string_view model_type;
  std::string_view stem;  // of its classes: <stem>Model, <stem>ForCausalLM
};

constexpr auto kFamilies = std::to_array<FamilyNames>({{HfFamily::kGpt2, "gpt2", "GPT2"},
                                                       {HfFamily::kLlama, "llama", "Llama"},
                                                       {HfFamily::kMistral, "mistral", "Mistral"},
                                                       {HfFamily::kQwen2, "qwen2", "Qwen2"},
                                                       {HfFamily::kMamba, "mamba", "Mamba"},
                                                       {HfFamily::kMamba2, "mamba2", "Mamba2"},
                                                       {HfFamily::kNemotronH, "nemotron_h", "NemotronH"}});

const FamilyNames& names_of(HfFamily family) {
  return *std::find_if(kFamilies.begin(), kFamilies.end(), [&](const auto& f) { return f.family == family; });
}

// Book-keeping, token ids, labels of classification heads, output switches and defaults of text generation, of both
// transformers 4 and 5.
void ignore_harmless(HfFields& fields) {
  fields.ignore({"_name_or_path", "name_or_path", "_commit_hash", "transformers_version", "torch_dtype",
                 "dtype", "use_cache", "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id",
                 "decoder_start_token_id"});
  fields.ignore({"forced_bos_token_id", "forced_eos_token_id", "tokenizer_class", "prefix", "finetuning_task",
                 "task_specific_params", "problem_type", "id2label", "label2id", "num_labels",
                 "output_attentions", "output_hidden_states"});
  fields.ignore({"return_dict", "tie_last_hidden_states", "torchscript", "use_bfloat16", "tf_legacy_loss",
                 "chunk_size_feed_forward", "is_decoder", "attn_implementation", "_attn_implementation",
                 "_attn_implementation_autoset", "_attn_implementation_internal"});
  fields.ignore({"max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups",
                 "diversity_penalty", "temperature", "top_k", "top_p", "typical_p", "epsilon_cutoff"});
  fields.ignore({"eta_cutoff", "repetition_penalty", "encoder_repetition_penalty", "length_penalty",
                 "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids",
                 "num_return_sequences", "output_scores", "return_dict_in_generate", "remove_invalid_values",
                 "exponential_decay_length_penalty"});
  fields.ignore({"suppress_tokens", "begin_suppress_tokens"});
}

void check_common(HfFields& fields, HfFamily family) {
  ignore_harmless(fields);
  fields.must_be("is_encoder_decoder", false);
  fields.must_be("tie_encoder_decoder", false);
  fields.must_be("add_cross_attention", false);
  fields.must_be_unset("cross_attention_hidden_size", "cross-attention is not implemented");
  fields.must_be_unset("pruned_heads", "pruned heads are not implemented");
  fields.must_be_unset("per_layer_config", "layers of different shapes are not implemented");
  fields.must_be_unset("quantization_config",
                       "quantized weights are not implemented; use the unquantized model");
  if (family != HfFamily::kNemotronH) {  // which looks into it
    fields.must_be_unset("auto_map", "the folder brings its own model code, which we cannot run");
  }
  if (fields.absent_or_null("architectures")) return;
  const std::string stem(names_of(family).stem);
  const std::string causal = family == HfFamily::kGpt2 ? stem + "LMHeadModel" : stem + "ForCausalLM";
  for (const Json& item : *fields.find("architectures")) {
    if (item == causal || item == stem + "Model") continue;
    fields.problem("architectures", "\"" + causal + "\"", "a model with another head is not implemented");
    return;
  }
}

bool is_tanh_gelu(const std::string& name) {
  return name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_python_tanh" ||
         name == "gelu_fast";
}

ActivationKind gated_activation(HfFields& fields, const char* key) {
  const std::string name = fields.text(key, "silu");
  if (name == "silu" || name == "swish") return ActivationKind::kSwiglu;
  if (is_tanh_gelu(name)) return ActivationKind::kGeglu;
  fields.problem(key, "silu, or gelu_pytorch_tanh", "other gated activations are not implemented");
  return ActivationKind::kSwiglu;
}

ModelConfig read_gpt2(HfFields& fields) {
  ModelConfig c;
  c.vocab_size = fields.integer("vocab_size");
  c.hidden_size = fields.integer("n_embd");
  c.num_layers = fields.integer("n_layer");
  c.num_attention_heads = fields.integer("n_head");
  c.max_position_embeddings = fields.integer("n_positions");
  c.ffn_hidden_size = fields.integer("n_inner", 0);
  c.activation = plain_activation(fields, "activation_function", "gelu_new");
  c.norm_epsilon = fields.number("layer_norm_epsilon", 1e-5);
  c.init_std = fields.number("initializer_range", 0.02);
  c.tied_embeddings = fields.flag("tie_word_embeddings", true);
  c.hidden_dropout = fields.number("resid_pdrop", 0.1);
  c.attention_dropout = fields.number("attn_pdrop", 0.1);
  if (fields.number("embd_pdrop", 0.1) != c.hidden_dropout) {
    fields.problem("embd_pdrop", "the value of resid_pdrop",
                   "make both equal; without training neither matters");
  }
  fields.must_be("n_ctx", c.max_position_embeddings);
  fields.must_be("scale_attn_weights", true);
  fields.must_be("scale_attn_by_inverse_layer_idx", false);
  // The order of a multiplication and the precision of scores, and the pooling of a head that we do not have.
  fields.ignore({"reorder_and_upcast_attn", "summary_type", "summary_use_proj", "summary_activation",
                 "summary_proj_to_labels", "summary_first_dropout"});
  return c;
}

// The dictionary of rotary settings, under whichever of its two names, into `c`.
void read_rope_dictionary(HfFields& rope, ModelConfig& c) {
  const std::string type = rope.text("rope_type", rope.text("type", "default"));
  if (rope.text("type", type) != type) rope.problem("type", "the value of rope_type", "remove one of them");
  rope.must_be("partial_rotary_factor", 1.0);  // these classes rotate the whole head whatever it says
  c.rotary_base = rope.number("rope_theta", c.rotary_base);
  if (type == "default") return;
  if (type != "linear" && type != "llama3") {
    rope.problem(rope.absent_or_null("rope_type") ? "type" : "rope_type", "default, linear or llama3",
                 "scaling rule '" + type + "' is not implemented");
    // What belongs to that rule is not reported as well.
    rope.ignore({"factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow",
                 "mscale", "mscale_all_dim", "truncate", "short_factor", "long_factor", "mrope_section",
                 "alpha"});
    return;
  }
  const auto required = [&](const char* key) {
    if (rope.absent_or_null(key)) rope.problem(key, "a number", "the rule '" + type + "' needs it");
    return rope.number(key, 1.0);
  };
  c.rope_scaling = type == "linear" ? RopeScalingKind::kLinear : RopeScalingKind::kLlama3;
  c.rope_scaling_factor = required("factor");
  if (type == "linear") return;
  c.rope_low_freq_factor = required("low_freq_factor");
  c.rope_high_freq_factor = required("high_freq_factor");
  c.rope_original_max_position = rope.integer("original_max_position_embeddings", c.max_position_embeddings);
}

void read_rope(HfFields& fields, const std::string& where, Violations& problems, ModelConfig& c) {
  c.position_embedding = PositionKind::kRope;
  c.rotary_base = fields.number("rope_theta", 10000.0);
  fields.must_be("partial_rotary_factor", 1.0);
  const bool old_form = !fields.absent_or_null("rope_scaling");
  const bool new_form = !fields.absent_or_null("rope_parameters");
  if (!old_form && !new_form) return;
  const char* key = old_form ? "rope_scaling" : "rope_parameters";
  const Json& dictionary = *fields.find(key);
  if (old_form && new_form && dictionary != *fields.find("rope_parameters")) {
    fields.problem("rope_parameters", "the value of rope_scaling", "remove one of them");
  }
  if (!dictionary.is_object()) {
    fields.problem(key, "null or an object", "write the rotary settings as an object");
    return;
  }
  HfFields rope(dictionary, where, std::string(key) + ".", problems);
  const double base = c.rotary_base;
  read_rope_dictionary(rope, c);
  if (!fields.absent_or_null("rope_theta") && c.rotary_base != base) {
    fields.problem("rope_theta", "the rope_theta inside " + std::string(key), "remove one of them");
  }
  rope.report_unknown();
}

// What llama, mistral and qwen2 share. `default_groups` 0: as many as heads.
ModelConfig read_llama_like(HfFields& fields, int64_t default_groups, int64_t default_positions) {
  ModelConfig c;
  c.vocab_size = fields.integer("vocab_size");
  c.hidden_size = fields.integer("hidden_size");
  c.num_layers = fields.integer("num_hidden_layers");
  c.num_attention_heads = fields.integer("num_attention_heads");
  c.ffn_hidden_size = fields.integer("intermediate_size");
  // null means one a head; only a missing field takes the default of the class.
  c.num_query_groups = fields.find("num_key_value_heads") == nullptr
                           ? default_groups
                           : fields.integer("num_key_value_heads", 0);
  c.kv_channels = fields.integer("head_dim", 0);
  c.max_position_embeddings = fields.integer("max_position_embeddings", default_positions);
  c.normalization = NormKind::kRmsNorm;
  c.norm_epsilon = fields.number("rms_norm_eps", 1e-6);
  c.activation = gated_activation(fields, "hidden_act");
  c.init_std = fields.number("initializer_range", 0.02);
  c.tied_embeddings = fields.flag("tie_word_embeddings", false);
  c.attention_dropout = fields.number("attention_dropout", 0.0);
  c.bias = false;
  return c;
}

ModelConfig read_llama(HfFields& fields) {
  ModelConfig c = read_llama_like(fields, 0, 2048);
  c.bias = fields.flag("attention_bias", false);
  if (fields.flag("mlp_bias", false) != c.bias) {
    fields.problem("mlp_bias", "the value of attention_bias",
                   "biases in only one of the two are not implemented");
  }
  fields.must_be("pretraining_tp", 1);
  return c;
}

ModelConfig read_mistral(HfFields& fields) {
  ModelConfig c = read_llama_like(fields, 8, 131072);
  c.window_size = fields.find("sliding_window") == nullptr ? 4096 : fields.integer("sliding_window", 0);
  if (!fields.absent_or_null("sliding_window") && c.window_size < 1) {
    fields.problem("sliding_window", "null, or at least 1", "use null for full attention");
  }
  return c;
}

// One window for all layers or none: ours is a setting of the model, not of a layer.
void read_qwen2_window(HfFields& fields, ModelConfig& c) {
  const bool use_window = fields.flag("use_sliding_window", false);
  const int64_t window =
      fields.find("sliding_window") == nullptr ? 4096 : fields.integer("sliding_window", 0);
  const int64_t first_sliding = fields.integer("max_window_layers", 28);
  int64_t sliding = 0;
  const char* culprit = "max_window_layers";
  if (fields.absent_or_null("layer_types")) {
    sliding = use_window && window > 0
                  ? std::max<int64_t>(0, c.num_layers - std::max<int64_t>(0, first_sliding))
                  : 0;
  } else {
    culprit = "layer_types";
    const Json& types = *fields.find(culprit);
    int64_t full = 0;
    for (const Json& type : types) {
      if (type == "sliding_attention") ++sliding;
      if (type == "full_attention" || type == "attention") ++full;
    }
    if (!types.is_array() || sliding + full != static_cast<int64_t>(types.size()) ||
        sliding + full != c.num_layers) {
      fields.problem(
          culprit,
          "full_attention or sliding_attention for each of " + std::to_string(c.num_layers) + " layers",
          "other kinds of attention are not implemented");
      return;
    }
  }
  if (sliding == 0) return;
  if (sliding != c.num_layers) {
    fields.problem(culprit, "a window in all layers or in none",
                   "windows in some layers are not implemented");
  } else if (!use_window || window < 1) {
    fields.problem("sliding_window", "a window of at least 1 with use_sliding_window", "state the window");
  } else {
    c.window_size = window;
  }
}

ModelConfig read_qwen2(HfFields& fields) {
  ModelConfig c = read_llama_like(fields, 32, 32768);
  c.qkv_bias = true;
  read_qwen2_window(fields, c);
  fields.must_be("use_mrope", false);
  return c;
}

ModelConfig read_family(HfFields& fields, HfFamily family) {
  switch (family) {
    case HfFamily::kGpt2:
      return read_gpt2(fields);
    case HfFamily::kLlama:
      return read_llama(fields);
    case HfFamily::kMistral:
      return read_mistral(fields);
    case HfFamily::kQwen2:
      return read_qwen2(fields);
    case HfFamily::kMamba:
      return read_mamba(fields);
    case HfFamily::kMamba2:
      return read_mamba2(fields);
    case HfFamily::kNemotronH:
      return read_nemotron_h(fields);
  }
  PHALANX_CHECK(false, "unknown family");
}

bool has_rotary(HfFamily family) {
  return family != HfFamily::kGpt2 && !is_mamba_family(family);
}

std::string family_list() {
  std::string list;
  for (const FamilyNames& known : kFamilies) {
    list += (list.empty() ? "" : ", ") + std::string(known.model_type);
  }
  return list;
}

}  // namespace

ActivationKind plain_activation(HfFields& fields, const char* key, const char* fallback) {
  const std::string name = fields.text(key, fallback);
  if (is_tanh_gelu(name)) return ActivationKind::kGeluTanh;
  if (name == "gelu" || name == "gelu_python") return ActivationKind::kGelu;
  if (name == "relu2") return ActivationKind::kSquaredRelu;
  fields.problem(key, "gelu_new, gelu_pytorch_tanh, gelu or relu2", "other activations are not implemented");
  return ActivationKind::kGeluTanh;
}

std::string_view hf_model_type(HfFamily family) {
  return names_of(family).model_type;
}

std::span<const HfFamily> hf_families() {
  static constexpr auto kAll = [] {
    std::array<HfFamily, kFamilies.size()> all{};
    std::transform(kFamilies.begin(), kFamilies.end(), all.begin(), [](const auto& f) { return f.family; });
    return all;
  }();
  return kAll;
}

HfFamily hf_family_of(const Json& config_json, const std::string& where) {
  std::string got = "no such field";
  std::string fix = "other architectures are not implemented; check that this is a model's config.json";
  if (!config_json.is_object()) {
    got = "JSON that is no object";
  } else if (const auto it = config_json.find("model_type"); it != config_json.end()) {
    const std::string type = it->is_string() ? it->get<std::string>() : "";
    for (const FamilyNames& known : kFamilies) {
      if (type == known.model_type) return known.family;
    }
    got = it->dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 80);
    if (const std::string_view lacking = hf_lacking(type); !lacking.empty()) {
      fix = type + " is not implemented: it has " + std::string(lacking);
    }
  }
  throw Error(
      ErrorKind::kBadInput,
      {.where = where + ": field 'model_type'", .got = got, .needed = "one of " + family_list(), .fix = fix});
}

ModelConfig model_config_from_hf(const Json& config_json, const std::string& where) {
  const HfFamily family = hf_family_of(config_json, where);
  Violations problems(where, ": ");
  HfFields fields(config_json, where, "", problems);
  fields.ignore({"model_type"});
  check_common(fields, family);
  ModelConfig config = read_family(fields, family);
  if (has_rotary(family)) read_rope(fields, where, problems, config);
  fields.report_unknown();
  problems.throw_if_any();
  if (config.max_position_embeddings != 0 || !is_mamba_family(family)) {
    config.seq_length = config.max_position_embeddings;
  }
  finalize(config);
  try {
    validate(config);
  } catch (const Error& error) {
    ErrorParts parts = error.parts();
    parts.where = where + ": " + parts.where;
    throw Error(error.kind(), parts);
  }
  return config;
}

}  // namespace phalanx
