// What a trainer does together with the trainers of other ranks.
#include <ATen/ATen.h>

#include <algorithm>
#include <iterator>

#include "phalanx/base/error.h"
#include "phalanx/base/log.h"
#include "phalanx/checkpoint/model_state.h"
#include "phalanx/train/rank_layout.h"
#include "phalanx/train/recompute_config.h"
#include "phalanx/train/train_checkpoint.h"
#include "phalanx/train/trainer.h"

namespace phalanx {

std::vector<HostBatch> Trainer::micro_batches(const SampleSource& source, int64_t first,
                                              int64_t count) const {
  return build_step_share(source,
                          {.first = first,
                           .count = count,
                           .micro_batch_size = config_.train.micro_batch_size,
                           .data_rank = groups_->coordinate("dp"),
                           .data_size = groups_->mesh().size("dp")},
                          config_.model.seq_length, rules_);
}

StepLayout Trainer::step_layout(int64_t step) {
  const bool record = config_.log.timeline_step == step;
  StashRules stash = stash_rules(config_.train);
  stash.items = config_.log.memory && step == first_step_;
  if (groups_->is_alone()) return {.record = record, .stash = stash};
  return {.groups = groups_, .schedules = &schedules_, .record = record, .stash = stash};
}

// The pipeline of tensor and data rank 0.
void Trainer::draw_timeline(const StepOutcome& outcome, int64_t step, size_t micro_batches) {
  std::vector<RankSpans> ranks = {{outcome.started, outcome.spans}};
  if (!groups_->is_alone()) {
    exchange_->spans[static_cast<size_t>(groups_->rank())] = ranks[0];
    groups_->world().barrier();
    ranks.clear();
    for (int p = 0; p < groups_->mesh().size("pp"); ++p) {
      ranks.push_back(exchange_->spans[static_cast<size_t>(groups_->mesh().rank_at(0, "pp", p))]);
    }
    groups_->world().barrier();
  }
  if (!is_first() || micro_batches == 0) return;
  write_timelines(config_.runtime.run_dir, step,
                  schedules_.of(static_cast<int>(micro_batches), /*forward_only=*/false), ranks);
}

void Trainer::log_memory(const StepOutcome& outcome) {
  RankMemoryUse use{.optimizer = optimizer_->bytes(),
                    .stash_bytes = outcome.stash_bytes,
                    .host_bytes = outcome.host_bytes,
                    .peak_pairs = outcome.peak_pairs,
                    .items = outcome.stash_items};
  if (optimizer_->has_separate_masters()) {
    for (Parameter* p : model_->parameters()) use.weights += static_cast<int64_t>(p->data.nbytes());
  }
  std::vector<RankMemoryUse> ranks = {std::move(use)};
  if (!groups_->is_alone()) {
    exchange_->memory[static_cast<size_t>(groups_->rank())] = std::move(ranks[0]);
    groups_->world().barrier();
    ranks = is_first() ? exchange_->memory : std::vector<RankMemoryUse>();
    groups_->world().barrier();
  }
  if (!is_first()) return;
  log_info("memory after the first step; optimizer: masters, gradients, moments\n" +
           memory_table(config_, groups_->mesh(), ranks) + saved_memory_table(config_));
}

bool Trainer::any_rank(bool mine) const {
  if (groups_->is_alone()) return mine;
  Tensor flag = at::full({1}, mine ? 1 : 0, at::TensorOptions(at::kLong));
  groups_->world().all_reduce(flag, comm::ReduceOp::kMax);
  return flag.item<int64_t>() != 0;
}

void Trainer::save() {
  if (saved_step_ == progress_.step) return;
  const TrainState state{progress_.step, progress_.consumed_samples, optimizer_->updates(),
                         outliers_.to_json(), scaler_.to_json()};
  std::vector<TensorBox> boxes = training_boxes(config_, *model_, *optimizer_);
  if (groups_->is_alone()) {
    save_training(config_, boxes, state);
  } else {
    exchange_->boxes[static_cast<size_t>(groups_->rank())] = std::move(boxes);
    groups_->world().barrier();
    if (is_first()) {
      std::vector<TensorBox> all;
      for (std::vector<TensorBox>& of_rank : exchange_->boxes)
        std::move(of_rank.begin(), of_rank.end(), std::back_inserter(all));
      save_training(config_, assemble_boxes(all), state);
    }
    groups_->world().barrier();
  }
  saved_step_ = progress_.step;
}

}  // namespace phalanx
