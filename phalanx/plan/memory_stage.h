// File: phalanx/plan/memory_stage.h
//
// Purpose: what one micro-batch leaves on each stage of a layout, and how many are there at once.
// Contract: as memory.h; one list of stages serves all ranks of a layout.
// Units: bytes of one rank.
#pragma once

#include <cstdint>
#include <vector>

#include "phalanx/pipeline/schedule.h"
#include "phalanx/plan/in_flight.h"
#include "phalanx/plan/memory.h"

namespace phalanx {

struct StageBytes {
  int64_t whole = 0;  // of its layers without recompute
  int64_t kept = 0;   // under the layout's policy
  int64_t checkpoints = 0;
  int64_t embedding = 0;
  int64_t head = 0;
  int64_t logits = 0;
  int64_t output = 0;
  int64_t deferred = 0;  // between B and W, instead of all the others but the output
  int64_t working = 0;   // buffers that do not multiply with micro-batches

  PairBytes pair() const {
    const int64_t ends = embedding + head + logits + output;
    return {.kept = kept + checkpoints + ends, .whole = whole + ends, .deferred = deferred + output};
  }
};

std::vector<StageBytes> stage_bytes(const PlanModel& model, const PlanLayout& layout,
                                    const MemoryOptions& options);

// Of `schedule` when there is one, else the closed form, which knows no window.
HeldByRank held_pairs(const PlanLayout& layout, const std::vector<StageBytes>& stages,
                      const Schedule* schedule, StashAccount account);

}  // namespace phalanx
