#include "phalanx/train/memory_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <map>
#include <optional>

#include "phalanx/base/error.h"
#include "phalanx/pipeline/generate.h"
#include "phalanx/plan/memory.h"
#include "phalanx/plan/plan_flops.h"
#include "phalanx/train/rank_layout.h"

namespace phalanx {
namespace {

double mib(int64_t bytes) {
  return static_cast<double>(bytes) / 1048576.0;
}

std::string row(const std::string& name, int64_t bytes) {
  return fmt::format("  {:<32}{:>12.3f} MiB\n", name, mib(bytes));
}

ByteSizes byte_sizes(DtypeKind dtype) {
  const auto element = static_cast<int64_t>(c10::elementSize(scalar_type(dtype)));
  return {.activation = element, .statistic = std::max<int64_t>(element, 4)};
}

// Steps that leave a rank more or larger micro-batches than another have no plan.
std::optional<MemoryPlan> planned(const RunConfig& config) {
  const PlanLayout layout = plan_layout(config);
  const bool even = layout.global_batch % (layout.dp * layout.micro_batch) == 0;
  if (!even || config.train.offload_stash || !config.train.rampup_batch_size.empty()) return std::nullopt;
  try {
    const Schedule schedule = make_schedule({.kind = layout.schedule,
                                             .pp = static_cast<int>(layout.pp),
                                             .chunks = static_cast<int>(layout.chunks),
                                             .micro_batches = static_cast<int>(layout.micro_batches())});
    const bool paper = config.train.stash_mode == StashMode::kPaper;
    const MemoryOptions options{.account = paper ? StashAccount::kPaper : StashAccount::kPhalanx,
                                .bytes = byte_sizes(config.train.dtype)};
    return plan_memory(planned_model(config), layout, options, &schedule);
  } catch (const Error&) {
    return std::nullopt;  // a schedule file, a kind of layer: what trains need not be plannable
  }
}

std::string by_rank(const RunConfig& config, const Mesh& mesh, const std::vector<RankMemoryUse>& ranks) {
  const std::optional<MemoryPlan> plan = planned(config);
  std::string table = fmt::format("  {:<20}{:>12}{:>12}{:>12}{:>12}{:>12}{:>8}\n", "MiB by rank", "optimizer",
                                  "weights", "stash", "planned", "on host", "pairs");
  for (size_t r = 0; r < ranks.size(); ++r) {
    const RankMemoryUse& use = ranks[r];
    const int rank = static_cast<int>(r);
    const std::string name = fmt::format("{}: tp {} dp {} pp {}", r, mesh.coordinate(rank, "tp"),
                                         mesh.coordinate(rank, "dp"), mesh.coordinate(rank, "pp"));
    const auto stage_rank = static_cast<size_t>(mesh.coordinate(rank, "pp"));
    const std::string expected =
        plan ? fmt::format("{:.3f}", mib(plan->ranks[stage_rank].activations())) : std::string("-");
    table +=
        fmt::format("  {:<20}{:>12.3f}{:>12.3f}{:>12.3f}{:>12}{:>12.3f}{:>8}\n", name, mib(use.optimizer),
                    mib(use.weights), mib(use.stash_bytes), expected, mib(use.host_bytes), use.peak_pairs);
  }
  return table;
}

using Key = std::pair<int64_t, std::string>;  // order, name

std::string rows(const char* title, const std::map<Key, int64_t>& sums) {
  std::string table = fmt::format("stash at its peak by {}, all ranks:\n", title);
  for (const auto& [key, bytes] : sums) table += row(key.second, bytes);
  return table;
}

Key layer_key(const Pattern& pattern, int layer) {
  if (layer < 0) return {layer, "embedding, head, deferred"};
  return {layer,
          fmt::format("layer {} ({})", layer, layer_kind_name(pattern.layers[static_cast<size_t>(layer)]))};
}

// Bytes of one micro-batch under labels of the paper's account, all layers of the model on one tensor rank.
int64_t paper_bytes(const PlanModel& model, const PlanLayout& layout, const ByteSizes& bytes,
                    std::initializer_list<std::string_view> labels) {
  int64_t sum = 0;
  for (const LayerKind kind : {LayerKind::kAttention, LayerKind::kMlp}) {
    if (model.count(kind) == 0) continue;
    for (const ByteItem& item :
         layer_stash(model, layout, kind, PlanRecompute::kNone, StashAccount::kPaper, bytes)) {
      if (std::ranges::find(labels, item.label) != labels.end()) sum += model.count(kind) * item.bytes;
    }
  }
  return sum;
}

double percent(double part, double whole) {
  return whole > 0 ? 100 * part / whole : 0;
}

std::string saved_row(const std::string& name, int64_t bytes, const std::string& cost) {
  return fmt::format("  {:<32}{:>12.3f} MiB  {}\n", name, mib(bytes), cost);
}

// What full recomputation, or the MLP's, runs again.
std::string rerun_rows(const PlanModel& model, const PlanLayout& layout, const ByteSizes& bytes,
                       const TokenBatch& batch, double step) {
  const auto cost = [&](double flops) { return fmt::format("{:.1f} % more FLOPs", percent(flops, step)); };
  const auto bytes_again = [&](LayerKind kind, int64_t layers) {
    const auto items = layer_stash(model, layout, kind, PlanRecompute::kNone, StashAccount::kPhalanx, bytes);
    return layers * total_bytes(items);
  };
  if (layout.recompute_mlp) {
    const int64_t layers = model.count(LayerKind::kMlp);
    const double flops =
        static_cast<double>(layers) * layer_flops(model, LayerKind::kMlp, batch, AttentionSpan::kCausal);
    return saved_row("MLP layers, from their inputs", bytes_again(LayerKind::kMlp, layers), cost(flops));
  }
  if (layout.recompute != PlanRecompute::kFull) return "";
  std::map<LayerKind, int64_t> again;
  for (const StageSlice& slice : stage_slices(model, layout)) {
    for (size_t i = slice.begin; i < recomputed_end(model, layout, slice); ++i)
      ++again[model.pattern.layers[i]];
  }
  int64_t kept = 0;
  double flops = 0;
  int64_t layers = 0;
  for (const auto& [kind, count] : again) {
    kept += bytes_again(kind, count);
    flops += static_cast<double>(count) * layer_flops(model, kind, batch, AttentionSpan::kCausal);
    layers += count;
  }
  return saved_row(fmt::format("{} residual layers", layers), kept,
                   cost(flops) + "; kept inputs not deducted");
}

}  // namespace

std::string memory_table(const RunConfig& config, const Mesh& mesh, const std::vector<RankMemoryUse>& ranks) {
  const Pattern pattern = parse_pattern(config.model.pattern);
  std::map<std::string, int64_t> labels;
  std::map<Key, int64_t> by_layer;
  std::map<Key, int64_t> by_micro_batch;
  for (const RankMemoryUse& use : ranks) {
    for (const HeldItem& held : use.items) {
      labels[held.item.label] += held.item.bytes;
      by_layer[layer_key(pattern, held.item.layer)] += held.item.bytes;
      by_micro_batch[{held.micro_batch, fmt::format("micro-batch {}", held.micro_batch)}] += held.item.bytes;
    }
  }
  std::map<Key, int64_t> by_label;  // largest first
  for (const auto& [label, bytes] : labels) by_label[{-bytes, label}] = bytes;
  return by_rank(config, mesh, ranks) + rows("label", by_label) + rows("layer", by_layer) +
         rows("micro-batch", by_micro_batch);
}

std::string saved_memory_table(const RunConfig& config) {
  if (config.train.stash_mode == StashMode::kPaper) return "";
  const PlanModel model = planned_model(config);
  const PlanLayout layout = plan_layout(config);
  const ByteSizes bytes = byte_sizes(config.train.dtype);
  const TokenBatch batch = token_batch(layout.micro_batch, model.sequence);
  const double step = 3 * forward_flops(model, batch, AttentionSpan::kCausal);
  const double cores = static_cast<double>(model.count(LayerKind::kAttention)) *
                       core_flops(model, batch, AttentionSpan::kCausal);
  const auto saved = [&](std::initializer_list<std::string_view> labels) {
    return paper_bytes(model, layout, bytes, labels);
  };
  std::string table = "not kept of one micro-batch, all layers of a tensor rank, and what that costs:\n";
  table += saved_row("core_attn", saved({"softmax output", "softmax mask", "softmax dropout output"}),
                     fmt::format("{:.1f} % more FLOPs, inside the fused backward", percent(cores, step)));
  table += saved_row("layernorm", saved({"qkv input", "up input"}), "norm outputs: element-wise work again");
  table += saved_row("mlp_act", saved({"down input"}), "activation outputs: element-wise work again");
  if (model.dropout)
    table += saved_row("dropout masks", saved({"dropout mask"}), "random bits are drawn again");
  return table + rerun_rows(model, layout, bytes, batch, step);
}

}  // namespace phalanx
