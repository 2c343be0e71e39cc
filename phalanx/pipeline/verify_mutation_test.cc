// Schedules that were changed at random: verify refuses those, and only those, that a slow run of the ranks shows to be
// illegal. The run knows values and no rules about lists: who has which activation, and whether all work gets done.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <tuple>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/pipeline/build_schedule.h"
#include "phalanx/pipeline/generate.h"
#include "phalanx/pipeline/test_schedules.h"
#include "phalanx/pipeline/verify.h"

namespace phalanx {
namespace {

enum class Value { kActivation, kGradient, kWeightGradient };

class SlowRun {
 public:
  explicit SlowRun(const Schedule& schedule) : schedule_(schedule) {}

  // "" when the schedule is legal.
  std::string fault() {
    if (!is_in_range()) return "range";
    has_.resize(schedule_.ranks.size());
    next_.assign(schedule_.ranks.size(), 0);
    for (bool moves = true; moves && fault_.empty();) {
      moves = false;
      for (int rank = 0; rank < schedule_.pp; ++rank) moves = try_next(rank) || moves;
    }
    if (!fault_.empty()) return fault_;
    for (int rank = 0; rank < schedule_.pp; ++rank) {
      if (next_[index(rank)] < list(rank).size()) return fmt::format("rank {} is stuck", rank);
    }
    return what_is_left();
  }

 private:
  using Item = std::tuple<Value, int, int>;  // of a stage and a micro-batch

  static size_t index(int rank) { return static_cast<size_t>(rank); }
  const ActionList& list(int rank) const { return schedule_.ranks[index(rank)]; }
  int stage_of(int rank, const Action& action) const {
    return schedule_.placement[index(rank)][static_cast<size_t>(action.chunk)];
  }

  bool is_in_range() const {
    std::set<int> stages;
    for (const std::vector<int>& row : schedule_.placement) stages.insert(row.begin(), row.end());
    if (static_cast<int>(stages.size()) != schedule_.num_stages()) return false;
    if (*stages.begin() != 0 || *stages.rbegin() != schedule_.num_stages() - 1) return false;
    for (int rank = 0; rank < schedule_.pp; ++rank) {
      for (const Action& a : list(rank)) {
        if (a.micro_batch < 0 || a.micro_batch >= schedule_.micro_batches) return false;
        if (a.chunk < 0 || a.chunk >= schedule_.chunks) return false;
        if (is_compute(a.op) ? a.peer != -1 : a.peer < 0 || a.peer >= schedule_.pp || a.peer == rank)
          return false;
      }
    }
    return true;
  }

  bool has(int rank, Value value, int stage, int micro_batch) const {
    return has_[index(rank)].contains({value, stage, micro_batch});
  }

  void give(int rank, Value value, int stage, int micro_batch) {
    if (!has_[index(rank)].insert({value, stage, micro_batch}).second) fault_ = "made or received twice";
  }

  bool try_next(int rank) {
    if (next_[index(rank)] == list(rank).size()) return false;
    const Action& action = list(rank)[next_[index(rank)]];
    if (schedule_.forward_only && is_backward(action.op)) fault_ = "a gradient without a backward pass";
    if (!(is_compute(action.op) ? try_compute(rank, action) : try_message(rank, action))) return false;
    ++next_[index(rank)];
    return true;
  }

  bool try_compute(int rank, const Action& action) {
    const int stage = stage_of(rank, action);
    const int mb = action.micro_batch;
    if (action.op == Op::kForward) {
      if (stage > 0 && !has(rank, Value::kActivation, stage - 1, mb)) return false;
      give(rank, Value::kActivation, stage, mb);
      peak_[rank] = std::max(peak_[rank], ++held_[rank]);
      return true;
    }
    if (action.op != Op::kBackwardWeight) {
      const bool last = stage + 1 == schedule_.num_stages();
      if (!has(rank, Value::kActivation, stage, mb)) return false;
      if (!last && !has(rank, Value::kGradient, stage + 1, mb)) return false;
      give(rank, Value::kGradient, stage, mb);
    }
    if (action.op != Op::kBackwardInput) {
      if (!has(rank, Value::kGradient, stage, mb)) return false;
      give(rank, Value::kWeightGradient, stage, mb);
      --held_[rank];
    }
    return true;
  }

