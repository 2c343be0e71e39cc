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
  int64_t working = 0;  // buffers that do not multiply with micro-batches

  int64_t a_micro_batch() const { return kept + checkpoints + embedding + head + logits + output; }
};

std::vector<StageBytes> stage_bytes(const PlanModel& model, const PlanLayout& layout,
                                    const MemoryOptions& options);

// Of `schedule` when there is one, else the closed form.
InFlight pairs_in_flight(const PlanLayout& layout, const std::vector<StageBytes>& stages,
                         const Schedule* schedule);

}  // namespace phalanx
