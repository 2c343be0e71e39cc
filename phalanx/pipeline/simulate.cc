#include "phalanx/pipeline/simulate.h"

#include <algorithm>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

constexpr int64_t kNever = -1;

bool is_send(Op op) {
  return op == Op::kSendForward || op == Op::kSendBackward;
}

// One entry a place, from a list of that length, of one entry, or empty.
template <typename T>
std::vector<T> spread(const std::vector<T>& given, int count, const T& if_empty, const char* what) {
  const auto size = static_cast<size_t>(count);
  if (given.empty()) return std::vector<T>(size, if_empty);
  if (given.size() == 1) return std::vector<T>(size, given.front());
  PHALANX_CHECK(given.size() == size, fmt::format("{} {} for {} places", given.size(), what, count));
  return given;
}

struct Transfer {
  int64_t begin = kNever;
  int64_t end = kNever;
};

class Simulator {
 public:
  Simulator(const Schedule& schedule, const SimulateOptions& options)
      : schedule_(schedule),
        overlap_(options.overlap),
        cost_(spread(options.stages, schedule.num_stages(), StageCost{}, "stage costs")),
        forward_link_(spread<int64_t>(options.forward_link, schedule.num_stages() - 1, 0, "link costs")),
        backward_link_(spread<int64_t>(options.backward_link, schedule.num_stages() - 1, 0, "link costs")),
        next_(schedule.ranks.size(), 0),
        free_at_(schedule.ranks.size(), 0),
        holders_(holders(schedule.placement)) {
    for (const StageCost& cost : cost_) {
      PHALANX_CHECK(std::min({cost.forward, cost.backward_input, cost.backward_weight}) >= 0,
                    "negative cost");
    }
    for (const auto* links : {&forward_link_, &backward_link_}) {
      for (const int64_t ticks : *links) PHALANX_CHECK(ticks >= 0, "negative link cost");
    }
    const size_t units =
        static_cast<size_t>(schedule.num_stages()) * static_cast<size_t>(schedule.micro_batches);
    forward_.resize(units);
    if (!schedule.forward_only) backward_.resize(units);
    timeline_.busy.assign(schedule.ranks.size(), 0);
    for (const ActionList& list : schedule.ranks) timeline_.ranks.emplace_back(list.size());
  }

  Timeline run() {
    for (size_t rank = next_.size(); rank > 0; --rank) ready_.push_back(rank - 1);
    while (!ready_.empty()) {
      const size_t rank = ready_.back();
      ready_.pop_back();
      while (step(rank)) ++next_[rank];
    }
    for (size_t rank = 0; rank < next_.size(); ++rank) {
      PHALANX_CHECK(next_[rank] == schedule_.ranks[rank].size(), "simulate takes verified schedules only");
    }
    finish();
    return std::move(timeline_);
  }

 private:
  int stage_of(size_t rank, const Action& action) const {
    return schedule_.placement[rank][static_cast<size_t>(action.chunk)];
  }

  // The message that brings the input of F (or B) of a stage: kept by the stage that receives it.
  Transfer& arriving(bool forward, int stage, int micro_batch) {
    return (forward ? forward_
                    : backward_)[static_cast<size_t>(stage) * static_cast<size_t>(schedule_.micro_batches) +
                                 static_cast<size_t>(micro_batch)];
  }

  Transfer& transfer_of(size_t rank, const Action& message) {
    const bool forward = !is_backward(message.op);
    const int to_receiver = is_send(message.op) ? (forward ? 1 : -1) : 0;
    return arriving(forward, stage_of(rank, message) + to_receiver, message.micro_batch);
  }

  int64_t link_cost(size_t rank, const Action& send) const {
    const auto stage = static_cast<size_t>(stage_of(rank, send));
    return is_backward(send.op) ? backward_link_[stage - 1] : forward_link_[stage];
  }

  // Runs the next action of `rank`; false when it must wait or the list is done.
  bool step(size_t rank) {
    if (next_[rank] == schedule_.ranks[rank].size()) return false;
    const Action& action = schedule_.ranks[rank][next_[rank]];
    if (is_compute(action.op)) return compute(rank, action);
    return overlap_ ? post(rank, action) : meet(rank, action);
  }

  bool compute(size_t rank, const Action& action) {
    const int stage = stage_of(rank, action);
    const StageCost& cost = cost_[static_cast<size_t>(stage)];
    int64_t ticks = 0;
    int producer = -1;  // the stage that the input comes from
    switch (action.op) {
      case Op::kForward:
        ticks = cost.forward;
        producer = stage - 1;
        break;
      case Op::kBackwardInput:
        ticks = cost.backward_input;
        producer = stage + 1;
        break;
      case Op::kBackward:
        ticks = cost.backward_input + cost.backward_weight;
        producer = stage + 1;
        break;
      default:
        ticks = cost.backward_weight;
        break;
    }
    int64_t begin = free_at_[rank];
    const bool has_producer = producer >= 0 && producer < schedule_.num_stages();
    if (has_producer && holders_[static_cast<size_t>(producer)].rank != static_cast<int>(rank)) {
      const Transfer& input = arriving(action.op == Op::kForward, stage, action.micro_batch);
      if (input.end == kNever) return false;
      begin = std::max(begin, input.end);
    }
    record(rank, begin, begin + ticks);
    free_at_[rank] = begin + ticks;
    timeline_.busy[rank] += ticks;
    return true;
  }

