#include "phalanx/arch/model_config.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <limits>
#include <optional>

#include "phalanx/arch/hybrid_pattern.h"
#include "phalanx/arch/mamba_config.h"
#include "phalanx/arch/pattern.h"
#include "phalanx/arch/violations.h"

namespace phalanx {
namespace {

// With these bounds no product of sizes, and no sum over the largest pattern, leaves int64.
constexpr int64_t kMaxVocabulary = int64_t{1} << 31;
constexpr int64_t kMaxPositions = int64_t{1} << 31;

bool are_ratios(double attention, double mlp) {
  return attention >= 0.0 && attention <= 1.0 && mlp >= 0.0 && mlp <= 1.0 && attention + mlp <= 1.0;
}

// The pattern that num_layers and the ratios stand for; empty where they make none, which `validate` reports.
std::string pattern_of_hybrid(const ModelConfig& c) {
  const double attention = c.hybrid_attention_ratio;
  const double mlp = c.hybrid_mlp_ratio;
  const bool usable = c.num_layers <= static_cast<int64_t>(kMaxPatternLength) && are_ratios(attention, mlp) &&
                      hybrid_counts(c.num_layers, attention, mlp).mamba >= 0;
  return usable ? hybrid_pattern(c.num_layers, attention, mlp) : "";
}

std::optional<Pattern> parse_or_nothing(const std::string& text) {
  try {
    return parse_pattern(text);
  } catch (const Error&) {
    return std::nullopt;  // `validate` reports it with everything else
  }
}

int64_t layers_that_count(const ModelConfig& config, const Pattern& pattern) {
  return config.is_hybrid_model ? static_cast<int64_t>(pattern.layers.size()) : count_pairs(pattern);
}

class Validator {
 public:
  explicit Validator(const ModelConfig& config) : c_(config) {}

  void run() {
    pattern_ = parse_or_nothing(c_.pattern);
    check_pattern();
    check_ratios();
    check_sizes();
    if (has(LayerKind::kAttention)) check_heads();
    check_lengths();
    check_rotary();
    check_reals();
    if (pattern_) add_mamba_violations(c_, *pattern_, problems_);
    problems_.throw_if_any();
  }

 private:
  void add(const char* field, std::string got, std::string needed, std::string fix) {
    problems_.add(field, std::move(got), std::move(needed), std::move(fix));
  }

  bool in_range(const char* field, int64_t value, int64_t low, int64_t high, const char* fix) {
    if (value >= low && value <= high) return true;
    add(field, fmt::format("{}", value), fmt::format("{} to {}", low, high), fix);
    return false;
  }

  // Without a pattern: of a transformer. That of a hybrid is missing because of its ratios, which are reported.
  bool has(LayerKind kind) const {
    if (pattern_) return count_of(*pattern_, kind) > 0;
    return !c_.is_hybrid_model && (kind == LayerKind::kAttention || kind == LayerKind::kMlp);
  }

  void check_pattern() {
    if (c_.pattern.empty()) {
      in_range("num_layers", c_.num_layers, 1,
               static_cast<int64_t>(c_.is_hybrid_model ? kMaxPatternLength : kMaxPatternLength / 2),
               "set num_layers, or a pattern such as (*-)x12");
      return;
    }
    if (!pattern_) {
      try {
        parse_pattern(c_.pattern);
      } catch (const Error& error) {
        add("pattern", error.parts().got, error.parts().needed, error.parts().fix);
      }
      return;
    }
    const Pattern& pattern = *pattern_;
    for (size_t i = 0; i < pattern.layers.size(); ++i) {
      const LayerKind kind = pattern.layers[i];
      if (is_buildable(kind)) continue;
      add("pattern",
          fmt::format("layer {} of kind {} ({})", i, static_cast<char>(kind), layer_kind_name(kind)),
          "kinds that can be built: * (attention), - (MLP), M (Mamba-2) and m (Mamba-1)",
          "leave that kind out");
      break;  // one is enough: a hybrid has dozens
    }
    const int64_t layers = layers_that_count(c_, pattern);
    if (c_.num_layers != layers) {
      add("num_layers",
          fmt::format("{}, but pattern {} has {} {}", c_.num_layers, c_.pattern, layers,
                      c_.is_hybrid_model ? "layers" : "`*-` pairs"),
          "the same number", "leave num_layers out: the pattern decides");
    }
  }

