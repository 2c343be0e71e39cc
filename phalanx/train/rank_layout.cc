#include "phalanx/train/rank_layout.h"

#include <fmt/format.h>

#include <algorithm>

#include "phalanx/base/error.h"
#include "phalanx/pipeline/build_schedule.h"
#include "phalanx/pipeline/generate.h"
#include "phalanx/pipeline/schedule_json.h"
#include "phalanx/tensor/device.h"
#include "phalanx/train/recompute_config.h"

namespace phalanx {
namespace {

// The tensor group that holds the other copy: of the last stage for the first one's, and the other way round.
std::vector<int> tied_ranks(const RunConfig& config, const Mesh& mesh, int rank, const Placement& placement) {
  const std::vector<Holder> by_stage = holders(placement);
  const int first = by_stage.front().rank;
  const int last = by_stage.back().rank;
  const int mine = mesh.coordinate(rank, "pp");
  if (!config.model.tied_embeddings || first == last || (mine != first && mine != last)) return {};
  return mesh.group(mesh.rank_at(rank, "pp", mine == first ? last : first), {"tp"});
}

// What a schedule file says must be what the run has, in every step.
void check_schedule_file(const RunConfig& config, const PlanLayout& layout,
                         std::vector<std::string>& violations) {
  const Schedule file = read_schedule_file(layout.schedule);
  const auto agree = [&](const char* what, int64_t in_file, int64_t in_run) {
    if (in_file == in_run) return;
    violations.push_back(
        fmt::format("{} is for {} {}, the run has {}", layout.schedule, in_file, what, in_run));
  };
  agree("pipeline ranks", file.pp, layout.pp);
  agree("chunks a rank", file.chunks, layout.chunks);
  agree("micro-batches a step", file.micro_batches, layout.micro_batches());
  if (file.forward_only) violations.push_back(layout.schedule + " has no backward passes");
  const TrainConfig& t = config.train;
  if (!t.rampup_batch_size.empty() || t.train_samples % layout.global_batch != 0) {
    violations.push_back(layout.schedule + " is for steps of one size: other steps need a schedule by name");
  }
}

// One rank cuts nothing, and a config that was written for many serves it, too. But a name must be one.
std::vector<std::string> one_rank_violations(const std::string& schedule) {
  const std::span<const ScheduleKind> kinds = schedule_kinds();
  const auto is_named = [&](const ScheduleKind& kind) { return kind.name == schedule; };
  if (schedule.ends_with(".json") || std::any_of(kinds.begin(), kinds.end(), is_named)) return {};
  std::string names;
  for (const ScheduleKind& kind : kinds) names += (names.empty() ? "" : ", ") + std::string(kind.name);
  return {fmt::format("schedule '{}' is none of {}", schedule, names)};
}

}  // namespace

PlanLayout plan_layout(const RunConfig& config) {
  const ParallelConfig& p = config.parallel;
  PlanLayout layout;
  layout.tp = p.tensor;
  layout.sequence_parallel = p.sequence_parallel && p.tensor > 1;
  layout.pp = p.pipeline;
  layout.chunks = p.chunks;
  layout.cp = p.context;
  layout.dp = std::max<int64_t>(p.data, 1);
  layout.schedule = schedule_name(p);
  layout.micro_batch = config.train.micro_batch_size;
  layout.global_batch = std::max<int64_t>(config.train.global_batch_size, 1);
  layout.zero = p.zero_stage;
  layout.order = p.order;
  set_plan_recompute(config.train, layout);
  return layout;
}

// `|` says where stages end. Where there is one stage it says nothing, so that one config serves one rank and many.
PlanModel planned_model(const RunConfig& config) {
  PlanModel model = plan_model(config.model, "model");
  if (config.parallel.pipeline * config.parallel.chunks == 1) model.pattern.stage_begin = {0};
  return model;
}

std::string schedule_name(const ParallelConfig& config) {
  return config.schedule == "1f1b" && config.chunks > 1 ? "interleaved" : config.schedule;
}

Placement schedule_placement(const ParallelConfig& config) {
  const std::string name = schedule_name(config);
  if (config.pipeline == 1)
    return round_robin_placement(1, static_cast<int>(config.chunks));  // whatever the name
  if (name.ends_with(".json")) return read_schedule_file(name).placement;
  return layout_placement({.pp = config.pipeline, .chunks = config.chunks, .schedule = name});
}

void check_layout(const RunConfig& config) {
  const PlanModel model = planned_model(config);
  const PlanLayout layout = plan_layout(config);
  const bool alone = config.parallel.world_size == 1;
  std::vector<std::string> violations =
      alone ? one_rank_violations(layout.schedule) : layout_violations(model, layout);
  if (!alone && violations.empty() && layout.schedule.ends_with(".json"))
    check_schedule_file(config, layout, violations);
  if (config.parallel.context > 1)
    violations.emplace_back("context = " + std::to_string(config.parallel.context) +
                            " is not supported yet: leave it at 1");
  if (config.parallel.zero_stage > 1) {
    violations.emplace_back(
        fmt::format("zero_stage = {} is not supported yet: 0 or 1", config.parallel.zero_stage));
  }
  if (violations.empty()) return;
  std::string text;
  for (const std::string& violation : violations) text += (text.empty() ? "" : "; ") + violation;
  throw Error(ErrorKind::kBadInput,
              {.where = "parallel",
               .got = text,
               .fix = "phalanx plan --search lists layouts that divide; | in model.pattern splits "
                      "layers unevenly"});
}

ModelPart make_model_part(const RunConfig& config, const Mesh& mesh, int rank) {
  ModelPart part;
  const Placement placement = schedule_placement(config.parallel);
  part.place = {.tp = {.rank = mesh.coordinate(rank, "tp"), .size = mesh.size("tp")},
                .sequence_parallel = config.parallel.sequence_parallel && mesh.size("tp") > 1,
                .tp_ranks = mesh.group(rank, {"tp"}),
                .tied_ranks = tied_ranks(config, mesh, rank, placement)};
  const std::vector<StageSlice> slices = stage_slices(planned_model(config), plan_layout(config));
  for (const int stage : placement[static_cast<size_t>(mesh.coordinate(rank, "pp"))]) {
    const auto s = static_cast<size_t>(stage);
    part.chunks.push_back({.begin = slices[s].begin,
                           .end = slices[s].end,
                           .embedding = s == 0,
                           .head = s + 1 == slices.size()});
  }
  return part;
}

ModelOptions model_options(const RunConfig& config, const RankGroups& groups) {
  return {.device = checked_device(config.runtime.device == DeviceKind::kCuda),
          .dtype = scalar_type(config.train.dtype),
          .seed = static_cast<uint64_t>(config.train.seed),
          .recompute = recompute_policy(config.train),
          .stash_mode = config.train.stash_mode,
          .part = make_model_part(config, groups.mesh(), groups.rank())};
}

OptimParallel optim_parallel(const RunConfig& config, RankGroups& groups) {
  if (groups.is_alone()) return {};
  return {.data = &groups.data(),
          .model = &groups.model(),
          .zero_stage = config.parallel.zero_stage,
          .group_of = [&groups](const std::vector<int>& ranks) { return groups.replicas(ranks); }};
}

ScheduleShape schedule_shape(const ParallelConfig& config) {
  return {.kind = schedule_name(config),
          .pp = static_cast<int>(config.pipeline),
          .chunks = static_cast<int>(config.chunks)};
}

}  // namespace phalanx