  // Overlapped: a send is a queue entry of its link, a receive is nothing at all.
  bool post(size_t rank, const Action& action) {
    if (!is_send(action.op)) return true;
    int64_t& link_free_at = link_free_at_[{rank, action.peer}];
    Transfer& transfer = transfer_of(rank, action);
    transfer.begin = std::max(free_at_[rank], link_free_at);
    transfer.end = transfer.begin + link_cost(rank, action);
    link_free_at = transfer.end;
    record(rank, transfer.begin, transfer.end);
    ready_.push_back(static_cast<size_t>(action.peer));
    return true;
  }

  // Rendezvous: whoever comes second moves both.
  bool meet(size_t rank, const Action& action) {
    const auto peer = static_cast<size_t>(action.peer);
    if (next_[peer] == schedule_.ranks[peer].size()) return false;
    const Action& other = schedule_.ranks[peer][next_[peer]];
    if (is_compute(other.op) || other.peer != static_cast<int>(rank) ||
        is_send(other.op) == is_send(action.op)) {
      return false;
    }
    const int64_t begin = std::max(free_at_[rank], free_at_[peer]);
    const int64_t end = begin + (is_send(action.op) ? link_cost(rank, action) : link_cost(peer, other));
    transfer_of(rank, action) = {.begin = begin, .end = end};
    record(rank, begin, end);
    record(peer, begin, end);
    free_at_[rank] = end;
    free_at_[peer] = end;
    ++next_[peer];
    ready_.push_back(peer);
    return true;
  }

  void record(size_t rank, int64_t begin, int64_t end) {
    timeline_.ranks[rank][next_[rank]] = {
        .action = schedule_.ranks[rank][next_[rank]], .begin = begin, .end = end};
    timeline_.makespan = std::max(timeline_.makespan, end);
  }

  void finish() {
    for (size_t rank = 0; rank < timeline_.ranks.size(); ++rank) {
      std::vector<TimelineSpan>& spans = timeline_.ranks[rank];
      for (size_t i = 0; i < spans.size(); ++i) {
        const Action& action = schedule_.ranks[rank][i];
        if (is_compute(action.op) || is_send(action.op)) continue;
        const Transfer& transfer = transfer_of(rank, action);
        spans[i] = {.action = action, .begin = transfer.begin, .end = transfer.end};
      }
      std::stable_sort(spans.begin(), spans.end(),
                       [](const TimelineSpan& a, const TimelineSpan& b) { return a.begin < b.begin; });
    }
  }

  const Schedule& schedule_;
  bool overlap_;
  std::vector<StageCost> cost_;
  std::vector<int64_t> forward_link_;
  std::vector<int64_t> backward_link_;
  std::vector<size_t> next_;      // by rank: position of the next action
  std::vector<int64_t> free_at_;  // by rank
  std::vector<Holder> holders_;
  std::vector<Transfer> forward_;  // by receiving stage and micro-batch
  std::vector<Transfer> backward_;
  std::map<std::pair<size_t, int>, int64_t> link_free_at_;  // by sender and receiver
  std::vector<size_t> ready_;
  Timeline timeline_;
};

}  // namespace

int64_t Timeline::max_busy() const {
  return busy.empty() ? 0 : *std::max_element(busy.begin(), busy.end());
}

double Timeline::bubble() const {
  const int64_t most = max_busy();
  return most == 0 ? 0.0 : static_cast<double>(makespan - most) / static_cast<double>(most);
}

Timeline simulate(const Schedule& schedule, const SimulateOptions& options) {
  return Simulator(schedule, options).run();
}

std::vector<StashPoint> stash_curve(const Timeline& timeline, int rank) {
  std::vector<StashPoint> curve = {{.time = 0, .count = 0}};
  const std::vector<TimelineSpan>& spans = timeline.ranks[static_cast<size_t>(rank)];
  const auto is_backward_compute = [](const TimelineSpan& span) {
    return is_compute(span.action.op) && is_backward(span.action.op);
  };
  if (std::none_of(spans.begin(), spans.end(), is_backward_compute)) return curve;  // forward-only
  int count = 0;
  for (const TimelineSpan& span : spans) {
    const Op op = span.action.op;
    const int change = op == Op::kForward ? 1 : op == Op::kBackward || op == Op::kBackwardWeight ? -1 : 0;
    if (change != 0) curve.push_back({.time = span.end, .count = count += change});
  }
  return curve;
}

}  // namespace phalanx