  void check_ratios() {
    const double attention = c_.hybrid_attention_ratio;
    const double mlp = c_.hybrid_mlp_ratio;
    const auto one = [&](const char* field, double ratio) {
      if (ratio >= 0.0 && ratio <= 1.0) return true;
      add(field, fmt::format("{}", ratio), "0 to 1", "it is a share of the residual layers, such as 0.08");
      return false;
    };
    const bool both = one("hybrid_attention_ratio", attention);
    if (!one("hybrid_mlp_ratio", mlp) || !both) return;
    if (!are_ratios(attention, mlp)) {
      add("hybrid_mlp_ratio", fmt::format("{}, which with {} of attention is above 1", mlp, attention),
          "shares of at most 1 in all", "lower one of them");
      return;
    }
    const int64_t layers = pattern_ ? static_cast<int64_t>(pattern_->layers.size()) : c_.num_layers;
    if ((attention == 0.0 && mlp == 0.0) || layers < 1 || layers > static_cast<int64_t>(kMaxPatternLength))
      return;
    check_counts(layers, hybrid_counts(layers, attention, mlp));
  }

  void check_counts(int64_t layers, const HybridCounts& wanted) {
    if (wanted.mamba < 0) {
      add("hybrid_mlp_ratio",
          fmt::format("{} attention and {} MLP layers of {}: both are rounded up", wanted.attention,
                      wanted.mlp, layers),
          "no more than num_layers", "lower one of the ratios a little");
      return;
    }
    if (!pattern_) return;
    const int64_t attention = count_of(*pattern_, LayerKind::kAttention);
    const int64_t mlp = count_of(*pattern_, LayerKind::kMlp);
    if (attention == wanted.attention && mlp == wanted.mlp) return;
    add("pattern",
        fmt::format("{} attention and {} MLP layers of {}, but the ratios {} and {} ask for {} and {}",
                    attention, mlp, layers, c_.hybrid_attention_ratio, c_.hybrid_mlp_ratio, wanted.attention,
                    wanted.mlp),
        "the same counts", "set hybrid_attention_ratio and hybrid_mlp_ratio to 0: the pattern decides");
  }

  void check_sizes() {
    // What is derived from a wrong value is not reported a second time.
    if (in_range("hidden_size", c_.hidden_size, 1, kMaxWidth, "set hidden_size") && has(LayerKind::kMlp)) {
      in_range("ffn_hidden_size", c_.ffn_hidden_size, 1, kMaxInner,
               "set ffn_hidden_size (derived as 4 h, or int(8 h / 3 / 64) * 64 when gated)");
    }
    in_range("vocab_size", c_.vocab_size, 1, kMaxVocabulary, "set vocab_size, or name a tokenizer");
    in_range("make_vocab_size_divisible_by", c_.make_vocab_size_divisible_by, 1, kMaxVocabulary, "use 128");
  }

  void check_heads() {
    const int64_t heads = c_.num_attention_heads;
    if (!in_range("num_attention_heads", heads, 1, kMaxWidth, "set num_attention_heads")) return;
    if (c_.num_query_groups < 1 || heads % c_.num_query_groups != 0) {
      add("num_query_groups", fmt::format("{} groups for {} heads", c_.num_query_groups, heads),
          "a divisor of num_attention_heads", "use 0 for one group a head");
    }
    if (c_.hidden_size < 1) return;
    if (c_.kv_channels == 0 && c_.hidden_size % heads != 0) {
      add("num_attention_heads", fmt::format("{} heads for hidden_size {}", heads, c_.hidden_size),
          "a divisor of hidden_size", "change one of them, or set kv_channels (the size of a head)");
    } else if (in_range("kv_channels", c_.kv_channels, 1, kMaxInner, "leave it at 0: hidden_size / heads") &&
               heads * c_.kv_channels > kMaxInner) {
      add("kv_channels", fmt::format("{} heads of {}", heads, c_.kv_channels),
          fmt::format("at most {} in all", kMaxInner), "use fewer or smaller heads");
    }
  }

