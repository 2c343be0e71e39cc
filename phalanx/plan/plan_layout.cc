#include "phalanx/plan/plan_layout.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "phalanx/base/error.h"
#include "phalanx/mesh/mesh.h"
#include "phalanx/pipeline/build_schedule.h"
#include "phalanx/pipeline/generate.h"
#include "phalanx/plan/partition.h"

namespace phalanx {
namespace {

constexpr int64_t kMaxWorld = int64_t{1} << 24;
constexpr int64_t kMaxBatch = int64_t{1} << 31;

class LayoutCheck {
 public:
  LayoutCheck(const PlanModel& model, const PlanLayout& layout) : model_(model), l_(layout) {}

  std::vector<std::string> run() {
    violations_ = model_violations(model_);
    const bool model_ok = violations_.empty();
    check_settings();
    if (!check_sizes() || !model_ok) return std::move(violations_);  // the rest divides by them
    check_batch();
    check_tensor();
    check_sequence();
    check_stages();
    check_schedule();
    return std::move(violations_);
  }

 private:
  template <typename... Args>
  void add(fmt::format_string<Args...> text, Args&&... args) {
    violations_.push_back(fmt::format(text, std::forward<Args>(args)...));
  }

  void divides(const char* name, int64_t value, const char* part_name, int64_t part) {
    if (value % part != 0) add("{} = {} is no multiple of {} = {}", name, value, part_name, part);
  }

  // Fewer groups than ranks are held more than once.
  void shares(const char* name, int64_t groups) {
    if (groups % l_.tp != 0 && l_.tp % groups != 0)
      add("{} = {} is neither a multiple nor a divisor of tp = {}", name, groups, l_.tp);
  }

  bool in_range(const char* name, int64_t value, int64_t low, int64_t high) {
    if (value >= low && value <= high) return true;
    add("{} = {} is not from {} to {}", name, value, low, high);
    return false;
  }

  bool check_sizes() {
    bool ok = true;
    for (const auto& [name, value] :
         {std::pair{"tp", l_.tp}, std::pair{"pp", l_.pp}, std::pair{"chunks", l_.chunks},
          std::pair{"cp", l_.cp}, std::pair{"dp", l_.dp}}) {
      ok &= in_range(name, value, 1, kMaxWorld);
    }
    ok &= in_range("micro_batch", l_.micro_batch, 1, kMaxBatch);
    ok &= in_range("global_batch", l_.global_batch, 1, kMaxBatch);
    if (!ok) return false;
    const double ranks = static_cast<double>(l_.tp) * static_cast<double>(l_.pp) *
                         static_cast<double>(l_.cp) * static_cast<double>(l_.dp);
    if (ranks <= static_cast<double>(kMaxWorld)) return true;
    add("tp x pp x cp x dp = {:.0f} is above {}", ranks, kMaxWorld);
    return false;
  }

  void check_settings() {
    in_range("zero", l_.zero, 0, 3);
    if (l_.layers_per_checkpoint < 1) add("layers_per_checkpoint = {} is below 1", l_.layers_per_checkpoint);
    if (l_.recompute != PlanRecompute::kFull) {
      if (l_.layers_per_checkpoint > 1)
        add("layers_per_checkpoint = {} needs recompute full", l_.layers_per_checkpoint);
      if (l_.shard_checkpoints) add("shard_checkpoints needs recompute full");
      if (l_.block_layers != 0) add("block_layers = {} needs recompute full", l_.block_layers);
    }
    if (l_.block_layers < 0) add("block_layers = {} is below 0", l_.block_layers);
    if (l_.block_layers > 0 && l_.layers_per_checkpoint > 1)
      add("block_layers = {} keeps every input: layers_per_checkpoint = {} does not go with it",
          l_.block_layers, l_.layers_per_checkpoint);
    if (l_.recompute_mlp && l_.recompute != PlanRecompute::kSelective)
      add("recompute_mlp needs recompute selective");
    if (l_.window_pairs < 0) add("window_pairs = {} is below 0", l_.window_pairs);
    if (l_.window_pairs > 0 && !l_.recompute_window)
      add("window_pairs = {} needs recompute_window", l_.window_pairs);
    if (l_.recompute_window && l_.recompute == PlanRecompute::kNone)
      add("recompute_window needs a recompute policy");
    std::string order = l_.order + "-";
    for (const std::string_view axis : kMeshAxes) {
      const size_t at = order.find(std::string(axis) + "-");
      if (at == std::string::npos) {
        add("order '{}' lacks the axis '{}'", l_.order, axis);
      } else {
        order.erase(at, axis.size() + 1);
      }
    }
    if (!order.empty() && order != "-") add("order '{}' has more than the axes tp, cp, dp and pp", l_.order);
  }

