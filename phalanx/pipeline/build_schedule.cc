#include "phalanx/pipeline/build_schedule.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

constexpr int64_t kNever = -1;

int64_t unit_cost(Op op) {
  return op == Op::kBackward ? 2 : 1;
}

// The compute actions on a clock of unit costs, each as early as its rank and its inputs allow.
class UnitClock {
 public:
  UnitClock(int micro_batches, const Placement& placement, const std::vector<ActionList>& compute)
      : micro_batches_(micro_batches),
        placement_(placement),
        compute_(compute),
        holders_(holders(placement)),
        next_(compute.size(), 0),
        free_at_(compute.size(), 0),
        forward_end_(holders_.size() * static_cast<size_t>(micro_batches), kNever),
        backward_end_(forward_end_.size(), kNever) {
    begin_.resize(compute.size());
    for (size_t rank = 0; rank < compute.size(); ++rank) begin_[rank].reserve(compute[rank].size());
  }

  // begin[rank][position]
  std::vector<std::vector<int64_t>> run() {
    std::vector<size_t> ready(compute_.size());
    for (size_t rank = 0; rank < ready.size(); ++rank) ready[rank] = ready.size() - 1 - rank;
    while (!ready.empty()) {
      const size_t rank = ready.back();
      ready.pop_back();
      advance(rank, ready);
    }
    for (size_t rank = 0; rank < compute_.size(); ++rank) {
      if (next_[rank] < compute_[rank].size()) {
        PHALANX_CHECK(false, fmt::format("rank {}, compute action {} ({}) can never run", rank, next_[rank],
                                         to_string(compute_[rank][next_[rank]])));
      }
    }
    return std::move(begin_);
  }

 private:
  size_t unit(int stage, int micro_batch) const {
    return static_cast<size_t>(stage) * static_cast<size_t>(micro_batches_) +
           static_cast<size_t>(micro_batch);
  }

  // When the inputs of `action` are there; kNever while they are not.
  int64_t inputs_at(const Action& action, int stage) const {
    const size_t own = unit(stage, action.micro_batch);
    if (action.op == Op::kForward) return stage == 0 ? 0 : forward_end_[unit(stage - 1, action.micro_batch)];
    if (action.op == Op::kBackwardWeight) return backward_end_[own];
    const bool last = static_cast<size_t>(stage) + 1 == holders_.size();
    const int64_t gradient = last ? 0 : backward_end_[unit(stage + 1, action.micro_batch)];
    return std::min(gradient, forward_end_[own]) == kNever ? kNever : std::max(gradient, forward_end_[own]);
  }

  void advance(size_t rank, std::vector<size_t>& ready) {
    const ActionList& list = compute_[rank];
    for (; next_[rank] < list.size(); ++next_[rank]) {
      const Action& action = list[next_[rank]];
      PHALANX_CHECK(is_compute(action.op), "messages are placed here, not by the generator");
      PHALANX_CHECK(action.micro_batch >= 0 && action.micro_batch < micro_batches_ && action.chunk >= 0 &&
                        static_cast<size_t>(action.chunk) < placement_[rank].size(),
                    to_string(action));
      const int stage = placement_[rank][static_cast<size_t>(action.chunk)];
      const int64_t inputs = inputs_at(action, stage);
      if (inputs == kNever) return;
      const int64_t begin = std::max(free_at_[rank], inputs);
      free_at_[rank] = begin + unit_cost(action.op);
      begin_[rank].push_back(begin);
      if (action.op == Op::kBackwardWeight) continue;
      const bool forward = action.op == Op::kForward;
      (forward ? forward_end_ : backward_end_)[unit(stage, action.micro_batch)] = free_at_[rank];
      const size_t consumer = static_cast<size_t>(forward ? stage + 1 : stage - 1);
      if (consumer >= holders_.size()) continue;  // the last stage, or one before the first
      const auto waiting = static_cast<size_t>(holders_[consumer].rank);
      if (waiting != rank) ready.push_back(waiting);
    }
  }

  int micro_batches_;
  const Placement& placement_;
  const std::vector<ActionList>& compute_;
  std::vector<Holder> holders_;
  std::vector<size_t> next_;
  std::vector<int64_t> free_at_;
  std::vector<int64_t> forward_end_;   // by stage and micro-batch
  std::vector<int64_t> backward_end_;  // of B or BW
  std::vector<std::vector<int64_t>> begin_;
};

// A compute action at the moment it begins, or the transfer of its result at the moment it ends.
struct Event {
  const Action* action = nullptr;
  int rank = 0;
  bool compute = false;
};

using BeginTimes = std::vector<std::vector<int64_t>>;