  void check_lengths() {
    in_range("window_size", c_.window_size, 0, kMaxPositions, "use 0 for full causal attention");
    if (!in_range("seq_length", c_.seq_length, 1, kMaxPositions, "set seq_length")) return;
    in_range("max_position_embeddings", c_.max_position_embeddings, 1, kMaxPositions, "use 0 for seq_length");
    if (c_.position_embedding == PositionKind::kLearnedAbsolute &&
        c_.seq_length > c_.max_position_embeddings) {
      add("seq_length",
          fmt::format("{} tokens, but only {} learned positions", c_.seq_length, c_.max_position_embeddings),
          "seq_length <= max_position_embeddings", "raise max_position_embeddings or shorten seq_length");
    }
  }

  void check_rotary() {
    if (c_.position_embedding != PositionKind::kRope) {
      if (c_.rope_scaling != RopeScalingKind::kNone) {
        add("rope_scaling", "a scaling rule without rotary positions", "position_embedding = rope",
            "set position_embedding to rope, or rope_scaling to none");
      }
      return;
    }
    positive("rotary_base", c_.rotary_base, "use 10000");
    if (!(c_.rotary_percent > 0.0 && c_.rotary_percent <= 1.0)) {
      add("rotary_percent", fmt::format("{}", c_.rotary_percent), "more than 0, at most 1",
          "use 1 for the whole head");
    } else if (c_.kv_channels > 0 && (c_.rotary_dim() < 2 || c_.rotary_dim() % 2 != 0)) {
      add("rotary_percent",
          fmt::format("{} of a head of {}, that is {} rotating channels", c_.rotary_percent, c_.kv_channels,
                      c_.rotary_dim()),
          "an even number, at least 2: channels rotate in pairs", "change rotary_percent or kv_channels");
    }
    if (c_.rope_scaling == RopeScalingKind::kNone) return;
    if (!(c_.rope_scaling_factor >= 1.0) || !std::isfinite(c_.rope_scaling_factor)) {
      add("rope_scaling_factor", fmt::format("{}", c_.rope_scaling_factor), "at least 1",
          "use 1 for no stretching");
    }
    if (c_.rope_scaling != RopeScalingKind::kLlama3) return;
    positive("rope_low_freq_factor", c_.rope_low_freq_factor, "use 1");
    if (!(c_.rope_high_freq_factor > c_.rope_low_freq_factor) || !std::isfinite(c_.rope_high_freq_factor)) {
      add("rope_high_freq_factor", fmt::format("{}", c_.rope_high_freq_factor),
          fmt::format("more than rope_low_freq_factor ({})", c_.rope_low_freq_factor),
          "use 4 with a low factor of 1");
    }
    in_range("rope_original_max_position", c_.rope_original_max_position, 1, kMaxPositions, "use 8192");
  }

  void check_reals() {
    positive("norm_epsilon", c_.norm_epsilon, "use 1e-5");
    positive("init_std", c_.init_std, "use 0.02");
    probability("hidden_dropout", c_.hidden_dropout);
    probability("attention_dropout", c_.attention_dropout);
  }

  void positive(const char* field, double value, const char* fix) {
    if (value > 0.0 && std::isfinite(value)) return;
    add(field, fmt::format("{}", value), "a finite number above 0", fix);
  }

