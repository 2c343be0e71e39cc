// File: phalanx/train/recompute_config.h
//
// Purpose: from the fields of section `train` that are about activation memory to what model and executor do.
//     recompute selective, modules   core_attn, layernorm, mlp_act: never kept anyway; mlp: the MLP from its input
//     recompute full                 uniform or block, N layers; distribute_saved_activations: 1 / tp of each input
//     recompute_window_micro_batches the first K in flight keep everything, the others recompute (appendix C)
//     offload_stash                  what backward needs waits in host memory
//     stash_mode paper               layers keep what paper 2 counts (nn/paper_layers.h)
// Contract: pure. None of them changes a loss or a gradient: all but stash_mode leave the same bits.
// Errors: none thrown; `recompute_violations` are sentences for one report.
// Source: Korthikanti et al. 2022; Megatron-LM's flags of the same names.
#pragma once

#include <string>
#include <vector>

#include "phalanx/engine/executor.h"
#include "phalanx/model/model.h"
#include "phalanx/plan/plan_layout.h"
#include "phalanx/train/run_config.h"

namespace phalanx {

RecomputePolicy recompute_policy(const TrainConfig& train);
StashRules stash_rules(const TrainConfig& train);

// The same for the planner.
void set_plan_recompute(const TrainConfig& train, PlanLayout& layout);

std::vector<std::string> recompute_violations(const RunConfig& config);

}  // namespace phalanx
