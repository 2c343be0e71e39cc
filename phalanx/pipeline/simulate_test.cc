#include "phalanx/pipeline/simulate.h"

#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <tuple>
#include <utility>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/pipeline/build_schedule.h"
#include "phalanx/pipeline/generate.h"
#include "phalanx/pipeline/test_schedules.h"

namespace phalanx {
namespace {

// "F 0.0 0-1, send_f 0.0>1 1-3": every span of a rank with its time.
std::string spans_of(const Timeline& timeline, size_t rank) {
  std::string text;
  for (const TimelineSpan& span : timeline.ranks[rank]) {
    text += fmt::format("{}{} {}-{}", text.empty() ? "" : ", ", text_of(span.action), span.begin, span.end);
  }
  return text;
}

TEST(Simulate, OneFOneBAtUnitCosts) {
  const Timeline timeline = simulate(generate_1f1b(2, 1, 2));
  EXPECT_EQ(spans_of(timeline, 0),
            "F 0.0 0-1, send_f 0.0>1 1-1, F 1.0 1-2, send_f 1.0>1 2-2, recv_b 0.0<1 4-4, BW 0.0 4-6, "
            "recv_b 1.0<1 7-7, BW 1.0 7-9");
  EXPECT_EQ(spans_of(timeline, 1),
            "recv_f 0.0<0 1-1, F 0.0 1-2, recv_f 1.0<0 2-2, BW 0.0 2-4, send_b 0.0>0 4-4, F 1.0 4-5, "
            "BW 1.0 5-7, send_b 1.0>0 7-7");
  EXPECT_EQ(timeline.makespan, 9);
  EXPECT_EQ(timeline.busy, (std::vector<int64_t>{6, 6}));
  EXPECT_EQ(timeline.idle(1), 3);
  EXPECT_DOUBLE_EQ(timeline.bubble(), 0.5);  // (p - 1) / m
}

// The second message waits for the first to leave the link, and rank 0 computes meanwhile.
TEST(Simulate, OverlappedLinksQueueAndCostTheRankNothing) {
  SimulateOptions options;
  options.forward_link = {2};
  options.backward_link = {1};
  const Timeline timeline = simulate(generate_1f1b(2, 1, 2), options);
  EXPECT_EQ(spans_of(timeline, 0),
            "F 0.0 0-1, send_f 0.0>1 1-3, F 1.0 1-2, send_f 1.0>1 3-5, recv_b 0.0<1 6-7, BW 0.0 7-9, "
            "recv_b 1.0<1 9-10, BW 1.0 10-12");
  EXPECT_EQ(spans_of(timeline, 1),
            "recv_f 0.0<0 1-3, F 0.0 3-4, recv_f 1.0<0 3-5, BW 0.0 4-6, send_b 0.0>0 6-7, F 1.0 6-7, "
            "BW 1.0 7-9, send_b 1.0>0 9-10");
  EXPECT_EQ(timeline.makespan, 12);
  EXPECT_EQ(timeline.busy, (std::vector<int64_t>{6, 6}));
}

TEST(Simulate, RendezvousHoldsBothRanks) {
  SimulateOptions options;
  options.forward_link = {2};
  options.backward_link = {1};
  options.overlap = false;
  const Timeline timeline = simulate(generate_1f1b(2, 1, 2), options);
  EXPECT_EQ(spans_of(timeline, 0),
            "F 0.0 0-1, send_f 0.0>1 1-3, F 1.0 3-4, send_f 1.0>1 4-6, recv_b 0.0<1 8-9, BW 0.0 9-11, "
            "recv_b 1.0<1 12-13, BW 1.0 13-15");
  EXPECT_EQ(spans_of(timeline, 1),
            "recv_f 0.0<0 1-3, F 0.0 3-4, recv_f 1.0<0 4-6, BW 0.0 6-8, send_b 0.0>0 8-9, F 1.0 9-10, "
            "BW 1.0 10-12, send_b 1.0>0 12-13");
  EXPECT_EQ(timeline.makespan, 15);
  EXPECT_EQ(timeline.busy, (std::vector<int64_t>{6, 6}));  // a transfer is no computation
}

TEST(Simulate, StagesCostWhatTheyCost) {
  SimulateOptions options;
  options.stages = {{.forward = 1, .backward_input = 2, .backward_weight = 1},
                    {.forward = 4, .backward_input = 1, .backward_weight = 2}};
  const Timeline timeline = simulate(generate_1f1b(2, 1, 2), options);
  EXPECT_EQ(spans_of(timeline, 0),
            "F 0.0 0-1, send_f 0.0>1 1-1, F 1.0 1-2, send_f 1.0>1 2-2, recv_b 0.0<1 8-8, BW 0.0 8-11, "
            "recv_b 1.0<1 15-15, BW 1.0 15-18");
  EXPECT_EQ(timeline.makespan, 18);
  EXPECT_EQ(timeline.busy, (std::vector<int64_t>{8, 14}));
  EXPECT_EQ(timeline.max_busy(), 14);
  EXPECT_DOUBLE_EQ(timeline.bubble(), 4.0 / 14);
}

// A gradient leaves before the gradient of the weights is computed, which is what the split is for.
TEST(Simulate, BGoesOnBeforeW) {
  const Schedule split =
      build_schedule("split", 1, round_robin_placement(2, 1), {{F(0), B(0), W(0)}, {F(0), B(0), W(0)}});
  SimulateOptions options;
  options.stages = {{.forward = 2, .backward_input = 3, .backward_weight = 4}};
  options.backward_link = {1};
  const Timeline timeline = simulate(split, options);
  EXPECT_EQ(spans_of(timeline, 0), "F 0.0 0-2, send_f 0.0>1 2-2, recv_b 0.0<1 7-8, B 0.0 8-11, W 0.0 11-15");
  EXPECT_EQ(spans_of(timeline, 1), "recv_f 0.0<0 2-2, F 0.0 2-4, B 0.0 4-7, send_b 0.0>0 7-8, W 0.0 7-11");
}

// A cost for every link. Three ranks, so that forward and backward links are told apart by stage.
TEST(Simulate, LinksCostWhatTheyCost) {
  SimulateOptions options;
  options.forward_link = {5, 7};
  options.backward_link = {11, 13};
  const Schedule one = generate_1f1b(3, 1, 1);
  const Timeline timeline = simulate(one, options);
  EXPECT_EQ(spans_of(timeline, 2), "recv_f 0.0<1 7-14, F 0.0 14-15, BW 0.0 15-17, send_b 0.0>1 17-30");
  EXPECT_EQ(spans_of(timeline, 0), "F 0.0 0-1, send_f 0.0>1 1-6, recv_b 0.0<1 32-43, BW 0.0 43-45");
  options.overlap = false;
  EXPECT_EQ(simulate(one, options).makespan, 45);
}

// With two ranks and two chunks what goes from rank 1 to rank 0 is a forward (stage 1 to 2) or a gradient (1 to 0, 3 to
// 2), and all of it shares one direction of one link; the other direction is free meanwhile.
TEST(Simulate, WhatGoesOneWayBetweenTwoRanksSharesALink) {
  const Schedule schedule =
      build_schedule("two", 2, round_robin_placement(2, 2),
                     {{F(0, 0), F(1, 0), F(0, 1), BW(0, 1), F(1, 1), BW(1, 1), BW(0, 0), BW(1, 0)},
                      {F(0, 0), F(1, 0), F(0, 1), BW(0, 1), F(1, 1), BW(1, 1), BW(0, 0), BW(1, 0)}});
  SimulateOptions options;
  options.forward_link = {10};
  options.backward_link = {10};
  const Timeline timeline = simulate(schedule, options);
  // No two transfers of a direction overlap in time, and those of both directions do.
  const auto sends = [&](size_t rank) {
    std::vector<std::pair<int64_t, int64_t>> times;
    for (const TimelineSpan& span : timeline.ranks[rank]) {
      if (is_send(span.action.op)) times.emplace_back(span.begin, span.end);
    }
    return times;
  };
  for (const size_t rank : {0u, 1u}) {
    const auto times = sends(rank);
    ASSERT_EQ(times.size(), 6u);
    for (size_t i = 1; i < times.size(); ++i) EXPECT_GE(times[i].first, times[i - 1].second);
  }
  EXPECT_EQ(sends(0)[0], std::pair(int64_t{1}, int64_t{11}));
  EXPECT_EQ(sends(0)[1], std::pair(int64_t{11}, int64_t{21}));
  EXPECT_EQ(sends(1)[0], std::pair(int64_t{12}, int64_t{22}));  // while rank 0 still sends
  EXPECT_EQ(sends(1)[1], std::pair(int64_t{22}, int64_t{32}));
}

// The same times found another way: every action as early as the rules of simulate.h say, given the times of all
// others, again and again until nothing moves. No queue, no state of a rank.
class SlowClock {
 public:
  SlowClock(const Schedule& schedule, const SimulateOptions& options)
      : schedule_(schedule), options_(options) {
    for (const ActionList& list : schedule.ranks) {
      reached_.emplace_back(list.size(), 0);
      end_.emplace_back(list.size(), 0);
    }
    for (int rank = 0; rank < schedule.pp; ++rank) {
      for (size_t i = 0; i < list_of(rank).size(); ++i) {
        const Action& action = list_of(rank)[i];
        if (!is_compute(action.op)) ends_of_[message(rank, action)][is_send(action.op) ? 0 : 1] = {rank, i};
      }
    }
  }

