// File: apps/phalanx/schedule_report.h
//
// Purpose: what `phalanx schedule` says in numbers: the table of one schedule's ranks, and the table of all kinds.
// Contract: text ends with a new line. A stash is compared with that of 1F1B of as many ranks and micro-batches, min(p, m)
//   micro-batches of a whole rank, so pairs of (micro-batch, chunk) are divided by the number of chunks. compare_kinds
//   gives every kind the same model: a chunk costs its share, so its costs are scaled and its ticks are finer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "phalanx/pipeline/generate.h"
#include "phalanx/pipeline/simulate.h"

namespace phalanx::apps {

struct MessageCounts {
  int64_t sent = 0;
  int64_t received = 0;
};
MessageCounts count_messages(const ActionList& actions);

std::string schedule_summary(const Schedule& schedule, const Timeline& timeline);

struct ComparedKind {
  std::string kind;
  int chunks = 1;
  int64_t makespan = 0;  // in ticks that are alike for all
  double bubble = 0;
  int peak_stash = 0;        // of the fullest rank, (micro-batch, chunk) pairs
  double stash_to_1f1b = 0;  // 0 in a forward-only schedule
  int64_t messages = 0;      // sent by the busiest rank
};

// Kinds of any number of chunks stand there with the fewest and with `request.chunks`.
std::vector<ComparedKind> compare_kinds(const ScheduleRequest& request, const SimulateOptions& options);
std::string compared_text(const ScheduleRequest& request, const std::vector<ComparedKind>& rows);
std::string compared_json(const std::vector<ComparedKind>& rows);

}  // namespace phalanx::apps
