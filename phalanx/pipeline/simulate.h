// File: phalanx/pipeline/simulate.h
//
// Purpose: when would each action run? A schedule on a virtual clock of integer ticks, with a cost for every stage and
//   every link, for drawings, for bubbles that equal the papers' formulas exactly, and for the planner.
// Contract: pure and exact. Compute runs in list order, as soon as its rank is free and its inputs are there.
//   Messages: with `overlap` a send starts when its action is reached and costs the rank nothing. What goes from one
//   rank to another takes turns, in the sender's order, whatever stages it is for; the other way is another link. The
//   receiver waits only at the compute action that needs the data. Without overlap sender and receiver meet, and both
//   are taken for the whole transfer (rendezvous); `busy` counts computation alone.
//   The schedule must have passed verify; that it did not, costs below 0 and lists of costs of another length are bugs.
//   Time is linear in the actions. Without `record` most of it, and all memory by action, is saved.
// Units: ticks; the caller decides what a tick is. bubble = idle / busy of the rank that computes most: the papers'
//   t_pb / t_id, (p - 1) / m for 1F1B.
// Source: Narayanan et al. 2021, section 2.2.
#pragma once

#include <cstdint>
#include <vector>

#include "phalanx/pipeline/schedule.h"

namespace phalanx {

struct StageCost {
  int64_t forward = 1;
  int64_t backward_input = 1;
  int64_t backward_weight = 1;  // BW costs the sum
};

struct SimulateOptions {
  std::vector<StageCost> stages;  // by stage; one entry: all alike; empty: 1 / 1 / 1
  std::vector<int64_t>
      forward_link;  // ticks of a message from stage s to s + 1; one entry: all alike; empty: 0
  std::vector<int64_t> backward_link;  // from stage s + 1 to s
  bool overlap = true;
  bool record = true;  // off: no spans, for callers that want the times alone
};

struct TimelineSpan {
  Action action;
  int64_t begin = 0;
  int64_t end = 0;
};

struct Timeline {
  std::vector<std::vector<TimelineSpan>>
      ranks;                  // compute and messages, by begin; empty lists when not recorded
  std::vector<int64_t> busy;  // compute ticks a rank
  int64_t makespan = 0;

  int64_t idle(int rank) const { return makespan - busy[static_cast<size_t>(rank)]; }
  int64_t max_busy() const;
  double bubble() const;  // (makespan - max_busy) / max_busy
};

struct StashPoint {
  int64_t time = 0;
  int count = 0;  // stashed (micro-batch, chunk) pairs from this time on
};

Timeline simulate(const Schedule& schedule, const SimulateOptions& options = {});

// The stash of one rank over time, from a recorded timeline; its largest count is peak_stash.
std::vector<StashPoint> stash_curve(const Timeline& timeline, int rank);

}  // namespace phalanx