  std::vector<std::vector<int64_t>> run() {
    for (bool moves = true; moves;) {
      moves = false;
      for (int rank = 0; rank < schedule_.pp; ++rank) moves = pass(rank) || moves;
    }
    return end_;
  }

 private:
  using Message = std::tuple<bool, int, int>;  // forward, receiving stage, micro-batch
  struct Where {
    int rank = -1;
    size_t position = 0;
  };

  const ActionList& list_of(int rank) const { return schedule_.ranks[static_cast<size_t>(rank)]; }
  int stage_of(int rank, const Action& action) const {
    return schedule_.placement[static_cast<size_t>(rank)][static_cast<size_t>(action.chunk)];
  }
  Message message(int rank, const Action& action) const {
    const bool forward = !is_backward(action.op);
    const int step = is_send(action.op) ? (forward ? 1 : -1) : 0;
    return {forward, stage_of(rank, action) + step, action.micro_batch};
  }
  int64_t& time(std::vector<std::vector<int64_t>>& times, const Where& where) {
    return times[static_cast<size_t>(where.rank)][where.position];
  }

  int64_t compute_ticks(int rank, const Action& action) const {
    const StageCost& cost = options_.stages[static_cast<size_t>(stage_of(rank, action))];
    return (action.op == Op::kForward ? cost.forward : 0) +
           (action.op == Op::kBackwardInput || action.op == Op::kBackward ? cost.backward_input : 0) +
           (action.op == Op::kBackwardWeight || action.op == Op::kBackward ? cost.backward_weight : 0);
  }

