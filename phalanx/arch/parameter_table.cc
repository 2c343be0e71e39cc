#include "phalanx/arch/parameter_table.h"

#include <algorithm>
#include <cmath>

#include "phalanx/arch/pattern.h"
#include "phalanx/base/error.h"

namespace phalanx {
namespace {

using Shape = std::vector<int64_t>;

class Builder {
 public:
  Builder(const ModelConfig& config, const Pattern& pattern)
      : c_(config),
        // Each residual layer adds one branch to the stream, and a transformer layer is two of them, so this is the
        // usual init_std / sqrt(2 L) for a GPT and keeps its meaning for patterns that are no pairs.
        branch_std_(config.init_std / std::sqrt(static_cast<double>(pattern.layers.size()))) {
    embedding();
    for (size_t i = 0; i < pattern.layers.size(); ++i)
      layer("layers." + std::to_string(i) + ".", pattern.layers[i]);
    norm("final_norm");
    if (!c_.tied_embeddings) {
      alone(weight("head.weight", {c_.vocab_size, c_.hidden_size}, ShardRule::kVocab, c_.init_std));
    }
  }

  ParameterTable take() {
    int32_t ordinal = 0;
    for (FusedParameter& parameter : table_.parameters) {
      for (LogicalTensor& part : parameter.parts) part.ordinal = ordinal++;
    }
    return std::move(table_);
  }

 private:
  static LogicalTensor weight(std::string name, Shape shape, ShardRule shard, double std) {
    return {.name = std::move(name),
            .shape = std::move(shape),
            .shard = shard,
            .init = InitKind::kNormal,
            .init_std = std,
            .decay = true};
  }

  static LogicalTensor bias(std::string name, int64_t size, ShardRule shard) {
    return {.name = std::move(name), .shape = {size}, .shard = shard, .init = InitKind::kZero};
  }

  LogicalTensor norm_weight(std::string name, int64_t size) const {
    // norm_1p stores w - 1, so that one is stored as zero.
    return {.name = std::move(name), .shape = {size}, .init = c_.norm_1p ? InitKind::kZero : InitKind::kOne};
  }

  void alone(LogicalTensor tensor) {
    FusedParameter parameter{.name = tensor.name, .parts = {}};
    parameter.parts.push_back(std::move(tensor));
    table_.parameters.push_back(std::move(parameter));
  }

  void fused(std::string name, std::vector<LogicalTensor> parts) {
    table_.parameters.push_back({.name = std::move(name), .parts = std::move(parts)});
  }

  void embedding() {
    alone(weight("embedding.token.weight", {c_.vocab_size, c_.hidden_size}, ShardRule::kVocab, c_.init_std));
    if (c_.position_embedding == PositionKind::kLearnedAbsolute) {
      alone(weight("embedding.position.weight", {c_.max_position_embeddings, c_.hidden_size},
                   ShardRule::kReplicated, c_.init_std));
    }
  }

  void norm(const std::string& name) {
    alone(norm_weight(name + ".weight", c_.hidden_size));
    if (c_.normalization == NormKind::kLayerNorm) {
      alone(bias(name + ".bias", c_.hidden_size, ShardRule::kReplicated));
    }
  }

  void layer(const std::string& prefix, LayerKind kind) {
    norm(prefix + "norm");
    switch (kind) {
      case LayerKind::kAttention:
        return attention(prefix + "attention.");
      case LayerKind::kMlp:
        return mlp(prefix + "mlp.");
      case LayerKind::kMamba2:
        return mamba2(prefix + "mamba.");
      case LayerKind::kMamba1:
        return mamba1(prefix + "mamba1.");
      default:
        PHALANX_CHECK(false, "the config was not validated: no parameters for this kind of layer");
    }
  }

