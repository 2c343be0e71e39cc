#include "phalanx/plan/memory.h"

#include <algorithm>
#include <array>

#include "phalanx/base/error.h"
#include "phalanx/plan/counts.h"
#include "phalanx/plan/in_flight.h"
#include "phalanx/plan/memory_stage.h"

namespace phalanx {
namespace {

int64_t ceil_div(int64_t value, int64_t parts) {
  return (value + parts - 1) / parts;
}

class Planner {
 public:
  Planner(const PlanModel& model, const PlanLayout& layout, const MemoryOptions& options)
      : model_(model),
        layout_(layout),
        options_(options),
        parameters_(stage_parameters(model, layout)),
        stages_(stage_bytes(model, layout, options)),
        placement_(layout_placement(layout)) {}

  MemoryPlan run(const Schedule* schedule) {
    const HeldByRank held = held_pairs(layout_, stages_, schedule, options_.account);
    walked_ = schedule != nullptr;
    if (schedule != nullptr) placement_ = schedule->placement;
    MemoryPlan plan;
    for (size_t rank = 0; rank < held.size(); ++rank) {
      plan.ranks.push_back(one_rank(rank, held[rank]));
      if (plan.ranks[rank].total() > plan.ranks[plan.worst].total()) plan.worst = rank;
    }
    return plan;
  }

 private:
  size_t stage_of(size_t rank, size_t chunk) const { return static_cast<size_t>(placement_[rank][chunk]); }

  RankMemory one_rank(size_t rank, const std::vector<HeldPairs>& held) const {
    RankMemory memory;
    add_state(memory, rank);
    for (size_t chunk = 0; chunk < held.size(); ++chunk) {
      const StageBytes& stage = stages_[stage_of(rank, chunk)];
      const int64_t pairs = held[chunk].kept + held[chunk].whole;
      memory.pairs += held[chunk].total();
      memory.whole_pairs += held[chunk].whole;
      memory.stash += held[chunk].kept * stage.kept + held[chunk].whole * stage.whole;
      memory.checkpoints += held[chunk].kept * stage.checkpoints;
      memory.deferred += held[chunk].deferred * stage.deferred;
      memory.embedding += pairs * stage.embedding;
      memory.head += pairs * stage.head;
      memory.logits += pairs * stage.logits;
      memory.outputs += held[chunk].total() * stage.output;
    }
    memory.buffers = buffers(rank);
    open_window(memory, rank);
    return memory;
  }

  void add_state(RankMemory& memory, size_t rank) const {
    const int64_t parameters = rank_parameter_count(model_, layout_, parameters_, placement_[rank]);
    const int64_t shards = layout_.dp * layout_.cp;
    const auto bytes = [&](int64_t a_parameter, int64_t from_stage) {
      const int64_t held = layout_.zero >= from_stage ? ceil_div(parameters, shards) : parameters;
      return a_parameter * held;
    };
    memory.weights = bytes(options_.bytes.weight, 3);
    memory.gradients = bytes(options_.bytes.gradient, 2);
    memory.optimizer = bytes(options_.bytes.optimizer, 1);
  }

  int64_t buffers(size_t rank) const {
    int64_t working = 0;
    int64_t largest_layer = 0;
    int64_t largest_part = 0;
    for (size_t chunk = 0; chunk < placement_[rank].size(); ++chunk) {
      const size_t stage = stage_of(rank, chunk);
      const StageParameters& counts = parameters_[stage];
      working = std::max(working, stages_[stage].working);
      largest_layer = std::max(largest_layer, counts.largest_layer);
      largest_part = std::max({largest_part, counts.largest_layer, counts.embedding, counts.head});
    }
    if (layout_.dp * layout_.cp == 1) return working;
    if (layout_.zero >= 2) working += options_.bytes.gradient * largest_layer;
    if (layout_.zero >= 3) working += options_.bytes.weight * (largest_part + largest_layer);
    return working;
  }

