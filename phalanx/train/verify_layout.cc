#include "phalanx/train/verify_layout.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <cmath>

#include "phalanx/checkpoint/model_state.h"
#include "phalanx/comm/local.h"
#include "phalanx/mesh/plan_mesh.h"
#include "phalanx/train/rank_layout.h"
#include "phalanx/train/recompute_config.h"

namespace phalanx {
namespace {

constexpr int64_t kBucketElements = 256;  // several buckets, also in a small model

// What one rank leaves behind.
struct RankOutcome {
  std::vector<double> losses;
  std::vector<double> norms;
  std::vector<TensorBox> boxes;
  StepOutcome last;
};

RankOutcome run_rank(const RunConfig& config, RankGroups& groups, const StepData& data, int64_t steps,
                     const LayoutHooks& hooks) {
  const kernels::Gemm gemm;
  Model model(config.model, model_options(config, groups), gemm, groups.tensor());
  if (hooks.built) hooks.built(groups.rank(), model);
  OptimParallel parallel = optim_parallel(config, groups);
  parallel.bucket_elements = kBucketElements;
  Optimizer optimizer(model.parameters(), config.optim, accumulator_of(model.dtype()), parallel);
  ScheduleSource schedules(schedule_shape(config.parallel));
  StashRules stash = stash_rules(config.train);
  stash.items = hooks.record;
  const StepLayout layout = {.groups = groups.is_alone() ? nullptr : &groups,
                             .schedules = &schedules,
                             .scatter_gather = hooks.scatter_gather,
                             .record = hooks.record,
                             .stash = stash};
  const StepFunction train_step = hooks.step ? hooks.step : run_train_step;
  RankOutcome outcome;
  for (int64_t step = 1; step <= steps; ++step) {
    std::vector<HostBatch> batches = data(step, groups.coordinate("dp"), groups.mesh().size("dp"));
    if (hooks.batches) hooks.batches(groups.rank(), batches);
    outcome.last = train_step(
        model, optimizer, batches,
        {.step = step, .seed = static_cast<uint64_t>(config.train.seed), .lr = config.optim.lr}, layout);
    outcome.losses.push_back(outcome.last.loss);
    outcome.norms.push_back(outcome.last.grad_norm);
  }
  for (Parameter* parameter : model.parameters()) parameter->full();
  outcome.boxes = owned_weight_boxes(model.parameters(), optimizer.parallel());
  for (TensorBox& box : outcome.boxes) box.view = box.view.to(at::kDouble).clone();
  return outcome;
}

}  // namespace

LayoutRun run_layout(const RunConfig& config, const StepData& data, int64_t steps, const LayoutHooks& hooks) {
  const Mesh mesh = plan_mesh(config.parallel).mesh;
  const int size = mesh.world_size();
  std::vector<RankOutcome> outcomes(static_cast<size_t>(size));
  comm::LocalWorld world(size, {.threads_per_rank = static_cast<int>(config.runtime.threads)});
  comm::run_ranks(world, [&](int rank) {
    RankGroups groups(mesh, rank, [&](const std::string& name, const std::vector<int>& ranks) {
      std::unique_ptr<comm::Group> group = world.group(rank, name, ranks);
      return hooks.group ? hooks.group(rank, std::move(group)) : std::move(group);
    });
    outcomes[static_cast<size_t>(rank)] = run_rank(config, groups, data, steps, hooks);
  });
  LayoutRun run{.losses = outcomes[0].losses, .norms = outcomes[0].norms};
  std::vector<TensorBox> boxes;
  for (RankOutcome& outcome : outcomes) {
    boxes.insert(boxes.end(), outcome.boxes.begin(), outcome.boxes.end());
    run.last.push_back(std::move(outcome.last));
  }
  for (TensorBox& whole : assemble_boxes(boxes)) run.weights[whole.name] = whole.view;
  return run;
}

RunConfig on_one_rank(const RunConfig& config) {
  RunConfig one = config;
  one.parallel = {};
  one.parallel.data = one.parallel.world_size = 1;
  return one;
}

LayoutBars layout_bars(DtypeKind dtype) {
  if (dtype == DtypeKind::kFp64) return {};
  if (dtype == DtypeKind::kFp32) return {.loss = 1e-5, .norm = 1e-5, .weights = 0};
  return {.loss = 1e-2, .norm = 5e-2, .weights = 0};
}

std::string first_difference(const LayoutRun& got, const LayoutRun& want, const LayoutBars& bars) {
  const auto far = [](double x, double y, double bar) { return !(std::abs(x - y) <= bar * std::abs(y)); };
  for (size_t i = 0; i < want.losses.size(); ++i) {
    if (far(got.losses[i], want.losses[i], bars.loss)) {
      return fmt::format("step {}: loss {:.17g}, on one rank {:.17g}", i + 1, got.losses[i], want.losses[i]);
    }
    if (far(got.norms[i], want.norms[i], bars.norm)) {
      return fmt::format("step {}: gradient norm {:.17g}, on one rank {:.17g}", i + 1, got.norms[i],
                         want.norms[i]);
    }
  }
  if (bars.weights == 0) return "";
  std::string worst;
  double distance = 0;
  for (const auto& [name, tensor] : want.weights) {
    const auto found = got.weights.find(name);
    if (found == got.weights.end()) return name + " is on no rank";
    const double off = (found->second - tensor).abs().max().item<double>();
    if (off <= bars.weights && !std::isnan(off)) continue;
    if (worst.empty() || off > distance) {
      worst = name;
      distance = off;
    }
  }
  return worst.empty() ? "" : fmt::format("{} differs by {:.3g}", worst, distance);
}

}  // namespace phalanx
