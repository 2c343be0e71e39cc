#include "phalanx/plan/time_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "phalanx/base/error.h"
#include "phalanx/pipeline/generate.h"
#include "phalanx/plan/counts.h"
#include "phalanx/plan/roofline.h"
#include "phalanx/plan/step_comm.h"

namespace phalanx {
namespace {

int64_t nanoseconds(double seconds) {
  return std::llround(seconds * 1e9);
}

int64_t fullest_parameters(const PlanModel& model, const PlanLayout& layout) {
  return std::ranges::max(rank_parameters(model, layout));
}

// With weights split over data-parallel ranks a pass lasts as long as the longer of computing and gathering, and the
// first gather (or last scatter) stands alone. `layers` are the work of a stage without embedding and head.
struct WeightTimes {
  double forward = 0;
  double backward = 0;
};

WeightTimes zero3_times(const PlanModel& model, const StageSlice& slice, const StageParameters& parameters,
                        const LayerTime& layers, const PlanLayout& layout, const Cluster& cluster,
                        const Software& software) {
  const auto one = [&](int64_t count) {
    return zero3_seconds(layout, cluster, software, static_cast<double>(count));
  };
  double pass = 0;  // a collective a layer
  for (size_t i = slice.begin; i < slice.end; ++i) {
    pass += one(layer_parameters(model, model.pattern.layers[i], layout.tp));
  }
  const double first = one(parameters.largest_layer);
  const double ends = one(parameters.embedding + parameters.head);  // gathered twice, scattered once
  const double forward = layers.forward.total();
  const double backward =
      (layers.recompute + layers.backward_input + layers.backward_weight).total() - layers.hidden;
  const double gathered = software.prefetch_weights ? std::max(0.0, pass - forward) + first : pass;
  const double beside = (software.prefetch_weights ? pass : 0) + (software.overlap_gradients ? pass : 0);
  const double alone = 2 * pass - beside + (software.overlap_gradients ? first : 0);
  return {.forward = gathered + ends, .backward = std::max(0.0, beside - backward) + alone + 2 * ends};
}

Work backward_work(const LayerTime& time) {
  Work work = time.backward_input + time.backward_weight;
  work.tensor -= time.hidden;
  return work;
}

double stage_total(const StageTime& stage) {
  return stage.work.forward.total() + stage.work.recompute.total() + backward_work(stage.work).total() +
         stage.weights_forward + stage.weights_backward;
}

// Work of the rank that computes most, all micro-batches.
void add_rank_work(const std::vector<int>& stages_of_rank, const std::vector<StageTime>& stages,
                   double micro_batches, bool split, StepTime& time) {
  for (const int s : stages_of_rank) {
    const StageTime& stage = stages[static_cast<size_t>(s)];
    Work both = stage.work.forward + backward_work(stage.work);
    if (split) both.tensor += stage.work.hidden;
    time.work = time.work + micro_batches * both;
    time.recompute += micro_batches * stage.work.recompute.total();
    time.weights += micro_batches * (stage.weights_forward + stage.weights_backward);
  }
}

// What follows the pipeline.
void add_step_end(const PlanModel& model, const PlanLayout& layout, const Cluster& cluster,
                  const Software& software, const StepComm& comm, double hides, StepTime& time) {
  const auto parameters = static_cast<double>(fullest_parameters(model, layout));
  const auto owners = static_cast<double>(layout.zero >= 1 ? layout.dp * layout.cp : 1);
  time.data = layout.zero >= 3 ? 0 : comm.data;
  if (software.overlap_gradients) time.data = std::max(0.0, time.data - hides);
  time.tied = comm.tied;
  time.optimizer = memory_seconds(parameters / owners * software.optimizer_bytes, cluster);
  time.overhead = software.step_overhead;
  time.seconds = time.makespan + time.data + time.tied + time.optimizer + time.overhead;
}

// The last backward of a rank hides the reduction of gradients that are complete.
double hiding_time(const std::vector<int>& stages_of_rank, const std::vector<StageTime>& stages) {
  double seconds = 0;
  for (const int s : stages_of_rank) {
    const StageTime& stage = stages[static_cast<size_t>(s)];
    seconds += stage.work.recompute.total() + backward_work(stage.work).total();
  }
  return seconds;
}

double messages_of(const ActionList& actions) {
  return static_cast<double>(
      std::count_if(actions.begin(), actions.end(), [](const Action& a) { return !is_compute(a.op); }));
}

bool kind_splits_backward(const std::string& kind) {
  const auto kinds = schedule_kinds();
  return std::any_of(kinds.begin(), kinds.end(),
                     [&](const ScheduleKind& known) { return known.name == kind && known.splits_backward; });
}

// Idle time of the kinds with equal chunks of f, b, w (pipeline tests hold the simulator to these).
double bubble_estimate(const PlanLayout& layout, double f, double b, double w) {
  const auto ranks = static_cast<double>(layout.pp);
  if (layout.schedule == "zb-h1") return (ranks - 1) * std::max(f + b - w, b);
  if (layout.schedule == "zb-v") return (ranks - 1) * (f + b + w) / 3;
  if (layout.schedule == "v-half") return std::max(3 * ranks - 5, 0.0) * (f + b + w) / 3;
  return (ranks - 1) * (f + b + w);
}

}  // namespace

bool splits_backward(const Schedule& schedule) {
  return std::any_of(schedule.ranks.front().begin(), schedule.ranks.front().end(),
                     [](const Action& action) { return action.op == Op::kBackwardWeight; });
}

std::vector<StageTime> stage_times(const PlanModel& model, const PlanLayout& layout, const Cluster& cluster,
                                   const Software& software) {
  const StepComm comm = step_comm(model, layout, cluster, software, 0);
  const PriceContext context{
      .model = model, .layout = layout, .cluster = cluster, .software = software, .comm = comm.layer};
  constexpr auto& kinds = kPlannableKinds;
  std::array<LayerTime, kinds.size()> times;
  for (size_t k = 0; k < kinds.size(); ++k) {
    if (model.count(kinds[k]) > 0) times[k] = layer_time(kinds[k], context);
  }
  const std::vector<StageSlice> slices = stage_slices(model, layout);
  const std::vector<StageParameters> parameters =
      layout.zero >= 3 ? stage_parameters(model, layout) : std::vector<StageParameters>();
  std::vector<StageTime> stages(slices.size());
  for (size_t s = 0; s < slices.size(); ++s) {
    LayerTime sum;
    const size_t again =
        layout.recompute == PlanRecompute::kFull ? recomputed_end(model, layout, slices[s]) : slices[s].end;
    for (size_t i = slices[s].begin; i < slices[s].end; ++i) {
      const auto kind = std::find(kinds.begin(), kinds.end(), model.pattern.layers[i]);
      PHALANX_CHECK(kind != kinds.end(), "check_layout refuses kinds that have no price");
      LayerTime layer = times[static_cast<size_t>(kind - kinds.begin())];
      if (i >= again) layer.recompute = {};
      sum = sum + layer;
    }
    if (layout.zero >= 3) {
      const WeightTimes weights =
          zero3_times(model, slices[s], parameters[s], sum, layout, cluster, software);
      stages[s].weights_forward = weights.forward;
      stages[s].weights_backward = weights.backward;
    }
    if (s == 0) sum = sum + embedding_time(context);
    if (s + 1 == slices.size()) sum = sum + head_time(context);
    stages[s].work = sum;
  }
  return stages;
}

SimulateOptions simulate_options(const std::vector<StageTime>& stages, const Placement& placement,
                                 double boundary, const Software& software, bool split) {
  const std::vector<Holder> by_stage = holders(placement);
  const auto travels = [&](size_t from, size_t to) {
    return std::max(from, to) < by_stage.size() && by_stage[from].rank != by_stage[to].rank;
  };
  SimulateOptions options;
  for (size_t s = 0; s < stages.size(); ++s) {
    const LayerTime& work = stages[s].work;
    const double input = work.recompute.total() + work.backward_input.total() + stages[s].weights_backward;
    const int ends = (s > 0 && travels(s - 1, s) ? 1 : 0) + (travels(s, s + 1) ? 1 : 0);
    const double waits = software.overlap_pipeline ? 0 : ends * boundary;
    options.stages.push_back(
        {.forward = nanoseconds(work.forward.total() + stages[s].weights_forward + waits),
         .backward_input = nanoseconds(std::max(0.0, input - (split ? 0 : work.hidden)) + waits),
         .backward_weight = nanoseconds(work.backward_weight.total())});
  }
  if (software.overlap_pipeline) options.forward_link = options.backward_link = {nanoseconds(boundary)};
  options.record = false;
  return options;
}

StepTime step_time(const PlanModel& model, const PlanLayout& layout, const Cluster& cluster,
                   const Software& software, const Schedule& schedule) {
  check_layout(model, layout);
  const std::vector<StageTime> stages = stage_times(model, layout, cluster, software);
  const StepComm comm = step_comm(model, layout, cluster, software, fullest_parameters(model, layout));
  const bool split = splits_backward(schedule);
  const Timeline timeline =
      simulate(schedule, simulate_options(stages, schedule.placement, comm.boundary, software, split));
  const auto rank = static_cast<size_t>(std::max_element(timeline.busy.begin(), timeline.busy.end()) -
                                        timeline.busy.begin());
  StepTime time;
  time.simulated = true;
  time.makespan = static_cast<double>(timeline.makespan) * 1e-9;
  add_rank_work(schedule.placement[rank], stages, schedule.micro_batches, split, time);
  if (!software.overlap_pipeline) time.messages = messages_of(schedule.ranks[rank]) * comm.boundary;
  time.bubble = std::max(0.0, time.makespan - static_cast<double>(timeline.busy[rank]) * 1e-9);
  add_step_end(model, layout, cluster, software, comm, hiding_time(schedule.placement[rank], stages), time);
  return time;
}

StepTime step_time(const PlanModel& model, const PlanLayout& layout, const Cluster& cluster,
                   const Software& software) {
  check_layout(model, layout);
  return step_time(model, layout, cluster, software,
                   make_schedule({.kind = layout.schedule,
                                  .pp = static_cast<int>(layout.pp),
                                  .chunks = static_cast<int>(layout.chunks),
                                  .micro_batches = static_cast<int>(layout.micro_batches())}));
}

StepTime estimate_step_time(const PlanModel& model, const PlanLayout& layout, const Cluster& cluster,
                            const Software& software) {
  check_layout(model, layout);
  const std::vector<StageTime> stages = stage_times(model, layout, cluster, software);
  const StepComm comm = step_comm(model, layout, cluster, software, fullest_parameters(model, layout));
  const Placement placement = layout_placement(layout);
  const auto total_of = [&](const std::vector<int>& list) {
    return std::accumulate(list.begin(), list.end(), 0.0, [&](double sum, int s) {
      return sum + stage_total(stages[static_cast<size_t>(s)]);
    });
  };
  const auto fullest =
      *std::max_element(placement.begin(), placement.end(),
                        [&](const auto& a, const auto& b) { return total_of(a) < total_of(b); });
  const auto m = static_cast<double>(layout.micro_batches());
  StepTime time;
  const bool split = kind_splits_backward(layout.schedule);
  add_rank_work(fullest, stages, m, split, time);
  const bool piped = layout.pp > 1;
  if (piped && !software.overlap_pipeline)
    time.messages = 4 * m * static_cast<double>(layout.chunks) * comm.boundary;
  // The middle stage stands for all in the bubble: first and last also embed and score.
  const LayerTime& chunk = stages[stages.size() / 2].work;
  const double f = chunk.forward.total() + chunk.recompute.total();
  time.bubble = bubble_estimate(layout, f, chunk.backward_input.total() - (split ? 0 : chunk.hidden),
                                chunk.backward_weight.total()) +
                (piped ? 2 * static_cast<double>(layout.pp - 1) * comm.boundary : 0);
  time.makespan = time.work.total() + time.recompute + time.weights + time.messages + time.bubble;
  add_step_end(model, layout, cluster, software, comm, hiding_time(fullest, stages), time);
  return time;
}

}  // namespace phalanx
