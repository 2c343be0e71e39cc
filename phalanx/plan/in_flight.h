// File: phalanx/plan/in_flight.h
//
// Purpose: how many micro-batches of each of its chunks a pipeline rank stashes when it stashes most.
// Equations, p ranks, m micro-batches, v chunks, rank r:
//     gpipe  m of each chunk          1f1b  min(p - r, m)         zb-h1  min(p, m)
//     interleaved  after the first 2 (p - r - 1) + (v - 1) N + 1 forwards, N the size of a group: with N = p together
//       p v + p - 1 pairs on rank 0, which is L (1 + (p - 1) / (p v)) layers
//     zb-v  2 min(p, m) together, 2p - 1 - r of them or fewer of the first chunk
//     v-half  2 min((p + 2) / 2, m) together; too many by at most two pairs where m < p
// Contract: the closed forms are those of phalanx/pipeline's generators, exact but for v-half. A rank whose chunks
//   weigh unequal bytes may peak at another moment: `peak_in_flight` of a schedule finds it. A schedule file has no
//   closed form: Error(kBadInput) asks for the schedule.
// Units: (micro-batch, chunk) pairs, by rank and chunk.
// Source: Narayanan et al. 2021, section 2.2; Korthikanti et al. 2022, section 4.2.3.
#pragma once

#include <cstdint>
#include <vector>

#include "phalanx/pipeline/schedule.h"
#include "phalanx/plan/plan_layout.h"

namespace phalanx {

using InFlight = std::vector<std::vector<int64_t>>;

InFlight closed_in_flight(const PlanLayout& layout);

// At the moment when the pairs of a rank weigh most. `bytes_of_stage`: of one micro-batch, by stage.
InFlight peak_in_flight(const Schedule& schedule, const std::vector<int64_t>& bytes_of_stage);

}  // namespace phalanx
