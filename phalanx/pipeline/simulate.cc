#include "phalanx/pipeline/simulate.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include <fmt/format.h>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

constexpr int64_t kNever = -1;

// The entry of a place in a list of one entry a place, of one entry for all, or of none.
template <typename T>
T entry(const std::vector<T>& given, size_t place, T if_empty) {
  return given.empty() ? if_empty : given[given.size() == 1 ? 0 : place];
}

void check_options(const SimulateOptions& options, int num_stages) {
  const auto fits = [](size_t size, int places) { return size <= 1 || size == static_cast<size_t>(places); };
  PHALANX_CHECK(fits(options.stages.size(), num_stages),
                fmt::format("{} stage costs for {} stages", options.stages.size(), num_stages));
  for (const StageCost& cost : options.stages) {
    PHALANX_CHECK(std::min({cost.forward, cost.backward_input, cost.backward_weight}) >= 0, "negative cost");
  }
  for (const auto* links : {&options.forward_link, &options.backward_link}) {
    PHALANX_CHECK(fits(links->size(), num_stages - 1),
                  fmt::format("{} link costs for {} stages", links->size(), num_stages));
    for (const int64_t ticks : *links) PHALANX_CHECK(ticks >= 0, "negative link cost");
  }
}

// One way between a stage and a neighbour, as one of its two ends sees it.
struct Way {
  bool crosses = false;  // ranks
  int64_t ticks = 0;
  size_t channel = 0;     // what a pair of ranks shares in this direction
  size_t first_slot = 0;  // of the receiving stage; a slot a micro-batch
};

// A chunk of a rank: all that its actions look up.
struct Piece {
  StageCost cost;
  Way forward_in, forward_out, backward_in, backward_out;

  const Way& way(Op message) const {
    switch (message) {
      case Op::kSendForward:
        return forward_out;
      case Op::kRecvForward:
        return forward_in;
      case Op::kSendBackward:
        return backward_out;
      default:
        return backward_in;
    }
  }
};

class Simulator {
 public:
  Simulator(const Schedule& schedule, const SimulateOptions& options)
      : schedule_(schedule),
        overlap_(options.overlap),
        record_(options.record),
        micro_batches_(static_cast<size_t>(schedule.micro_batches)),
        chunks_(static_cast<size_t>(schedule.chunks)),
        pieces_(static_cast<size_t>(schedule.num_stages())),
        state_(schedule.ranks.size()) {
    check_options(options, schedule.num_stages());
    lay_out(options);
    timeline_.busy.assign(schedule.ranks.size(), 0);
    timeline_.ranks.resize(schedule.ranks.size());
    if (!record_) return;
    for (size_t rank = 0; rank < schedule.ranks.size(); ++rank) {
      timeline_.ranks[rank].resize(schedule.ranks[rank].size());
    }
  }

  Timeline run() {
    for (size_t rank = state_.size(); rank > 0; --rank) ready_.push_back(rank - 1);
    while (!ready_.empty()) {
      const size_t rank = ready_.back();
      ready_.pop_back();
      advance(rank);
    }
    for (size_t rank = 0; rank < state_.size(); ++rank) {
      PHALANX_CHECK(state_[rank].next == schedule_.ranks[rank].size(),
                    "simulate takes verified schedules only");
      timeline_.makespan =
          std::max(timeline_.makespan, state_[rank].free_at);  // no message is later than its use
    }
    if (record_) finish_spans();
    return std::move(timeline_);
  }

 private:
  struct RankState {
    size_t next = 0;  // position of the next action
    int64_t free_at = 0;
    size_t waits_for = SIZE_MAX;  // the slot
  };

  // The pieces by rank and chunk, and what passes between them. Slots hold when an input has arrived: those of forward
  // inputs by stage and micro-batch, behind them those of gradients.
  void lay_out(const SimulateOptions& options) {
    const std::vector<Holder> by_stage = holders(schedule_.placement);
    const size_t num_stages = by_stage.size();
    const auto piece = [&](size_t stage) -> Piece& {
      return pieces_[static_cast<size_t>(by_stage[stage].rank) * chunks_ +
                     static_cast<size_t>(by_stage[stage].chunk)];
    };
    arrived_.assign((schedule_.forward_only ? 1 : 2) * num_stages * micro_batches_, kNever);
    std::vector<std::pair<int, int>> channels;  // sender, receiver
    for (size_t stage = 0; stage + 1 < num_stages; ++stage) {
      const int here = by_stage[stage].rank;
      const int there = by_stage[stage + 1].rank;
      channels.insert(channels.end(), {{here, there}, {there, here}});
    }
    std::sort(channels.begin(), channels.end());
    channels.erase(std::unique(channels.begin(), channels.end()), channels.end());
    const auto channel = [&](int from, int to) {
      return static_cast<size_t>(std::lower_bound(channels.begin(), channels.end(), std::pair(from, to)) -
                                 channels.begin());
    };
    channel_free_at_.assign(channels.size(), 0);
    for (size_t stage = 0; stage < num_stages; ++stage) piece(stage).cost = entry(options.stages, stage, {});
    for (size_t stage = 0; stage + 1 < num_stages; ++stage) {
      const int here = by_stage[stage].rank;
      const int there = by_stage[stage + 1].rank;
      if (here == there) continue;
      piece(stage).forward_out =
          piece(stage + 1).forward_in = {.crosses = true,
                                         .ticks = entry<int64_t>(options.forward_link, stage, 0),
                                         .channel = channel(here, there),
                                         .first_slot = (stage + 1) * micro_batches_};
      piece(stage + 1).backward_out =
          piece(stage).backward_in = {.crosses = true,
                                      .ticks = entry<int64_t>(options.backward_link, stage, 0),
                                      .channel = channel(there, here),
                                      .first_slot = (num_stages + stage) * micro_batches_};
    }
  }

