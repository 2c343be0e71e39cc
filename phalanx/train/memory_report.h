// File: phalanx/train/memory_report.h
//
// Purpose: what --log.memory prints after the first step: where the bytes of a run are, by rank, by label, by layer and by
//   micro-batch, beside what the planner expects; and what recomputation keeps out of memory, at what cost.
// Contract: pure. Stashes are those of each rank's own peak, which ranks reach at different times. A layer that is
//   recomputed together with others counts for the first of them.
// Units: MiB, except FLOPs in percent of the model's.
// Source: Korthikanti et al. 2022, sections 4 and 5, for what a layer would keep.
#pragma once

#include <string>
#include <vector>

#include "phalanx/engine/train_step.h"
#include "phalanx/mesh/mesh.h"
#include "phalanx/train/run_config.h"

namespace phalanx {

struct RankMemoryUse {
  int64_t weights = 0;  // where they are not the masters themselves
  int64_t optimizer = 0;
  int64_t stash_bytes = 0;
  int64_t host_bytes = 0;
  int peak_pairs = 0;
  std::vector<HeldItem> items;
};

// `ranks` of the mesh, in order.
std::string memory_table(const RunConfig& config, const Mesh& mesh, const std::vector<RankMemoryUse>& ranks);

// What one micro-batch would keep by the paper's account and does not, and what that costs.
std::string saved_memory_table(const RunConfig& config);

}  // namespace phalanx