  int64_t link_ticks(const Message& message) const {
    const auto [forward, stage, micro_batch] = message;
    return forward ? options_.forward_link[static_cast<size_t>(stage - 1)]
                   : options_.backward_link[static_cast<size_t>(stage)];
  }

  bool pass(int rank) {
    bool moves = false;
    int64_t now = 0;
    std::map<int, int64_t> link;  // by peer
    for (size_t i = 0; i < list_of(rank).size(); ++i) {
      const Action& action = list_of(rank)[i];
      time(reached_, {rank, i}) = now;
      int64_t end = 0;
      if (is_compute(action.op)) {
        const auto input =
            ends_of_.find({action.op == Op::kForward, stage_of(rank, action), action.micro_batch});
        const bool has_input = input != ends_of_.end() && action.op != Op::kBackwardWeight;
        end = std::max(now, has_input ? time(end_, input->second[0]) : 0) + compute_ticks(rank, action);
        now = end;
      } else {
        const Message what = message(rank, action);
        const auto& [sender, receiver] = ends_of_.at(what);
        if (!options_.overlap) {
          end = now = std::max(time(reached_, sender), time(reached_, receiver)) + link_ticks(what);
        } else if (is_send(action.op)) {
          end = link[action.peer] = std::max(now, link[action.peer]) + link_ticks(what);
        } else {
          end = time(end_, sender);
        }
      }
      moves = moves || end != time(end_, {rank, i});
      time(end_, {rank, i}) = end;
    }
    return moves;
  }