// Calls `take(key, event)` for all events, rank by rank. The key orders them by time; at one time transfers go first,
// since what begins then may need them. No rank has two events of one key.
template <typename Take>
void visit_events(const Placement& placement, const std::vector<Holder>& by_stage,
                  const std::vector<ActionList>& compute, const BeginTimes& begin, const Take& take) {
  for (size_t rank = 0; rank < compute.size(); ++rank) {
    for (size_t i = 0; i < compute[rank].size(); ++i) {
      const Action& action = compute[rank][i];
      Event event{.action = &action, .rank = static_cast<int>(rank), .compute = true};
      const auto time = static_cast<size_t>(begin[rank][i]);
      take(2 * time + 1, event);
      if (action.op == Op::kBackwardWeight) continue;
      const int stage = placement[rank][static_cast<size_t>(action.chunk)];
      const auto consumer = static_cast<size_t>(action.op == Op::kForward ? stage + 1 : stage - 1);
      if (consumer >= by_stage.size() || by_stage[consumer].rank == event.rank) continue;
      event.compute = false;
      take(2 * (time + static_cast<size_t>(unit_cost(action.op))), event);
    }
  }
}

// Every transfer lies after what begins before its producer ends and before what begins then or later. So its producer,
// which takes time, lies before it, and its consumer behind it. Sorted by counting: times are small and dense.
std::vector<Event> global_order(const Placement& placement, const std::vector<Holder>& by_stage,
                                const std::vector<ActionList>& compute, const BeginTimes& begin) {
  std::vector<size_t> next;  // by key: first how many there are, then where the next one goes
  visit_events(placement, by_stage, compute, begin, [&](size_t key, const Event&) {
    if (key >= next.size()) next.resize(key + 1, 0);
    ++next[key];
  });
  size_t total = 0;
  for (size_t& entry : next) total += std::exchange(entry, total);
  std::vector<Event> events(total);
  visit_events(placement, by_stage, compute, begin,
               [&](size_t key, const Event& event) { events[next[key]++] = event; });
  return events;
}

void append_transfer(const Event& event, const Placement& placement, const std::vector<Holder>& by_stage,
                     std::vector<ActionList>& ranks) {
  const Action& producer = *event.action;
  const bool forward = producer.op == Op::kForward;
  const int stage =
      placement[static_cast<size_t>(event.rank)][static_cast<size_t>(producer.chunk)] + (forward ? 1 : -1);
  const Holder consumer = by_stage[static_cast<size_t>(stage)];
  ranks[static_cast<size_t>(event.rank)].push_back({.op = forward ? Op::kSendForward : Op::kSendBackward,
                                                    .micro_batch = producer.micro_batch,
                                                    .chunk = producer.chunk,
                                                    .peer = consumer.rank});
  ranks[static_cast<size_t>(consumer.rank)].push_back({.op = forward ? Op::kRecvForward : Op::kRecvBackward,
                                                       .micro_batch = producer.micro_batch,
                                                       .chunk = consumer.chunk,
                                                       .peer = event.rank});
}

}  // namespace

Placement round_robin_placement(int pp, int chunks) {
  Placement placement(static_cast<size_t>(pp));
  for (int rank = 0; rank < pp; ++rank) {
    for (int chunk = 0; chunk < chunks; ++chunk) {
      placement[static_cast<size_t>(rank)].push_back(chunk * pp + rank);
    }
  }
  return placement;
}

Placement v_placement(int pp) {
  Placement placement;
  for (int rank = 0; rank < pp; ++rank) placement.push_back({rank, 2 * pp - 1 - rank});
  return placement;
}

int count_peak_stash(const ActionList& actions) {
  int held = 0;
  int peak = 0;
  for (const Action& action : actions) {
    if (action.op == Op::kForward) peak = std::max(peak, ++held);
    if (action.op == Op::kBackward || action.op == Op::kBackwardWeight) --held;
  }
  return peak;
}

Schedule build_schedule(std::string kind, int micro_batches, Placement placement,
                        std::vector<ActionList> compute) {
  PHALANX_CHECK(!placement.empty() && compute.size() == placement.size(), "a list and a placement a rank");
  const BeginTimes begin = UnitClock(micro_batches, placement, compute).run();
  const std::vector<Holder> by_stage = holders(placement);
  Schedule schedule;
  schedule.kind = std::move(kind);
  schedule.pp = static_cast<int>(placement.size());
  schedule.chunks = static_cast<int>(placement.front().size());
  schedule.micro_batches = micro_batches;
  schedule.placement = placement;
  schedule.ranks.resize(placement.size());
  for (const Event& event : global_order(placement, by_stage, compute, begin)) {
    if (event.compute) {
      schedule.ranks[static_cast<size_t>(event.rank)].push_back(*event.action);
    } else {
      append_transfer(event, placement, by_stage, schedule.ranks);
    }
  }
  for (const ActionList& list : schedule.ranks) schedule.peak_stash.push_back(count_peak_stash(list));
  return schedule;
}

Schedule forward_only(const Schedule& schedule) {
  Schedule result = schedule;
  result.forward_only = true;
  for (ActionList& list : result.ranks) {
    std::erase_if(list, [](const Action& action) { return is_backward(action.op); });
  }
  result.peak_stash.assign(result.ranks.size(), 0);
  return result;
}

}  // namespace phalanx
