#include "phalanx/plan/memory_stage.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

constexpr auto& kKinds = kPlannableKinds;

struct KindBytes {
  int64_t whole = 0;
  int64_t kept = 0;
  int64_t deferred = 0;
};
using BytesByKind = std::array<KindBytes, kKinds.size()>;
using CountByKind = std::array<int64_t, kKinds.size()>;

size_t index_of(LayerKind kind) {
  return static_cast<size_t>(std::find(kKinds.begin(), kKinds.end(), kind) - kKinds.begin());
}

BytesByKind bytes_by_kind(const PlanModel& model, const PlanLayout& layout, const MemoryOptions& options) {
  BytesByKind bytes{};
  for (size_t i = 0; i < kKinds.size(); ++i) {
    if (model.count(kKinds[i]) == 0) continue;
    const auto sum = [&](PlanRecompute policy) {
      return total_bytes(layer_stash(model, layout, kKinds[i], policy, options.account, options.bytes));
    };
    bytes[i] = {.whole = sum(PlanRecompute::kNone), .kept = sum(layout.recompute)};
    bytes[i].deferred = deferred_bytes(model, layout, kKinds[i], options.bytes);
  }
  return bytes;
}

// A `*-` pair, or the largest residual layer.
int64_t largest_unit(const PlanModel& model, const BytesByKind& bytes) {
  int64_t largest = 0;
  for (const KindBytes& kind : bytes) largest = std::max(largest, kind.whole);
  if (count_pairs(model.pattern) == 0) return largest;
  return std::max(largest,
                  bytes[index_of(LayerKind::kAttention)].whole + bytes[index_of(LayerKind::kMlp)].whole);
}

// Elements a token of the widest tensor inside a layer.
int64_t widest(const PlanModel& model, int64_t tp) {
  int64_t width = 0;
  if (model.count(LayerKind::kMlp) > 0) width = (model.gated_mlp ? 2 : 1) * model.ffn;
  if (model.count(LayerKind::kAttention) > 0)
    width = std::max(width, model.query_width() + 2 * std::max(model.key_width(), tp * model.head_dim));
  if (model.count(LayerKind::kMamba2) > 0) width = std::max(width, model.mamba.in_width());
  if (model.count(LayerKind::kMamba1) > 0) width = std::max(width, 2 * model.mamba1.inner);
  return width / tp;
}

// Buffers of any stage; those of the head are added to the last.
int64_t common_buffers(const PlanModel& model, const PlanLayout& layout, const MemoryOptions& options) {
  const int64_t tokens = layout.micro_batch * model.sequence / layout.cp;
  const int64_t stream = tokens * model.hidden / (layout.sequence_parallel ? layout.tp : 1);
  int64_t elements = 2 * stream + 2 * tokens * widest(model, layout.tp);
  if (layout.sequence_parallel && layout.tp > 1) elements += tokens * model.hidden;
  if (layout.pp > 1) elements += 2 * stream;
  return options.bytes.activation * elements;
}

int64_t logit_rows(const PlanModel& model, const PlanLayout& layout, const MemoryOptions& options) {
  if (options.account == StashAccount::kPaper) return 0;
  const int64_t tokens = layout.micro_batch * model.sequence / layout.cp;
  const int64_t copy = options.bytes.activation < options.bytes.statistic ? options.bytes.activation : 0;
  return std::min(kLogitRows, tokens) * (model.vocab / layout.tp) * (options.bytes.statistic + copy);
}

// What is rebuilt at a time: the layers of one checkpoint, or one core.
int64_t recompute_working(const PlanLayout& layout, const BytesByKind& bytes, int64_t unit, int64_t units) {
  if (layout.recompute == PlanRecompute::kFull) return std::min(units, layout.layers_per_checkpoint) * unit;
  int64_t core = 0;
  for (const KindBytes& kind : bytes) core = std::max(core, kind.whole - kind.kept);
  return core;
}

void add_ends(std::vector<StageBytes>& stages, const PlanModel& model, const PlanLayout& layout,
              const MemoryOptions& options) {
  stages.front().embedding = embedding_stash(model, layout, options.account);
  stages.front().deferred += deferred_embedding_bytes(model, layout, options.bytes);
  for (const ByteItem& item : head_stash(model, layout, options.account, options.bytes)) {
    (item.label == "logits" ? stages.back().logits : stages.back().head) += item.bytes;
  }
  stages.back().working += logit_rows(model, layout, options);
  stages.back().output = 0;
}

}  // namespace