  void attention(const std::string& prefix) {
    const int64_t query = c_.num_attention_heads * c_.kv_channels;
    const int64_t key = c_.num_query_groups * c_.kv_channels;
    const std::vector<std::pair<const char*, int64_t>> parts = {{"q", query}, {"k", key}, {"v", key}};
    std::vector<LogicalTensor> weights;
    std::vector<LogicalTensor> biases;
    for (const auto& [part, rows] : parts) {
      weights.push_back(
          weight(prefix + part + ".weight", {rows, c_.hidden_size}, ShardRule::kColumn, c_.init_std));
      biases.push_back(bias(prefix + part + ".bias", rows, ShardRule::kColumn));
    }
    fused(prefix + "qkv.weight", std::move(weights));
    if (c_.has_qkv_bias()) fused(prefix + "qkv.bias", std::move(biases));
    if (c_.qk_norm) {
      alone(norm_weight(prefix + "q_norm.weight", c_.kv_channels));
      alone(norm_weight(prefix + "k_norm.weight", c_.kv_channels));
    }
    alone(weight(prefix + "out.weight", {c_.hidden_size, query}, ShardRule::kRow, branch_std_));
    if (c_.bias) alone(bias(prefix + "out.bias", c_.hidden_size, ShardRule::kReplicated));
  }

  void mlp(const std::string& prefix) {
    const int64_t inner = c_.ffn_hidden_size;
    const LogicalTensor up =
        weight(prefix + "up.weight", {inner, c_.hidden_size}, ShardRule::kColumn, c_.init_std);
    const LogicalTensor up_bias = bias(prefix + "up.bias", inner, ShardRule::kColumn);
    if (is_gated(c_.activation)) {
      fused(prefix + "gate_up.weight",
            {weight(prefix + "gate.weight", {inner, c_.hidden_size}, ShardRule::kColumn, c_.init_std), up});
      if (c_.bias)
        fused(prefix + "gate_up.bias", {bias(prefix + "gate.bias", inner, ShardRule::kColumn), up_bias});
    } else {
      alone(up);
      if (c_.bias) alone(up_bias);
    }
    alone(weight(prefix + "down.weight", {c_.hidden_size, inner}, ShardRule::kRow, branch_std_));
    if (c_.bias) alone(bias(prefix + "down.bias", c_.hidden_size, ShardRule::kReplicated));
  }

  struct Part {
    const char* name;
    int64_t rows;
  };

  // Weights of one linear, stacked.
  std::vector<LogicalTensor> weights(const std::string& prefix, const std::vector<Part>& parts,
                                     int64_t columns, ShardRule shard) const {
    std::vector<LogicalTensor> tensors;
    for (const auto& [part, rows] : parts)
      tensors.push_back(weight(prefix + part + ".weight", {rows, columns}, shard, c_.init_std));
    return tensors;
  }

  static LogicalTensor uniform(LogicalTensor tensor, double bound) {
    tensor.init = InitKind::kUniform;
    tensor.init_low = -bound;
    tensor.init_high = bound;
    return tensor;
  }

  void convolution(const std::string& prefix, const std::vector<Part>& parts) {
    const int64_t taps = c_.mamba_conv_kernel;
    const double bound = 1.0 / std::sqrt(static_cast<double>(taps));
    std::vector<LogicalTensor> weights;
    std::vector<LogicalTensor> biases;
    for (const auto& [part, rows] : parts) {
      weights.push_back(
          uniform(weight(prefix + part + ".weight", {rows, taps}, ShardRule::kColumn, 0.0), bound));
      biases.push_back(uniform(bias(prefix + part + ".bias", rows, ShardRule::kColumn), bound));
    }
    fused(prefix + "conv.weight", std::move(weights));
    if (c_.mamba_conv_bias) fused(prefix + "conv.bias", std::move(biases));
  }

  // A parameter of the scan: exponents are made of them, so they keep their precision and are not pulled to zero.
  static LogicalTensor scan_parameter(std::string name, Shape shape, InitKind init) {
    return {.name = std::move(name),
            .shape = std::move(shape),
            .shard = ShardRule::kColumn,
            .init = init,
            .keep_fp32 = true};
  }