  void probability(const char* field, double value) {
    if (value >= 0.0 && value < 1.0) return;
    add(field, fmt::format("{}", value), "at least 0, less than 1", "use 0 for no dropout");
  }

  const ModelConfig& c_;
  std::optional<Pattern> pattern_;
  Violations problems_{"model", "."};
};

}  // namespace

std::span<const EnumName<NormKind>> enum_names(NormKind) {
  static constexpr std::array<EnumName<NormKind>, 2> kNames = {
      {{NormKind::kLayerNorm, "layer_norm"}, {NormKind::kRmsNorm, "rms_norm"}}};
  return kNames;
}

std::span<const EnumName<ActivationKind>> enum_names(ActivationKind) {
  static constexpr std::array<EnumName<ActivationKind>, 5> kNames = {
      {{ActivationKind::kGelu, "gelu"},
       {ActivationKind::kGeluTanh, "gelu_tanh"},
       {ActivationKind::kSwiglu, "swiglu"},
       {ActivationKind::kGeglu, "geglu"},
       {ActivationKind::kSquaredRelu, "squared_relu"}}};
  return kNames;
}

std::span<const EnumName<PositionKind>> enum_names(PositionKind) {
  static constexpr std::array<EnumName<PositionKind>, 3> kNames = {
      {{PositionKind::kLearnedAbsolute, "learned_absolute"},
       {PositionKind::kRope, "rope"},
       {PositionKind::kNone, "none"}}};
  return kNames;
}

std::span<const EnumName<RopeScalingKind>> enum_names(RopeScalingKind) {
  static constexpr std::array<EnumName<RopeScalingKind>, 3> kNames = {{{RopeScalingKind::kNone, "none"},
                                                                       {RopeScalingKind::kLinear, "linear"},
                                                                       {RopeScalingKind::kLlama3, "llama3"}}};
  return kNames;
}

int64_t ModelConfig::padded_vocab_size() const {
  const int64_t multiple = make_vocab_size_divisible_by;
  return (vocab_size + multiple - 1) / multiple * multiple;
}

int64_t ModelConfig::rotary_dim() const {
  return static_cast<int64_t>(static_cast<double>(kv_channels) * rotary_percent);
}

double ModelConfig::mamba_dt_limit() const {
  return mamba_dt_max == 0.0 ? std::numeric_limits<double>::infinity() : mamba_dt_max;
}

void finalize(ModelConfig& config) {
  if (config.hybrid_attention_ratio > 0.0 || config.hybrid_mlp_ratio > 0.0) config.is_hybrid_model = true;
  if (config.pattern.empty() && config.num_layers > 0) {
    config.pattern =
        config.is_hybrid_model ? pattern_of_hybrid(config) : fmt::format("(*-)x{}", config.num_layers);
  }
  if (const auto pattern = parse_or_nothing(config.pattern)) {
    if (has_mamba(*pattern)) config.is_hybrid_model = true;
    if (config.num_layers == 0) config.num_layers = layers_that_count(config, *pattern);
    finalize_mamba(config, *pattern);
  }
  if (config.num_query_groups == 0) config.num_query_groups = config.num_attention_heads;
  const bool divides = config.num_attention_heads > 0 && config.hidden_size % config.num_attention_heads == 0;
  // Where heads do not divide the width, 0 stays, and `validate` says so.
  if (config.kv_channels == 0 && divides)
    config.kv_channels = config.hidden_size / config.num_attention_heads;
  if (config.ffn_hidden_size == 0 && config.hidden_size > 0 && config.hidden_size <= kMaxWidth) {
    const int64_t h = config.hidden_size;
    config.ffn_hidden_size = is_gated(config.activation) ? h / 24 * 64 : 4 * h;  // 8 h / 3 / 64 = h / 24
  }
  if (config.max_position_embeddings == 0) config.max_position_embeddings = config.seq_length;
}

void validate(const ModelConfig& config) {
  Validator(config).run();
}

}  // namespace phalanx
