// File: phalanx/train/timeline.h
//
// Purpose: the pipeline of one training step as it ran, beside the same schedule on the virtual clock with the costs that
//   were measured: what the plan did not see is the difference.
// Contract: pure but for write_timelines. Times of ranks are on one clock (threads of one machine). Costs are means by stage
//   and kind of action; messages cost nothing in the plan, so every wait for one shows.
// Units: nanoseconds.
// Errors: Error(kIo).
#pragma once

#include <string>
#include <vector>

#include "phalanx/pipeline/schedule.h"
#include "phalanx/pipeline/simulate.h"

namespace phalanx {

struct RankSpans {
  double started = 0;  // monotonic seconds
  std::vector<TimelineSpan> spans;
};

// By pipeline rank. Time 0 is when the first rank started.
Timeline measured_timeline(const std::vector<RankSpans>& ranks);

SimulateOptions measured_costs(const Schedule& schedule, const Timeline& measured);

// FOLDER/timeline_step_N.svg, measured above planned, and FOLDER/timeline_step_N.json, a Chrome trace of the measured one.
void write_timelines(const std::string& folder, int64_t step, const Schedule& schedule,
                     const std::vector<RankSpans>& ranks);

}  // namespace phalanx
