// File: phalanx/pipeline/build_schedule.h
//
// Purpose: what generators share: from the order in which each rank computes to a whole schedule with its messages.
// Contract: `compute` holds F, B, W, BW only, in the order of each rank. Messages are placed along one global order of
//   events in which a transfer is a single event for both of its ranks, so that no rendezvous can deadlock: by time on
//   a clock of unit costs (F = B = W = 1, BW = 2), each send before its rank computes on. peak_stash is counted.
//   A compute order that contradicts the data dependences is a bug of the generator and aborts.
#pragma once

#include "phalanx/pipeline/schedule.h"

namespace phalanx {

Placement round_robin_placement(int pp, int chunks);  // stage = chunk x pp + rank
Placement v_placement(int pp);                        // two chunks: stage = rank, then 2 pp - 1 - rank

Schedule build_schedule(std::string kind, int micro_batches, Placement placement,
                        std::vector<ActionList> compute);

// The forward actions of `schedule` and their messages, in the same order; nothing is stashed.
Schedule forward_only(const Schedule& schedule);

// The largest number of stashed (micro-batch, chunk) pairs of one rank's list.
int count_peak_stash(const ActionList& actions);

}  // namespace phalanx