  // Both ends at once, or not yet.
  bool try_message(int rank, const Action& action) {
    const int peer = action.peer;
    if (next_[index(peer)] == list(peer).size()) return false;
    const Action& other = list(peer)[next_[index(peer)]];
    if (is_compute(other.op) || other.peer != rank || is_send(other.op) == is_send(action.op)) return false;
    const bool sends = is_send(action.op);
    const int from = sends ? rank : peer;
    const int to = sends ? peer : rank;
    const Action& send = sends ? action : other;
    const Action& receive = sends ? other : action;
    const bool forward = !is_backward(send.op);
    const int stage = stage_of(from, send);
    const Value value = forward ? Value::kActivation : Value::kGradient;
    if (forward == is_backward(receive.op) || send.micro_batch != receive.micro_batch ||
        stage_of(to, receive) != stage + (forward ? 1 : -1) || !has(from, value, stage, send.micro_batch)) {
      fault_ = "the wrong message";
      return false;
    }
    give(to, value, stage, send.micro_batch);
    ++next_[index(peer)];
    return true;
  }

  std::string what_is_left() {
    for (int rank = 0; rank < schedule_.pp; ++rank) {
      if (schedule_.peak_stash[index(rank)] != (schedule_.forward_only ? 0 : peak_[rank])) return "stash";
      for (const int stage : schedule_.placement[index(rank)]) {
        for (int mb = 0; mb < schedule_.micro_batches; ++mb) {
          if (!has(rank, Value::kActivation, stage, mb)) return "no activation";
          if (!schedule_.forward_only && !has(rank, Value::kWeightGradient, stage, mb)) return "no gradient";
        }
      }
    }
    return "";
  }

  const Schedule& schedule_;
  std::vector<std::set<Item>> has_;
  std::vector<size_t> next_;
  std::map<int, int> held_, peak_;
  std::string fault_;
};

class Mutator {
 public:
  explicit Mutator(unsigned seed) : random_(seed) {}

  Schedule sample() {
    const ScheduleKind& kind = schedule_kinds()[below(schedule_kinds().size())];
    ScheduleRequest request{.kind = std::string(kind.name),
                            .pp = 1 + static_cast<int>(below(4)),
                            .chunks = kind.min_chunks,
                            .micro_batches = 1 + static_cast<int>(below(4)),
                            .forward_only = below(6) == 0};
    if (kind.max_chunks == 0) request.chunks += static_cast<int>(below(2));
    return make_schedule(request);
  }

  void mutate(Schedule& schedule) {
    const size_t rank = below(schedule.ranks.size());
    ActionList& list = schedule.ranks[rank];
    if (list.empty()) return;
    const size_t at = below(list.size());
    switch (below(10)) {
      case 0:
        list.erase(list.begin() + static_cast<ptrdiff_t>(at));
        break;
      case 1:
        list.insert(list.begin() + static_cast<ptrdiff_t>(below(list.size() + 1)), Action(list[at]));
        break;
      case 2:
        std::swap(list[at], list[below(list.size())]);
        break;
      case 3:  // neighbours: often legal
      case 4:
        if (at + 1 < list.size()) std::swap(list[at], list[at + 1]);
        break;
      case 5:
        move_within(list, at);
        break;
      case 6:
        move_away(schedule, list, at);
        break;
      case 7:
        change_field(schedule, list[at]);
        break;
      case 8:
        split_or_join(list, at);
        break;
      default:
        change_whole(schedule);
        break;
    }
    // As if the author had counted again: else most legal reorderings would fail by their stash.
    if (schedule.forward_only || below(8) == 0) return;
    for (size_t r = 0; r < schedule.ranks.size(); ++r)
      schedule.peak_stash[r] = count_peak_stash(schedule.ranks[r]);
  }

  size_t below(size_t end) { return random_() % end; }

 private:
  void move_within(ActionList& list, size_t at) {
    const Action action = list[at];
    list.erase(list.begin() + static_cast<ptrdiff_t>(at));
    list.insert(list.begin() + static_cast<ptrdiff_t>(below(list.size() + 1)), action);
  }

