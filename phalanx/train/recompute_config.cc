#include "phalanx/train/recompute_config.h"

#include <fmt/format.h>

#include <algorithm>

namespace phalanx {
namespace {

bool names(const TrainConfig& train, const char* module) {
  return std::ranges::find(train.recompute_modules, module) != train.recompute_modules.end();
}

// The default of Megatron: core_attn.
bool recomputes_core(const TrainConfig& train) {
  return train.recompute == RecomputeMode::kSelective &&
         (train.recompute_modules.empty() || names(train, "core_attn"));
}

}  // namespace

RecomputePolicy recompute_policy(const TrainConfig& train) {
  return {.mode = train.recompute,
          .method = train.recompute_method,
          .num_layers = train.recompute_num_layers,
          .mlp = train.recompute == RecomputeMode::kSelective && names(train, "mlp"),
          .core = recomputes_core(train),
          .shard_inputs = train.distribute_saved_activations};
}

StashRules stash_rules(const TrainConfig& train) {
  const bool window = train.recompute != RecomputeMode::kNone;
  return {.window = window ? train.recompute_window_micro_batches : 0, .offload = train.offload_stash};
}

void set_plan_recompute(const TrainConfig& train, PlanLayout& layout) {
  const RecomputePolicy policy = recompute_policy(train);
  const bool block = policy.method == RecomputeMethod::kBlock;
  switch (policy.mode) {
    case RecomputeMode::kNone:
      layout.recompute = PlanRecompute::kNone;
      return;
    case RecomputeMode::kSelective:
      layout.recompute = PlanRecompute::kSelective;
      layout.recompute_mlp = policy.mlp;
      break;
    case RecomputeMode::kFull:
      layout.recompute = PlanRecompute::kFull;
      (block ? layout.block_layers : layout.layers_per_checkpoint) = policy.num_layers;
      layout.shard_checkpoints = policy.shard_inputs;
      break;
  }
  layout.window_pairs = train.recompute_window_micro_batches;
  layout.recompute_window = layout.recompute_window || layout.window_pairs > 0;
}

std::vector<std::string> recompute_violations(const RunConfig& config) {
  const TrainConfig& t = config.train;
  const bool paper = t.stash_mode == StashMode::kPaper;
  std::vector<std::string> violations;
  const auto require = [&](bool holds, std::string text) {
    if (!holds) violations.push_back(std::move(text));
  };
  require(t.recompute_num_layers > 0, "train.recompute_num_layers must be positive");
  for (const std::string& module : t.recompute_modules) {
    const bool known =
        module == "core_attn" || module == "layernorm" || module == "mlp_act" || module == "mlp";
    require(known, "train.recompute_modules has '" + module + "'; known: core_attn, layernorm, mlp_act, mlp");
    require(!paper || !known || module == "core_attn" || module == "mlp",
            "train.recompute_modules has '" + module +
                "', which train.stash_mode paper keeps: core_attn and mlp go with it");
  }
  require(t.recompute_modules.empty() || t.recompute == RecomputeMode::kSelective,
          "train.recompute_modules needs train.recompute selective (--recompute-granularity selective)");
  require(t.recompute_window_micro_batches >= 0,
          fmt::format("train.recompute_window_micro_batches is {}: give 0 or more",
                      t.recompute_window_micro_batches));
  require(
      t.recompute_window_micro_batches == 0 || t.recompute != RecomputeMode::kNone,
      "train.recompute_window_micro_batches needs train.recompute selective or full (--recompute-granularity)");
  if (t.distribute_saved_activations) {
    require(t.recompute == RecomputeMode::kFull,
            "train.distribute_saved_activations needs train.recompute full (--recompute-granularity full)");
    require(config.parallel.tensor > 1, "train.distribute_saved_activations needs parallel.tensor above 1");
    require(
        !config.parallel.sequence_parallel,
        "train.distribute_saved_activations and parallel.sequence_parallel both split the kept inputs: drop one");
  }
  require(!paper || !config.model.qk_norm,
          "train.stash_mode paper knows no norms of queries and keys: drop model.qk_norm or the mode");
  require(!paper || config.model.pattern.find_first_of("Mm") == std::string::npos,
          "train.stash_mode paper knows no state-space layers: drop M and m from model.pattern or the mode");
  return violations;
}

}  // namespace phalanx
