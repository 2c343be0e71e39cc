// File: phalanx/pipeline/generate/greedy_split.h
//
// Purpose: what the zero-bubble generators share: a list scheduler on a clock of unit costs (F = B = W = 1 tick), for
//   backward passes that are split into B and W, under a limit on what each rank may stash.
// Contract: deterministic. Every tick each rank begins the first action of `priority` that is ready and allowed. A W is
//   begun where nothing else can, and where an allowed F lacks the stash that a queued W holds. Micro-batches pass
//   every stage in order, and W in the order of their B. No list exceeds `max_stash`.
//   It cannot get stuck as long as every chunk may hold one micro-batch and all chunks but the last together fewer than
//   max_stash: of the micro-batches under way the oldest finds room, because only older ones could take it.
// Units: ticks; stash in (micro-batch, chunk) pairs. The largest case in use (pp 64, 512 micro-batches) takes
//   milliseconds.
// Source: the split of B and W, Qi et al. 2023; limits by chunk for V-shaped placements, Qi et al. 2024.
#pragma once

#include <cstdint>
#include <vector>

#include "phalanx/pipeline/schedule.h"

namespace phalanx {

struct SplitStep {
  Op op = Op::kForward;  // F or B
  int chunk = 0;
};

struct SplitRules {
  int max_stash = 1;                            // F begun and W not, over all chunks of a rank
  std::vector<std::vector<int>> max_live = {};  // [rank][chunk]: F begun and B not
  std::vector<SplitStep> priority = {};         // first the most urgent; F and B of every chunk
};

struct SplitOrder {
  std::vector<ActionList> compute;  // F, B, W by rank
  int64_t ticks = 0;
};

SplitOrder greedy_split(const Placement& placement, int micro_batches, const SplitRules& rules);

}  // namespace phalanx