  // Appendix C: what is free goes to pairs that keep their whole stash.
  void open_window(RankMemory& memory, size_t rank) const {
    if (layout_.recompute == PlanRecompute::kNone) memory.whole_pairs = memory.pairs;
    if (!layout_.recompute_window || memory.pairs == 0) return;
    if (layout_.window_pairs > 0 && walked_) return;
    const StageBytes* costliest = nullptr;
    const auto extra = [](const StageBytes& s) { return s.whole - s.kept - s.checkpoints; };
    for (size_t chunk = 0; chunk < placement_[rank].size(); ++chunk) {
      const StageBytes& stage = stages_[stage_of(rank, chunk)];
      if (costliest == nullptr || extra(stage) > extra(*costliest)) costliest = &stage;
    }
    const int64_t free = std::max<int64_t>(options_.capacity - memory.total(), 0);
    const int64_t a_pair = std::max<int64_t>(extra(*costliest), 0);
    const int64_t fit = layout_.window_pairs > 0 ? layout_.window_pairs
                        : a_pair == 0            ? memory.pairs
                                                 : free / a_pair;
    memory.whole_pairs = std::min(memory.pairs, fit);
    memory.stash += memory.whole_pairs * (costliest->whole - costliest->kept);
    memory.checkpoints -= memory.whole_pairs * costliest->checkpoints;
  }

  const PlanModel& model_;
  const PlanLayout& layout_;
  const MemoryOptions& options_;
  std::vector<StageParameters> parameters_;
  std::vector<StageBytes> stages_;
  Placement placement_;
  bool walked_ = false;  // counts are a schedule's
};

}  // namespace

double RankMemory::recomputed() const {
  return pairs == 0 ? 0.0 : static_cast<double>(pairs - whole_pairs) / static_cast<double>(pairs);
}

MemoryPlan plan_memory(const PlanModel& model, const PlanLayout& layout, const MemoryOptions& options,
                       const Schedule* schedule) {
  return Planner(model, layout, options).run(schedule);
}

std::vector<ByteItem> memory_items(const RankMemory& rank) {
  return {{"weights", rank.weights},
          {"gradients", rank.gradients},
          {"optimizer", rank.optimizer},
          {"stash", rank.stash},
          {"kept inputs", rank.checkpoints},
          {"embedding mask", rank.embedding},
          {"head", rank.head},
          {"logits", rank.logits},
          {"deferred gradients", rank.deferred},
          {"stage outputs", rank.outputs},
          {"buffers", rank.buffers}};
}

int64_t kept_inputs_bytes(const PlanModel& model, int64_t batch, int64_t layers_per_checkpoint) {
  const int64_t units = count_units(model.pattern, {0, model.pattern.layers.size()});
  return 2 * batch * model.sequence * model.hidden * ceil_div(units, layers_per_checkpoint);
}

double interleaving_factor(int64_t pp, int64_t chunks) {
  if (chunks == 1) return 1.0;
  return 1.0 + static_cast<double>(pp - 1) / static_cast<double>(pp * chunks);
}

PaperFirstStage paper_first_stage(const PlanModel& model, const PlanLayout& layout) {
  PHALANX_CHECK(is_transformer(model.pattern) && layout.cp == 1, "the paper's first stage is that of a GPT");
  const auto s = static_cast<double>(model.sequence);
  const auto b = static_cast<double>(layout.micro_batch);
  const auto h = static_cast<double>(model.hidden);
  const auto a = static_cast<double>(model.heads);
  const auto L = static_cast<double>(model.count(LayerKind::kAttention));
  const auto V = static_cast<double>(model.vocab);
  const auto p = static_cast<double>(layout.pp);
  const double unit = s * b * h * L / static_cast<double>(layout.tp);
  double a_layer = 34 + 5 * a * s / h;
  if (layout.recompute == PlanRecompute::kSelective) a_layer = 34;
  if (layout.recompute == PlanRecompute::kFull)
    a_layer = layout.shard_checkpoints ? 2 : 2 * static_cast<double>(layout.tp);
  const double last = layout.pp == 1 ? 4 / L * (1 + V / h) : 0;
  return {.layers = unit * a_layer * interleaving_factor(layout.pp, layout.chunks),
          .extras = unit * (p / L + last)};
}

}  // namespace phalanx
