#include "phalanx/pipeline/generate/greedy_split.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

// How many micro-batches have passed a stage. They pass in order and every action takes one tick, so the counts at the
// start of a tick say all about what is ready.
struct StageCount {
  int forward = 0;
  int backward = 0;
};

class GreedySplit {
 public:
  GreedySplit(const Placement& placement, int micro_batches, const SplitRules& rules)
      : placement_(placement),
        micro_batches_(micro_batches),
        rules_(rules),
        counts_(placement.size() * placement.front().size()),
        live_(placement.size(), 0),
        queued_(placement.size()),
        queue_head_(placement.size(), 0) {}

  SplitOrder run() {
    SplitOrder order;
    order.compute.resize(placement_.size());
    std::vector<std::optional<Action>> picked(placement_.size());
    int64_t left = int64_t{3} * micro_batches_ * static_cast<int64_t>(counts_.size());
    for (; left > 0; ++order.ticks) {
      const int64_t before = left;
      for (size_t rank = 0; rank < picked.size(); ++rank) picked[rank] = pick(rank);
      for (size_t rank = 0; rank < picked.size(); ++rank) {
        if (!picked[rank]) continue;
        begin(rank, *picked[rank]);
        order.compute[rank].push_back(*picked[rank]);
        --left;
      }
      PHALANX_CHECK(left < before, "the limits of the scheduler let no rank go on");
    }
    return order;
  }

 private:
  size_t stage_of(size_t rank, int chunk) const {
    return static_cast<size_t>(placement_[rank][static_cast<size_t>(chunk)]);
  }

  bool is_ready(size_t stage, Op op) const {
    const StageCount& own = counts_[stage];
    if (op == Op::kForward) {
      return own.forward < (stage == 0 ? micro_batches_ : counts_[stage - 1].forward);
    }
    const bool last = stage + 1 == counts_.size();
    return own.backward < (last ? own.forward : std::min(own.forward, counts_[stage + 1].backward));
  }

  size_t num_queued(size_t rank) const { return queued_[rank].size() - queue_head_[rank]; }

  std::optional<Action> oldest_weight(size_t rank) const {
    if (num_queued(rank) == 0) return std::nullopt;
    return queued_[rank][queue_head_[rank]];
  }

  std::optional<Action> pick(size_t rank) const {
    for (const SplitStep& step : rules_.priority) {
      const size_t stage = stage_of(rank, step.chunk);
      if (!is_ready(stage, step.op)) continue;
      const StageCount& count = counts_[stage];
      if (step.op != Op::kForward) {
        return Action{.op = step.op, .micro_batch = count.backward, .chunk = step.chunk};
      }
      const int limit = rules_.max_live[rank][static_cast<size_t>(step.chunk)];
      if (count.forward - count.backward >= limit || live_[rank] >= rules_.max_stash) continue;
      if (live_[rank] + static_cast<int>(num_queued(rank)) >= rules_.max_stash) return oldest_weight(rank);
      return Action{.op = step.op, .micro_batch = count.forward, .chunk = step.chunk};
    }
    return oldest_weight(rank);
  }

  void begin(size_t rank, const Action& action) {
    StageCount& count = counts_[stage_of(rank, action.chunk)];
    if (action.op == Op::kForward) {
      ++count.forward;
      ++live_[rank];
    } else if (action.op == Op::kBackwardInput) {
      ++count.backward;
      --live_[rank];
      queued_[rank].push_back(
          {.op = Op::kBackwardWeight, .micro_batch = action.micro_batch, .chunk = action.chunk});
    } else {
      ++queue_head_[rank];
    }
  }

  const Placement& placement_;
  int micro_batches_;
  const SplitRules& rules_;
  std::vector<StageCount> counts_;  // by stage
  std::vector<int> live_;           // by rank: F begun and B not
  std::vector<ActionList> queued_;  // by rank: every W so far, in the order of their B; the head moves
  std::vector<size_t> queue_head_;
};

}  // namespace

SplitOrder greedy_split(const Placement& placement, int micro_batches, const SplitRules& rules) {
  for (const std::vector<int>& limits : rules.max_live) {
    const int before_last = std::accumulate(limits.begin(), limits.end() - 1, 0);
    PHALANX_CHECK(before_last < rules.max_stash, "the last chunk must always find room");
    for (const int limit : limits) PHALANX_CHECK(limit >= 1, "every chunk must find room");
  }
  return GreedySplit(placement, micro_batches, rules).run();
}

}  // namespace phalanx
