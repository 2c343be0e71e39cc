// File: phalanx/engine/executor.h
//
// Purpose: runs one rank's part of a verified Schedule (DESIGN 2.6). It knows actions, never a schedule's name, so that
//   any legal schedule runs, from a generator or from a file, forward-only ones too.
// Contract: actions run in list order. A receive is posted where it stands and waited for at the action that needs it; a
//   send is started and its tensor let go when it has arrived (paper 2, appendix B: no stage keeps its output). Where
//   one rank holds both ends the tensor is handed over. B keeps weight gradients for W (WeightGrads::kDefer), BW applies
//   them at once. With scatter/gather each tensor-parallel rank sends 1/t of the rows and the receivers gather them
//   (Narayanan et al. 2021, section 4.1); under sequence parallelism a boundary tensor is split already.
//   The stash held at any time, deferred gradients included, is counted in bytes and in pairs.
// Errors: those of the program; Error(kPeer) from the groups.
// Source: Narayanan et al. 2021, section 2.2; Korthikanti et al. 2022, appendix C, for the window; Qi et al. 2023 for B and W.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "phalanx/comm/group.h"
#include "phalanx/nn/stage_program.h"
#include "phalanx/pipeline/schedule.h"
#include "phalanx/pipeline/simulate.h"

namespace phalanx {

struct ExecutorGroups {
  comm::Group* pipeline = nullptr;  // nullptr: one rank holds every stage
  comm::Group* tensor = nullptr;
};

// What happens to stashes between F and B.
struct StashRules {
  int64_t window =
      0;  // so many pairs at a time keep everything, whatever the model recomputes; the next F takes a
          // place as soon as a B leaves one
  bool offload = false;  // to host memory
  bool items = false;    // list them
};

// A part of what was held at the peak.
struct HeldItem {
  int micro_batch = 0;
  int chunk = 0;
  StashItem item;
};

struct ExecutorOptions {
  StashRules stash;
  bool scatter_gather = true;
  bool record = false;  // the timeline
  std::function<void(Parameter&)> on_applied;
};

struct ExecutorResult {
  std::vector<Tensor> nll;                        // by micro-batch; undefined on ranks without the last stage
  int64_t stash_bytes = 0;                        // the most that was held
  int64_t host_bytes = 0;                         // the most that was offloaded
  std::map<std::string, int64_t> stash_by_label;  // when device and host together held most
  std::vector<HeldItem> items;                    // the same, one by one, with StashRules::items
  int peak_pairs = 0;                             // as peak_stash of the schedule
  int64_t whole_pairs = 0;                        // that had a place in the window
  std::vector<TimelineSpan> spans;                // nanoseconds since `started`
  double started = 0;                             // monotonic seconds
};

// `batches` by micro-batch, as many as the schedule has.
ExecutorResult run_schedule(StageProgram& program, const Schedule& schedule, const ExecutorGroups& groups,
                            const std::vector<Batch>& batches, const ExecutorOptions& options = {});

}  // namespace phalanx