  void move_away(Schedule& schedule, ActionList& list, size_t at) {
    const Action action = list[at];
    list.erase(list.begin() + static_cast<ptrdiff_t>(at));
    ActionList& other = schedule.ranks[below(schedule.ranks.size())];
    other.insert(other.begin() + static_cast<ptrdiff_t>(below(other.size() + 1)), action);
  }

  // One past the ends too.
  int around(int count) { return static_cast<int>(below(static_cast<size_t>(count) + 2)) - 1; }

  void change_field(const Schedule& schedule, Action& action) {
    switch (below(4)) {
      case 0:
        action.micro_batch = around(schedule.micro_batches);
        break;
      case 1:
        action.chunk = around(schedule.chunks);
        break;
      case 2:
        action.peer = around(schedule.pp);
        break;
      default:
        action.op = static_cast<Op>(below(8));
        break;
    }
  }

  // BW into B and a W anywhere behind it, or the other way round.
  void split_or_join(ActionList& list, size_t at) {
    if (list[at].op == Op::kBackward) {
      list[at].op = Op::kBackwardInput;
      Action weight = list[at];
      weight.op = Op::kBackwardWeight;
      const size_t behind = at + 1 + below(list.size() - at);
      list.insert(list.begin() + static_cast<ptrdiff_t>(behind), weight);
    } else if (list[at].op == Op::kBackwardInput) {
      Action weight = list[at];
      weight.op = Op::kBackwardWeight;
      std::erase(list, weight);
      *std::find_if(list.begin(), list.end(), [&](const Action& a) {
        return a.op == Op::kBackwardInput && a.micro_batch == weight.micro_batch && a.chunk == weight.chunk;
      }) = {Op::kBackward, weight.micro_batch, weight.chunk};
    }
  }

  void change_whole(Schedule& schedule) {
    if (below(4) == 0) {
      schedule.forward_only = !schedule.forward_only;
    } else if (below(2) == 0) {
      std::vector<int>& row = schedule.placement[below(schedule.placement.size())];
      std::vector<int>& other = schedule.placement[below(schedule.placement.size())];
      std::swap(row[below(row.size())], other[below(other.size())]);
    } else {
      schedule.peak_stash[below(schedule.peak_stash.size())] += 1;
    }
  }

  std::mt19937 random_;
};

std::string text_of(const Schedule& schedule) {
  std::string text = fmt::format("{} pp {} chunks {} m {}", schedule.kind, schedule.pp, schedule.chunks,
                                 schedule.micro_batches);
  for (const ActionList& list : schedule.ranks) text += "\n" + text_of(list);
  return text;
}

void expect_agreement(unsigned seed, int rounds) {
  Mutator mutator(seed);
  std::map<std::string, int> faults;
  for (int round = 0; round < rounds; ++round) {
    Schedule schedule = mutator.sample();
    ASSERT_EQ(SlowRun(schedule).fault(), "") << text_of(schedule);
    for (size_t edits = 1 + mutator.below(3); edits > 0; --edits) mutator.mutate(schedule);
    const std::string fault = SlowRun(schedule).fault();
    std::string refusal;
    try {
      verify(schedule, "mutant");
    } catch (const Error& error) {
      refusal = error.what();
    }
    ASSERT_EQ(refusal.empty(), fault.empty()) << fault << "\n" << refusal << "\n" << text_of(schedule);
    ++faults[fault.find("stuck") == std::string::npos ? fault : "stuck"];
  }
  // Legal ones and every way to fail came up, or this was no test.
  for (const char* fault : {"", "range", "stuck", "made or received twice", "the wrong message", "stash",
                            "no activation", "no gradient", "a gradient without a backward pass"}) {
    EXPECT_GE(faults[fault], rounds / 2000) << fault;
  }
  EXPECT_GT(faults[""], rounds / 20);
}

TEST(VerifyMutation, AgreesWithASlowRun) {
  expect_agreement(1, 20000);
}

TEST(VerifyMutationSlow, AgreesWithASlowRun) {
  for (unsigned seed = 2; seed < 12; ++seed) expect_agreement(seed, 100000);
}

}  // namespace
}  // namespace phalanx
