// File: phalanx/plan/in_flight.h
//
// Purpose: how many micro-batches of each of its chunks a pipeline rank stashes when it stashes most.
// Equations, p ranks, m micro-batches, v chunks, rank r:
//     gpipe  m of each chunk          1f1b  min(p - r, m)         zb-h1  min(p, m)
//     interleaved  after the first 2 (p - r - 1) + (v - 1) N + 1 forwards, N the size of a group: with N = p together
//       p v + p - 1 pairs on rank 0, which is L (1 + (p - 1) / (p v)) layers
//     zb-v  2 min(p, m) together, 2p - 1 - r of them or fewer of the first chunk
//     v-half  2 min((p + 2) / 2, m) together; too many by at most two pairs where m < p
// Where backward is split, B lets the stash of a pair go and keeps what its weight gradients hold until W; so a rank may
//   peak after an F or after a B. Closed forms of that, where a pair weighs more after its B: zb-h1 min(p - r, m) - 1
//   pairs before their B and the others after it; v-half three after it (two on the last rank); zb-v the heavier of r + 1
//   after it, and p - 1 - r pairs fewer but all of them after it (up to a tenth too much).
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

// What one pair of a stage weighs.
struct PairBytes {
  int64_t kept = 0;      // from F to B (or BW)
  int64_t whole = 0;     // instead, when nothing of it is recomputed
  int64_t deferred = 0;  // from B to W
};

struct HeldPairs {
  int64_t kept = 0;
  int64_t whole = 0;
  int64_t deferred = 0;

  int64_t total() const { return kept + whole + deferred; }
  bool operator==(const HeldPairs&) const = default;
};
using HeldByRank = std::vector<std::vector<HeldPairs>>;  // [rank][chunk]

// At the moment when the pairs of a rank weigh most. Of the pairs between F and B `window` at a time are whole: an F takes
// a place when one is free.
HeldByRank held_at_peak(const Schedule& schedule, const std::vector<PairBytes>& stages, int64_t window = 0);

// The same by the closed forms; nothing is whole.
HeldByRank closed_held(const PlanLayout& layout, const std::vector<PairBytes>& stages);

// Pairs alone, each of which weighs the same until its W. `bytes_of_stage`: of one micro-batch, by stage.
InFlight peak_in_flight(const Schedule& schedule, const std::vector<int64_t>& bytes_of_stage);

}  // namespace phalanx
