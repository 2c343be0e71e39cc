// File: phalanx/plan/partition.h
//
// Purpose: where to cut a model whose layers cost unequal time, so that no pipeline stage works longer than it must.
// Contract: `balanced_cuts` minimises the largest sum of consecutive costs over exactly `parts` pieces, none empty;
//   among such cuts it keeps each piece close to the mean of what is left. Deterministic. Costs are not negative,
//   and there are at least as many as pieces.
// Source: the classical linear partition problem, by bisection on the bound.
// Example: balanced_cuts({1, 1, 4}, 2) is {0, 2, 3}.
#pragma once

#include <cstddef>
#include <vector>

#include "phalanx/plan/plan_layout.h"
#include "phalanx/plan/plan_model.h"

namespace phalanx {

// parts + 1 places, the first 0, the last costs.size().
std::vector<size_t> balanced_cuts(const std::vector<double>& costs, size_t parts);

// By forward FLOPs of a causal sequence; the head is one more cost, so the last stage may hold it alone.
std::vector<StageSlice> balanced_slices(const PlanModel& model, size_t stages);

}  // namespace phalanx