  const Piece& piece_of(size_t rank, const Action& action) const {
    return pieces_[rank * chunks_ + static_cast<size_t>(action.chunk)];
  }

  static size_t slot(const Way& way, const Action& action) {
    return way.first_slot + static_cast<size_t>(action.micro_batch);
  }

  // Runs `rank` until it must wait or its list is done.
  void advance(size_t rank) {
    const ActionList& list = schedule_.ranks[rank];
    RankState& state = state_[rank];
    while (state.next < list.size()) {
      const Action& action = list[state.next];
      if (is_compute(action.op)) {
        if (!compute(rank, action)) return;
      } else if (overlap_) {
        if (is_send(action.op)) post(rank, action);  // a receive is nothing at all
      } else if (!meet(rank, action)) {
        return;
      }
      ++state.next;
    }
  }

  bool compute(size_t rank, const Action& action) {
    const Piece& piece = piece_of(rank, action);
    RankState& state = state_[rank];
    int64_t ticks = 0;
    const Way* input = nullptr;
    switch (action.op) {
      case Op::kForward:
        ticks = piece.cost.forward;
        input = &piece.forward_in;
        break;
      case Op::kBackwardInput:
        ticks = piece.cost.backward_input;
        input = &piece.backward_in;
        break;
      case Op::kBackward:
        ticks = piece.cost.backward_input + piece.cost.backward_weight;
        input = &piece.backward_in;
        break;
      default:
        ticks = piece.cost.backward_weight;
        break;
    }
    if (input != nullptr && input->crosses) {
      const int64_t arrived = arrived_[slot(*input, action)];
      if (arrived == kNever) {
        state.waits_for = slot(*input, action);
        return false;
      }
      state.free_at = std::max(state.free_at, arrived);
    }
    record(rank, state.free_at, state.free_at + ticks);
    state.free_at += ticks;
    timeline_.busy[rank] += ticks;
    return true;
  }

  // Overlapped: a send is an entry in the queue of its channel.
  void post(size_t rank, const Action& action) {
    const Way& way = piece_of(rank, action).way(action.op);
    int64_t& free_at = channel_free_at_[way.channel];
    const int64_t begin = std::max(state_[rank].free_at, free_at);
    free_at = begin + way.ticks;
    arrived_[slot(way, action)] = free_at;
    record(rank, begin, free_at);
    const auto peer = static_cast<size_t>(action.peer);
    if (state_[peer].waits_for != slot(way, action)) return;
    state_[peer].waits_for = SIZE_MAX;
    ready_.push_back(peer);
  }

  // Rendezvous: whoever comes second moves both.
  bool meet(size_t rank, const Action& action) {
    const auto peer = static_cast<size_t>(action.peer);
    RankState& own = state_[rank];
    RankState& other = state_[peer];
    if (other.next == schedule_.ranks[peer].size()) return false;
    const Action& theirs = schedule_.ranks[peer][other.next];
    if (is_compute(theirs.op) || theirs.peer != static_cast<int>(rank) ||
        is_send(theirs.op) == is_send(action.op)) {
      return false;
    }
    const Way& way = piece_of(rank, action).way(action.op);
    const int64_t begin = std::max(own.free_at, other.free_at);
    const int64_t end = begin + way.ticks;
    arrived_[slot(way, action)] = end;
    record(rank, begin, end);
    record(peer, begin, end);
    own.free_at = other.free_at = end;
    ++other.next;
    ready_.push_back(peer);
    return true;
  }

  void record(size_t rank, int64_t begin, int64_t end) {
    if (!record_) return;
    const size_t at = state_[rank].next;
    timeline_.ranks[rank][at] = {.action = schedule_.ranks[rank][at], .begin = begin, .end = end};
  }

  void finish_spans() {
    const auto earlier = [](const TimelineSpan& a, const TimelineSpan& b) { return a.begin < b.begin; };
    for (size_t rank = 0; rank < timeline_.ranks.size(); ++rank) {
      std::vector<TimelineSpan>& spans = timeline_.ranks[rank];
      for (size_t i = 0; overlap_ && i < spans.size(); ++i) {
        const Action& action = schedule_.ranks[rank][i];
        if (is_compute(action.op) || is_send(action.op)) continue;
        const Way& way = piece_of(rank, action).way(action.op);
        const int64_t end = arrived_[slot(way, action)];
        spans[i] = {.action = action, .begin = end - way.ticks, .end = end};
      }
      if (!std::is_sorted(spans.begin(), spans.end(), earlier)) {
        std::stable_sort(spans.begin(), spans.end(), earlier);
      }
    }
  }

  const Schedule& schedule_;
  bool overlap_;
  bool record_;
  size_t micro_batches_;
  size_t chunks_;
  std::vector<Piece> pieces_;
  std::vector<RankState> state_;
  std::vector<int64_t> arrived_;          // by slot
  std::vector<int64_t> channel_free_at_;  // overlapped
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
