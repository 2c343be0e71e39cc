// File: phalanx/train/rank_layout.h
//
// Purpose: from the sections `model` and `parallel` to what each rank holds: its stages, its tensor-parallel part, who
//   holds copies of its tied embedding.
// Contract: pure but for a schedule file. Stages are those of `|` in the pattern; a transformer is cut into equal ones;
//   anything else so that the stage with most work has as little as can be (plan/plan_layout.h).
// Errors: Error(kBadInput) listing every rule of model and layout that is broken.
#pragma once

#include "phalanx/engine/rank_groups.h"
#include "phalanx/engine/schedule_source.h"
#include "phalanx/mesh/plan_mesh.h"
#include "phalanx/model/model.h"
#include "phalanx/optim/optim_parallel.h"
#include "phalanx/pipeline/schedule.h"
#include "phalanx/plan/plan_layout.h"
#include "phalanx/train/run_config.h"

namespace phalanx {

// `config.parallel` as plan_mesh fills it; interleaved where chunks ask for it and no schedule is named.
std::string schedule_name(const ParallelConfig& config);
Placement schedule_placement(const ParallelConfig& config);

// All violations of run, mesh and model in one Error.
void check_layout(const RunConfig& config);

// What the planner calls the same run.
PlanLayout plan_layout(const RunConfig& config);
PlanModel planned_model(const RunConfig& config);

ModelPart make_model_part(const RunConfig& config, const Mesh& mesh, int rank);

// How this rank's model and optimizer are built. `groups` outlives what is built.
ModelOptions model_options(const RunConfig& config, const RankGroups& groups);
OptimParallel optim_parallel(const RunConfig& config, RankGroups& groups);

ScheduleShape schedule_shape(const ParallelConfig& config);

}  // namespace phalanx
