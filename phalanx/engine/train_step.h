// File: phalanx/engine/train_step.h
//
// Purpose: one optimizer step: count labels, forward and backward of each micro-batch by the schedule, update.
// Equation (DESIGN 2.8): N = number of unmasked labels of the whole step, over all data ranks; every counted row has the
//   weight loss_scale / N before the first forward; loss = sum(nll) / N. Never a mean of means.
// Shapes: a micro-batch holds `num_samples` rows of S tokens on the host; masks are 1 where the label counts.
// Contract: every rank is given the micro-batches of its data rank, which may be fewer than another's, or none. Outcomes
//   are those of the whole step and equal on all ranks, but for the stash, which is this rank's.
// Errors: N = 0 is Error(kNumeric).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "phalanx/engine/executor.h"
#include "phalanx/engine/rank_groups.h"
#include "phalanx/engine/schedule_source.h"
#include "phalanx/model/model.h"
#include "phalanx/optim/optimizer.h"

namespace phalanx {

// Samples of one micro-batch as the data tier gives them; all vectors have num_samples * seq_length entries.
struct HostBatch {
  int64_t num_samples = 0;
  int64_t first_sample = 0;  // index of its first sample within the step
  std::vector<int64_t> tokens;
  std::vector<int64_t> labels;
  std::vector<uint8_t> label_mask;
  std::vector<int64_t> position;
  std::vector<int64_t> document;  // empty: every sample is one document
};

struct StepContext {
  int64_t step = 0;  // enters the random counters
  uint64_t seed = 0;
  double lr = 0;
  double loss_scale = 1.0;
  bool update = true;  // false: a step to skip; loss is computed, nothing changes
};

// How the step is run on several ranks. Without groups: one rank, micro-batch after micro-batch.
struct StepLayout {
  RankGroups* groups = nullptr;
  ScheduleSource* schedules = nullptr;  // nullptr: 1f1b on one rank
  bool scatter_gather = true;
  bool record = false;  // the timeline
  StashRules stash;
};

struct StepOutcome {
  double loss = 0;
  double grad_norm = 0;
  bool applied = false;
  int64_t tokens = 0;                             // rows computed by all data ranks
  int64_t counted = 0;                            // N
  int64_t stash_bytes = 0;                        // the most that this rank held
  int64_t host_bytes = 0;                         // and offloaded
  std::map<std::string, int64_t> stash_by_label;  // when both together were most
  std::vector<HeldItem> stash_items;              // the same, with StashRules::items
  int peak_pairs = 0;
  double exposed_comm_s = 0;        // this rank stood still for others
  std::vector<TimelineSpan> spans;  // with `record`
  double started = 0;
};

// The device-side batch. `weight` is the gradient of a counted row; zero means no backward follows.
Batch make_batch(const HostBatch& host, int64_t seq_length, const StepContext& context, double weight,
                 bool training, const Model& model);

int64_t count_labels(const std::vector<HostBatch>& micro_batches);

StepOutcome run_train_step(Model& model, Optimizer& optimizer, const std::vector<HostBatch>& micro_batches,
                           const StepContext& context, const StepLayout& layout = {});

// Sum of nll over counted labels and their number, without gradients.
struct EvalSum {
  double nll = 0;
  int64_t counted = 0;
};
EvalSum run_eval(Model& model, const std::vector<HostBatch>& micro_batches, const StepContext& context,
                 const StepLayout& layout = {});

}  // namespace phalanx
