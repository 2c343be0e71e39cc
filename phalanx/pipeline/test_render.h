// File: phalanx/pipeline/test_render.h
//
// Purpose: for tests of pictures: schedules with their timelines.
// Contract: `sequential` computes micro-batch after micro-batch, B and W apart, with any number of chunks.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "phalanx/pipeline/build_schedule.h"
#include "phalanx/pipeline/generate.h"
#include "phalanx/pipeline/render.h"

namespace phalanx {

struct Case {
  Schedule schedule;
  Timeline timeline;
  std::string svg() const { return render_svg(schedule, timeline, "Pipeline schedule " + schedule.kind); }
};

inline Case case_of(Schedule schedule, const SimulateOptions& options = {}) {
  Timeline timeline = simulate(schedule, options);
  return {std::move(schedule), std::move(timeline)};
}

inline Case one_f_one_b(int pp, int micro_batches, const SimulateOptions& options = {}) {
  return case_of(generate_1f1b(pp, 1, micro_batches), options);
}

inline Case sequential(int pp, int chunks, int micro_batches) {
  std::vector<ActionList> compute(static_cast<size_t>(pp));
  for (ActionList& list : compute) {
    for (int mb = 0; mb < micro_batches; ++mb) {
      for (int c = 0; c < chunks; ++c) list.push_back({.op = Op::kForward, .micro_batch = mb, .chunk = c});
      for (int c = chunks; c-- > 0;) {
        list.push_back({.op = Op::kBackwardInput, .micro_batch = mb, .chunk = c});
      }
      for (int c = 0; c < chunks; ++c) {
        list.push_back({.op = Op::kBackwardWeight, .micro_batch = mb, .chunk = c});
      }
    }
  }
  return case_of(build_schedule("one by one", micro_batches, round_robin_placement(pp, chunks), compute));
}

}  // namespace phalanx