  const Schedule& schedule_;
  const SimulateOptions& options_;
  std::vector<std::vector<int64_t>> reached_;  // by rank and position: when the rank is free for it
  std::vector<std::vector<int64_t>> end_;
  std::map<Message, std::array<Where, 2>> ends_of_;  // sender, receiver
};

std::vector<int64_t> random_ticks(std::mt19937& random, int count, int low, int high) {
  std::vector<int64_t> ticks;
  for (int i = 0; i < count; ++i)
    ticks.push_back(low + static_cast<int>(random() % static_cast<unsigned>(high - low + 1)));
  return ticks;
}

SimulateOptions random_options(std::mt19937& random, int num_stages) {
  SimulateOptions options;
  for (int stage = 0; stage < num_stages; ++stage) {
    const auto ticks = random_ticks(random, 3, 1, 9);
    options.stages.push_back({ticks[0], ticks[1], ticks[2]});
  }
  options.forward_link = random_ticks(random, num_stages - 1, 0, 6);
  options.backward_link = random_ticks(random, num_stages - 1, 0, 6);
  options.overlap = random() % 2 == 0;
  return options;
}

template <typename Check>
void for_random_cases(const Check& check) {
  std::mt19937 random(11);
  for (int round = 0; round < 200; ++round) {
    for (const ScheduleKind& kind : schedule_kinds()) {
      ScheduleRequest request{.kind = std::string(kind.name),
                              .pp = 1 + static_cast<int>(random() % 5),
                              .chunks = kind.min_chunks,
                              .micro_batches = 1 + static_cast<int>(random() % 7),
                              .forward_only = random() % 4 == 0};
      if (kind.max_chunks == 0) request.chunks += static_cast<int>(random() % 3);
      const Schedule schedule = make_schedule(request);
      const SimulateOptions options = random_options(random, schedule.num_stages());
      SCOPED_TRACE(fmt::format("{} pp {} chunks {} m {} overlap {}", request.kind, request.pp, request.chunks,
                               request.micro_batches, options.overlap));
      check(schedule, options);
    }
  }
}

TEST(Simulate, EqualsAnotherWayOfFindingTheTimes) {
  for_random_cases([](const Schedule& schedule, const SimulateOptions& options) {
    const std::vector<std::vector<int64_t>> expected = SlowClock(schedule, options).run();
    const Timeline timeline = simulate(schedule, options);
    int64_t makespan = 0;
    for (size_t rank = 0; rank < expected.size(); ++rank) {
      ASSERT_EQ(timeline.ranks[rank].size(), schedule.ranks[rank].size());
      for (size_t i = 0; i < expected[rank].size(); ++i) {
        const Action& action = schedule.ranks[rank][i];
        const auto span = std::find_if(timeline.ranks[rank].begin(), timeline.ranks[rank].end(),
                                       [&](const TimelineSpan& s) { return s.action == action; });
        ASSERT_NE(span, timeline.ranks[rank].end()) << to_string(action);
        EXPECT_EQ(span->end, expected[rank][i]) << "rank " << rank << " " << to_string(action);
        makespan = std::max(makespan, expected[rank][i]);
      }
      EXPECT_TRUE(std::is_sorted(timeline.ranks[rank].begin(), timeline.ranks[rank].end(),
                                 [](const auto& a, const auto& b) { return a.begin < b.begin; }));
    }
    EXPECT_EQ(timeline.makespan, makespan);
  });
}

TEST(Simulate, WithoutARecordTheTimesAreTheSame) {
  for_random_cases([](const Schedule& schedule, const SimulateOptions& options) {
    SimulateOptions silent = options;
    silent.record = false;
    const Timeline full = simulate(schedule, options);
    const Timeline times = simulate(schedule, silent);
    EXPECT_EQ(times.makespan, full.makespan);
    EXPECT_EQ(times.busy, full.busy);
    ASSERT_EQ(times.ranks.size(), schedule.ranks.size());
    for (const auto& spans : times.ranks) EXPECT_TRUE(spans.empty());
  });
}

TEST(Simulate, TheStashCurveReachesThePeak) {
  for_random_cases([](const Schedule& schedule, const SimulateOptions& options) {
    const Timeline timeline = simulate(schedule, options);
    for (int rank = 0; rank < schedule.pp; ++rank) {
      const std::vector<StashPoint> curve = stash_curve(timeline, rank);
      int peak = 0;
      int64_t before = 0;
      for (const StashPoint& point : curve) {
        peak = std::max(peak, point.count);
        EXPECT_GE(point.time, before);
        before = point.time;
      }
      EXPECT_EQ(peak, schedule.peak_stash[static_cast<size_t>(rank)]);
      EXPECT_EQ(curve.back().count, 0);
    }
  });
}

TEST(Simulate, AStashIsHeldFromTheEndOfFToTheEndOfW) {
  const Timeline timeline =
      simulate(build_schedule("one", 2, round_robin_placement(1, 1), {{F(0), B(0), F(1), W(0), BW(1)}}));
  std::string text;
  for (const StashPoint& point : stash_curve(timeline, 0))
    text += fmt::format("{}:{} ", point.time, point.count);
  EXPECT_EQ(text, "0:0 1:1 3:2 4:1 6:0 ");
}

TEST(Simulate, NoWorkIsNoBubble) {
  EXPECT_EQ(Timeline().bubble(), 0.0);
  EXPECT_EQ(Timeline().max_busy(), 0);
  SimulateOptions free;
  free.stages = {{0, 0, 0}};
  EXPECT_EQ(simulate(generate_1f1b(3, 1, 4), free).makespan, 0);
  EXPECT_EQ(simulate(generate_1f1b(1, 1, 4)).makespan, 12);  // one rank has no links
}

TEST(SimulateDeath, WrongCostsAndUnverifiedSchedulesAreBugs) {
  const Schedule schedule = generate_1f1b(4, 1, 2);
  SimulateOptions options;
  options.stages.resize(3);
  EXPECT_DEATH(simulate(schedule, options), "3 stage costs for 4 stages");
  options.stages = {{.forward = -1}};
  EXPECT_DEATH(simulate(schedule, options), "negative cost");
  options.stages.clear();
  options.forward_link = {1, 1};
  EXPECT_DEATH(simulate(schedule, options), "2 link costs for 4 stages");
  options.forward_link = {1, 1, -1};
  EXPECT_DEATH(simulate(schedule, options), "negative link cost");
  Schedule stuck = schedule;
  std::erase_if(stuck.ranks[2], [](const Action& action) { return is_send(action.op); });
  EXPECT_DEATH(simulate(stuck), "verified schedules only");
}

}  // namespace
}  // namespace phalanx
