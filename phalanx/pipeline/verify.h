// File: phalanx/pipeline/verify.h
//
// Purpose: the proof that a schedule may be run. Every consumer calls it first.
// Contract: all violations (at most kMaxViolations of each kind) in one Error(kBadInput), each saying rank, position in
//   its list, action:
//     shape       pp, chunks, micro_batches at least 1, their product at most kMaxScheduleUnits; lists and placement of
//                 the right size; indices in range
//     placement   every stage held once
//     once        every F, and either BW or both B and W, once a micro-batch and chunk; no message twice;
//                 forward-only: F alone
//     data        F of a stage after the F of the stage before, B after the B (BW) of the stage after and its own F, W
//                 after its B; across ranks through a message that is received before and sent after
//     messages    between every ordered pair of ranks the sends match the receives one to one, in order
//     deadlock    with rendezvous sends every list runs to its end; the message names who waits for whom
//     stash       peak_stash is what the lists say
//   A wrong shape or placement hides the rest. Memory grows with the actions given, and time with them and the
//   logarithm of the pairs of ranks that talk, whatever numbers a file claims.
// Source: DESIGN: a schedule is data; house style rule 5.
#pragma once

#include <cstdint>
#include <string>

#include "phalanx/pipeline/schedule.h"

namespace phalanx {

inline constexpr int kMaxViolations = 8;
inline constexpr int64_t kMaxScheduleUnits = int64_t{1} << 24;  // pp x chunks x micro_batches

// `where` names the schedule in errors: a file or "schedule 1f1b".
void verify(const Schedule& schedule, const std::string& where);

// pp x chunks x micro_batches is at most kMaxScheduleUnits, for numbers of at least 1, however large.
bool fits_schedule_units(int pp, int chunks, int micro_batches);

}  // namespace phalanx