  void step_bias(const std::string& prefix, int64_t size) {
    LogicalTensor tensor = scan_parameter(prefix + "dt_bias", {size}, InitKind::kInverseSoftplus);
    tensor.init_low = c_.mamba_dt_init_min;
    tensor.init_high = c_.mamba_dt_init_max;
    tensor.init_floor = c_.mamba_dt_init_floor;
    alone(std::move(tensor));
  }

  void mamba2(const std::string& prefix) {
    const int64_t inner = c_.mamba_inner();
    const int64_t heads = c_.mamba_num_heads;
    const int64_t group = c_.mamba_num_groups * c_.mamba_state_dim;
    fused(prefix + "in.weight",
          weights(prefix, {{"z", inner}, {"x", inner}, {"B", group}, {"C", group}, {"dt", heads}},
                  c_.hidden_size, ShardRule::kColumn));
    convolution(prefix, {{"conv_x", inner}, {"conv_B", group}, {"conv_C", group}});
    step_bias(prefix, heads);
    LogicalTensor decay = scan_parameter(prefix + "A_log", {heads}, InitKind::kLogUniform);
    decay.init_low = 1.0;
    decay.init_high = 16.0;
    alone(std::move(decay));
    alone(scan_parameter(prefix + "D", {heads}, InitKind::kOne));
    alone({.name = prefix + "norm.weight",
           .shape = {inner},
           .shard = ShardRule::kColumn,
           .init = InitKind::kOne});
    alone(weight(prefix + "out.weight", {c_.hidden_size, inner}, ShardRule::kRow, branch_std_));
  }

  void mamba1(const std::string& prefix) {
    const int64_t inner = c_.mamba1_inner();
    const int64_t states = c_.mamba1_state_dim;
    const int64_t rank = c_.mamba1_dt_rank;
    fused(prefix + "in.weight",
          weights(prefix, {{"x", inner}, {"z", inner}}, c_.hidden_size, ShardRule::kColumn));
    convolution(prefix, {{"conv", inner}});
    fused(prefix + "x_proj.weight",
          weights(prefix, {{"dt_low", rank}, {"B", states}, {"C", states}}, inner, ShardRule::kRow));
    alone(uniform(weight(prefix + "dt_proj.weight", {inner, rank}, ShardRule::kColumn, 0.0),
                  1.0 / std::sqrt(static_cast<double>(rank))));
    step_bias(prefix, inner);
    alone(scan_parameter(prefix + "A_log", {inner, states}, InitKind::kLogCount));
    alone(scan_parameter(prefix + "D", {inner}, InitKind::kOne));
    alone(weight(prefix + "out.weight", {c_.hidden_size, inner}, ShardRule::kRow, branch_std_));
  }

  const ModelConfig& c_;
  double branch_std_;
  ParameterTable table_;
};

}  // namespace

int64_t ParameterTable::num_parameters() const {
  int64_t total = 0;
  for (const LogicalTensor* tensor : logical_tensors()) {
    int64_t elements = 1;
    for (const int64_t size : tensor->shape) elements *= size;
    total += elements;
  }
  return total;
}

const FusedParameter& ParameterTable::at(const std::string& name) const {
  const auto it =
      std::find_if(parameters.begin(), parameters.end(), [&](const auto& p) { return p.name == name; });
  PHALANX_CHECK(it != parameters.end(), "no parameter " + name);
  return *it;
}

bool ParameterTable::contains(const std::string& name) const {
  return std::any_of(parameters.begin(), parameters.end(), [&](const auto& p) { return p.name == name; });
}

std::vector<const LogicalTensor*> ParameterTable::logical_tensors() const {
  std::vector<const LogicalTensor*> tensors;
  for (const FusedParameter& parameter : parameters) {
    for (const LogicalTensor& part : parameter.parts) tensors.push_back(&part);
  }
  return tensors;
}

ParameterTable make_parameter_table(const ModelConfig& config) {
  return Builder(config, parse_pattern(config.pattern)).take();
}

}  // namespace phalanx
