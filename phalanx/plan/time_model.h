// File: phalanx/plan/time_model.h
//
// Purpose: how long a training step takes, and what of it is spent on what.
// Equation: every stage of the schedule has a cost by layer_time.h (the first one the embedding, the last one the head);
//   the schedule runs on the virtual clock of pipeline/simulate.h in nanoseconds, messages included; then gradients are
//   reduced (as far as they are not hidden), the optimizer walks over the rank's parameters, weights come back:
//     step = makespan + exposed data-parallel communication + tied embedding + optimizer + overhead of the program
//   `estimate` replaces the simulation by a closed form: the fullest rank's work, its messages and the bubble of the
//   kind; the search ranks by it before it simulates.
// Contract: pure; the same arguments give the same result. Errors: what check_layout, check_cluster and make_schedule say.
// Source: Narayanan et al. 2021, sections 2 and 3; Qi et al. 2023 for split schedules.
// Units: seconds, FLOP/s a GPU. Shares of work are those of the rank that computes most.
#pragma once

#include <string>
#include <vector>

#include "phalanx/pipeline/simulate.h"
#include "phalanx/plan/cluster.h"
#include "phalanx/plan/layer_time.h"
#include "phalanx/plan/plan_layout.h"
#include "phalanx/plan/plan_model.h"
#include "phalanx/plan/software.h"

namespace phalanx {

struct StepTime {
  double seconds = 0;
  Work work;             // forward, backward; of all micro-batches; `hidden` taken off tensor
  double recompute = 0;  // in none of the shares above
  double weights = 0;    // ZeRO-3: gathers and scatters that computation does not hide
  double messages = 0;   // pipeline messages that the rank waits on (no overlap)
  double bubble = 0;     // idle
  double data = 0;       // exposed
  double tied = 0;
  double optimizer = 0;
  double overhead = 0;
  double makespan = 0;  // of the pipeline
  bool simulated = false;

  double bubble_share() const {
    return makespan <= bubble ? 0 : bubble / (makespan - bubble);
  }  // t_pb / t_id
};

struct StageTime {
  LayerTime work;              // of one micro-batch
  double weights_forward = 0;  // ZeRO-3, exposed
  double weights_backward = 0;
};
std::vector<StageTime> stage_times(const PlanModel& model, const PlanLayout& layout, const Cluster& cluster,
                                   const Software& software);

// Ticks are nanoseconds. `split`: the schedule has B and W apart, so nothing travels beside W. Without overlap a message
// costs both its ends the whole transfer, but neither waits until the other comes to it: receives are posted in time.
SimulateOptions simulate_options(const std::vector<StageTime>& stages, const Placement& placement,
                                 double boundary, const Software& software, bool split);

// Whether a schedule has B and W apart.
bool splits_backward(const Schedule& schedule);

StepTime step_time(const PlanModel& model, const PlanLayout& layout, const Cluster& cluster,
                   const Software& software);
StepTime estimate_step_time(const PlanModel& model, const PlanLayout& layout, const Cluster& cluster,
                            const Software& software);

// With a schedule that is at hand already: make_schedule of the layout's kind, pp, chunks and micro-batches.
StepTime step_time(const PlanModel& model, const PlanLayout& layout, const Cluster& cluster,
                   const Software& software, const Schedule& schedule);

}  // namespace phalanx