std::vector<StageBytes> stage_bytes(const PlanModel& model, const PlanLayout& layout,
                                    const MemoryOptions& options) {
  check_plannable(model.pattern, "pattern of " + model.name);
  const BytesByKind bytes = bytes_by_kind(model, layout, options);
  const int64_t checkpoint = checkpoint_bytes(model, layout, options.account, options.bytes);
  const int64_t output =
      layout.free_outputs ? 0 : output_bytes(model, layout, options.account, options.bytes);
  const int64_t buffers = common_buffers(model, layout, options);
  const int64_t unit = largest_unit(model, bytes);
  std::vector<StageBytes> stages;
  for (const StageSlice& slice : stage_slices(model, layout)) {
    StageBytes stage;
    const StageSlice again = {slice.begin, recomputed_end(model, layout, slice)};
    for (size_t i = slice.begin; i < slice.end; ++i) {
      const KindBytes& kind = bytes[index_of(model.pattern.layers[i])];
      stage.whole += kind.whole;
      stage.kept += i < again.end || layout.recompute != PlanRecompute::kFull ? kind.kept : kind.whole;
      stage.deferred += kind.deferred;
    }
    const int64_t units = count_units(model.pattern, again);
    if (layout.recompute == PlanRecompute::kFull) {
      const int64_t every = layout.layers_per_checkpoint;
      stage.checkpoints = (units + every - 1) / every * checkpoint;
    }
    stage.output = output;
    stage.working = buffers + recompute_working(layout, bytes, unit, units);
    stages.push_back(stage);
  }
  add_ends(stages, model, layout, options);
  return stages;
}

HeldByRank held_pairs(const PlanLayout& layout, const std::vector<StageBytes>& stages,
                      const Schedule* schedule, StashAccount account) {
  const bool paper =
      account == StashAccount::kPaper;  // no paper splits backward: a pair keeps its stash until W
  std::vector<PairBytes> pairs;
  for (const StageBytes& stage : stages) {
    pairs.push_back(stage.pair());
    if (paper) pairs.back().deferred = pairs.back().kept;
  }
  PHALANX_CHECK(schedule == nullptr || (schedule->pp == layout.pp && schedule->chunks == layout.chunks),
                "the schedule is the layout's");
  HeldByRank ranks =
      schedule == nullptr ? closed_held(layout, pairs) : held_at_peak(*schedule, pairs, layout.window_pairs);
  if (!paper) return ranks;
  for (std::vector<HeldPairs>& chunks : ranks) {
    for (HeldPairs& held : chunks) held.kept += std::exchange(held.deferred, 0);
  }
  return ranks;
}

namespace {

// One micro-batch of a stage, by label.
void add_pairs(const PlanModel& model, const PlanLayout& layout, const StageSlice& slice, int64_t pairs,
               const MemoryOptions& options, std::map<std::string_view, int64_t>& by_label) {
  if (pairs == 0) return;
  CountByKind again{};
  CountByKind once{};
  const size_t end = recomputed_end(model, layout, slice);
  for (size_t i = slice.begin; i < slice.end; ++i)
    ++(i < end ? again : once)[index_of(model.pattern.layers[i])];
  const PlanRecompute policy =
      layout.recompute == PlanRecompute::kSelective ? PlanRecompute::kSelective : PlanRecompute::kNone;
  for (size_t k = 0; k < kKinds.size(); ++k) {
    if (once[k] == 0) continue;
    for (const ByteItem& item : layer_stash(model, layout, kKinds[k], policy, options.account, options.bytes))
      by_label[item.label] += pairs * once[k] * item.bytes;
  }
}

}  // namespace

std::vector<ByteItem> rank_stash(const PlanModel& model, const PlanLayout& layout, size_t rank,
                                 const MemoryOptions& options, const Schedule* schedule) {
  const std::vector<StageBytes> stages = stage_bytes(model, layout, options);
  const std::vector<StageSlice> slices = stage_slices(model, layout);
  const std::vector<HeldPairs> chunks = held_pairs(layout, stages, schedule, options.account)[rank];
  const Placement placement = schedule == nullptr ? layout_placement(layout) : schedule->placement;
  PlanLayout nothing_again = layout;
  nothing_again.recompute = PlanRecompute::kNone;
  std::map<std::string_view, int64_t> by_label;
  for (size_t chunk = 0; chunk < chunks.size(); ++chunk) {
    const auto stage = static_cast<size_t>(placement[rank][chunk]);
    const HeldPairs& held = chunks[chunk];
    add_pairs(model, layout, slices[stage], held.kept, options, by_label);
    add_pairs(model, nothing_again, slices[stage], held.whole, options, by_label);
    const int64_t stashed = held.kept + held.whole;
    if (stage + 1 == stages.size()) {
      for (const ByteItem& item : head_stash(model, layout, options.account, options.bytes))
        by_label[item.label] += stashed * item.bytes;
    }
    by_label["recompute input"] += held.kept * stages[stage].checkpoints;
    by_label["embedding dropout mask"] += stashed * stages[stage].embedding;
    by_label["deferred weight gradients"] += held.deferred * stages[stage].deferred;
    by_label["stage output"] += held.total() * stages[stage].output;
  }
  std::vector<ByteItem> items;
  for (const auto& [label, bytes] : by_label) {
    if (bytes > 0) items.push_back({label, bytes});
  }
  std::stable_sort(items.begin(), items.end(),
                   [](const ByteItem& a, const ByteItem& b) { return a.bytes > b.bytes; });
  return items;
}

}  // namespace phalanx