  void check_batch() {
    const int64_t per_step = l_.dp * l_.micro_batch;
    divides("global_batch", l_.global_batch, "dp x micro_batch", per_step);
  }

  void check_tensor() {
    divides("padded vocab", model_.vocab, "tp", l_.tp);
    if (model_.count(LayerKind::kAttention) > 0) {
      divides("heads", model_.heads, "tp", l_.tp);
      shares("kv_groups", model_.kv_groups);
    }
    if (model_.count(LayerKind::kMlp) > 0) divides("ffn", model_.ffn, "tp", l_.tp);
    if (model_.count(LayerKind::kMamba2) > 0) {
      // The ranks of a sequence swap their pieces of it for heads.
      divides("mamba heads", model_.mamba.heads(), "tp x cp", l_.tp * l_.cp);
      shares("mamba.groups", model_.mamba.groups);
    }
    if (model_.count(LayerKind::kMamba1) > 0) {
      divides("mamba1 inner width", model_.mamba1.inner, "tp x cp", l_.tp * l_.cp);
    }
  }

  void check_sequence() {
    // A context rank holds an early and a late piece of the sequence, so that causal work is even.
    if (l_.cp > 1) divides("sequence", model_.sequence, "2 x cp", 2 * l_.cp);
    if (l_.sequence_parallel)
      divides("micro_batch x sequence", l_.micro_batch * model_.sequence, "tp x cp", l_.tp * l_.cp);
  }

  void check_stages() {
    const int64_t stages = l_.pp * l_.chunks;
    const auto layers = static_cast<int64_t>(model_.pattern.layers.size());
    if (model_.pattern.num_stages() > 1) {
      const auto named = static_cast<int64_t>(model_.pattern.num_stages());
      if (named != stages) add("the pattern names {} stages, pp x chunks = {}", named, stages);
    } else if (is_transformer(model_.pattern)) {
      const int64_t pairs = layers / 2;
      if (pairs < stages) {
        add("transformer layers = {} are fewer than pp x chunks = {}", pairs, stages);
      } else {
        divides("transformer layers", pairs, "pp x chunks", stages);
      }
    } else if (layers < stages) {
      add("residual layers = {} are fewer than pp x chunks = {}", layers, stages);
    }
  }

  void check_schedule() {
    if (l_.chunks > 1 && l_.pp == 1) add("chunks = {} needs pp above 1", l_.chunks);
    if (l_.schedule.ends_with(".json")) return;  // says itself what it needs
    const std::span<const ScheduleKind> kinds = schedule_kinds();
    const auto kind = std::find_if(kinds.begin(), kinds.end(),
                                   [&](const ScheduleKind& k) { return k.name == l_.schedule; });
    if (kind == kinds.end()) {
      std::vector<std::string_view> names;
      for (const ScheduleKind& k : kinds) names.push_back(k.name);
      add("schedule '{}' is none of {}", l_.schedule, fmt::join(names, ", "));
    } else if (l_.chunks < kind->min_chunks || (kind->max_chunks > 0 && l_.chunks > kind->max_chunks)) {
      const std::string most = kind->max_chunks > 0 ? fmt::format(" to {}", kind->max_chunks) : " or more";
      add("schedule {} has {}{} chunks a rank, not {}", kind->name, kind->min_chunks, most, l_.chunks);
    }
  }

  const PlanModel& model_;
  const PlanLayout& l_;
  std::vector<std::string> violations_;
};

}  // namespace

std::string_view recompute_name(PlanRecompute policy) {
  switch (policy) {
    case PlanRecompute::kNone:
      return "none";
    case PlanRecompute::kSelective:
      return "selective";
    case PlanRecompute::kFull:
      return "full";
  }
  PHALANX_CHECK(false, "a recompute policy without a name");
}

std::string to_string(const PlanLayout& l) {
  const PlanLayout plain;
  std::vector<std::string> axes;
  if (l.tp != plain.tp) axes.push_back(fmt::format("tp {}{}", l.tp, l.sequence_parallel ? " sp" : ""));
  if (l.pp != plain.pp) axes.push_back(fmt::format("pp {}", l.pp));
  if (l.chunks != plain.chunks) axes.push_back(fmt::format("x {} chunks", l.chunks));
  if (l.cp != plain.cp) axes.push_back(fmt::format("cp {}", l.cp));
  if (l.dp != plain.dp) axes.push_back(fmt::format("dp {}", l.dp));
  std::vector<std::string> parts;
  parts.push_back(axes.empty() ? "one rank" : fmt::format("{}", fmt::join(axes, " ")));
  if (l.pp > 1 || l.schedule != plain.schedule) parts.push_back(l.schedule);
  parts.push_back(fmt::format("micro-batch {} x {}", l.micro_batch, l.micro_batches()));
  if (l.recompute != plain.recompute) {
    std::string text = fmt::format("recompute {}", recompute_name(l.recompute));
    if (l.layers_per_checkpoint > 1) text += fmt::format(" every {} layers", l.layers_per_checkpoint);
    if (l.block_layers > 0) text += fmt::format(" of {} layers a stage", l.block_layers);
    if (l.recompute_mlp) text += " with MLPs";
    if (l.shard_checkpoints) text += ", sharded checkpoints";
    if (l.recompute_window) text += ", window";
    if (l.window_pairs > 0) text += fmt::format(" of {}", l.window_pairs);
    parts.push_back(text);
  }
  if (l.free_outputs != plain.free_outputs) parts.emplace_back("outputs kept");
  if (l.scatter_gather != plain.scatter_gather) parts.emplace_back("no scatter-gather");
  if (l.zero != plain.zero) parts.push_back(fmt::format("zero {}", l.zero));
  if (l.order != plain.order) parts.push_back("order " + l.order);
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::vector<std::string> layout_violations(const PlanModel& model, const PlanLayout& layout) {
  return LayoutCheck(model, layout).run();
}

void check_layout(const PlanModel& model, const PlanLayout& layout) {
  check_plannable(model.pattern, "pattern of " + model.name);
  const std::vector<std::string> violations = layout_violations(model, layout);
  if (violations.empty()) return;
  throw Error(ErrorKind::kBadInput, {.where = "layout of " + model.name,
                                     .got = fmt::format("{}", fmt::join(violations, "; ")),
                                     .needed = "sizes that divide",
                                     .fix = "change the layout, or the model's sizes"});
}

std::vector<StageSlice> stage_slices(const PlanModel& model, const PlanLayout& layout) {
  const auto stages = static_cast<size_t>(layout.pp * layout.chunks);
  const Pattern& pattern = model.pattern;
  if (pattern.num_stages() == 1 && !is_transformer(pattern)) return balanced_slices(model, stages);
  std::vector<StageSlice> slices(stages);
  const size_t equal = pattern.layers.size() / stages;
  for (size_t s = 0; s < stages; ++s) {
    slices[s] = pattern.num_stages() > 1 ? StageSlice{pattern.stage_begin[s], pattern.stage_end(s)}
                                         : StageSlice{s * equal, (s + 1) * equal};
  }
  return slices;
}

size_t recomputed_end(const PlanModel& model, const PlanLayout& layout, const StageSlice& slice) {
  if (layout.recompute != PlanRecompute::kFull) return slice.begin;
  if (layout.block_layers == 0) return slice.end;
  size_t end = slice.begin;
  for (int64_t unit = 0; unit < layout.block_layers && end < slice.end; ++unit)
    end = unit_end(model.pattern, end, slice.end);
  return end;
}

Placement layout_placement(const PlanLayout& layout) {
  const auto pp = static_cast<int>(layout.pp);
  if (layout.schedule == "zb-v" || layout.schedule == "v-half") return v_placement(pp);
  return round_robin_placement(pp, static_cast<int>(layout.chunks));
}

}  // namespace phalanx
