#include "phalanx/pipeline/build_schedule.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/pipeline/generate.h"
#include "phalanx/pipeline/test_schedules.h"
#include "phalanx/pipeline/verify.h"

namespace phalanx {
namespace {

TEST(BuildSchedule, Placements) {
  EXPECT_EQ(round_robin_placement(3, 2), (Placement{{0, 3}, {1, 4}, {2, 5}}));
  EXPECT_EQ(v_placement(3), (Placement{{0, 5}, {1, 4}, {2, 3}}));
}

// By hand, on the unit clock: F 0 of rank 1 begins at 1, when F 1 of rank 0 does; its BW at 2, when F 1 arrives.
TEST(BuildSchedule, MessagesStandWhereTheUnitClockPutsThem) {
  const Schedule schedule = build_schedule("mine", 2, round_robin_placement(2, 1),
                                           {{F(0), F(1), BW(0), BW(1)}, {F(0), BW(0), F(1), BW(1)}});
  EXPECT_EQ(schedule.kind, "mine");
  EXPECT_EQ(schedule.pp, 2);
  EXPECT_EQ(schedule.chunks, 1);
  EXPECT_EQ(schedule.micro_batches, 2);
  EXPECT_FALSE(schedule.forward_only);
  EXPECT_EQ(text_of(schedule.ranks[0]),
            "F 0.0, send_f 0.0>1, F 1.0, send_f 1.0>1, recv_b 0.0<1, BW 0.0, recv_b 1.0<1, BW 1.0");
  EXPECT_EQ(text_of(schedule.ranks[1]),
            "recv_f 0.0<0, F 0.0, recv_f 1.0<0, BW 0.0, send_b 0.0>0, F 1.0, BW 1.0, send_b 1.0>0");
  EXPECT_EQ(schedule.peak_stash, (std::vector<int>{2, 1}));
  EXPECT_NO_THROW(verify(schedule, "mine"));
}

// BW 0 of rank 1 takes from 2 to 4, while rank 0 begins F 3: the gradient is received behind it.
TEST(BuildSchedule, ATransferWaitsForTheEndOfWhatItCarries) {
  const Schedule schedule = build_schedule("late", 4, round_robin_placement(2, 1),
                                           {{F(0), F(1), F(2), F(3), BW(0), BW(1), BW(2), BW(3)},
                                            {F(0), BW(0), F(1), BW(1), F(2), BW(2), F(3), BW(3)}});
  EXPECT_THAT(text_of(schedule.ranks[0]), ::testing::HasSubstr("F 3.0, send_f 3.0>1, recv_b 0.0<1, BW 0.0"));
}

// What stays on a rank needs no message: the turn of the V, and everything when there is one rank.
TEST(BuildSchedule, NeighboursOnOneRankNeedNoMessage) {
  const Schedule turn = build_schedule(
      "turn", 1, v_placement(2),
      {{F(0, 0), F(0, 1), B(0, 1), B(0, 0), W(0, 1), W(0, 0)}, {F(0, 0), F(0, 1), BW(0, 1), BW(0, 0)}});
  EXPECT_EQ(text_of(turn.ranks[1]),
            "recv_f 0.0<0, F 0.0, F 0.1, send_f 0.1>0, recv_b 0.1<0, BW 0.1, BW 0.0, send_b 0.0>0");
  EXPECT_EQ(
      text_of(turn.ranks[0]),
      "F 0.0, send_f 0.0>1, recv_f 0.1<1, F 0.1, B 0.1, send_b 0.1>1, recv_b 0.0<1, B 0.0, W 0.1, W 0.0");
  EXPECT_EQ(turn.peak_stash, (std::vector<int>{2, 2}));
  const Schedule alone = build_schedule("alone", 1, round_robin_placement(1, 3),
                                        {{F(0, 0), F(0, 1), F(0, 2), BW(0, 2), BW(0, 1), BW(0, 0)}});
  EXPECT_EQ(alone.ranks[0].size(), 6u);
  EXPECT_EQ(alone.peak_stash, (std::vector<int>{3}));
}

// The contract's "a send right after what it carries": only other messages may lie between.
TEST(BuildSchedule, ASendFollowsWhatItCarries) {
  for (const ScheduleKind& kind : schedule_kinds()) {
    const int chunks = kind.max_chunks == 1 ? 1 : 2;
    const Schedule schedule =
        make_schedule({.kind = std::string(kind.name), .pp = 5, .chunks = chunks, .micro_batches = 7});
    for (const ActionList& list : schedule.ranks) {
      const Action* last_compute = nullptr;
      for (const Action& action : list) {
        if (is_compute(action.op)) last_compute = &action;
        if (!is_send(action.op)) continue;
        ASSERT_NE(last_compute, nullptr);
        EXPECT_EQ(std::pair(action.micro_batch, action.chunk),
                  std::pair(last_compute->micro_batch, last_compute->chunk))
            << kind.name << " " << to_string(action);
      }
    }
  }
}

TEST(BuildSchedule, ForwardOnlyKeepsTheForwardsInOrder) {
  const Schedule schedule = generate_interleaved(3, 2, 5);
  const Schedule forward = forward_only(schedule);
  EXPECT_TRUE(forward.forward_only);
  EXPECT_EQ(forward.peak_stash, (std::vector<int>{0, 0, 0}));
  EXPECT_EQ(forward.placement, schedule.placement);
  for (size_t rank = 0; rank < 3; ++rank) {
    ActionList kept;
    for (const Action& action : schedule.ranks[rank]) {
      if (!is_backward(action.op)) kept.push_back(action);
    }
    EXPECT_EQ(forward.ranks[rank], kept);
  }
  EXPECT_EQ(forward_only(forward), forward);
}

TEST(BuildSchedule, StashIsHeldFromFToW) {
  EXPECT_EQ(count_peak_stash({}), 0);
  EXPECT_EQ(count_peak_stash({F(0), BW(0), F(1), BW(1)}), 1);
  EXPECT_EQ(count_peak_stash({F(0), F(1), B(0), F(2), W(0), B(1), W(1), B(2), W(2)}), 3);
  EXPECT_EQ(count_peak_stash({F(0), F(1), B(0), W(0), F(2), BW(1), BW(2)}), 2);
}

TEST(BuildScheduleDeath, AnImpossibleOrderIsABugOfTheGenerator) {
  const Placement two = round_robin_placement(2, 1);
  EXPECT_DEATH(build_schedule("x", 1, two, {{F(0), BW(0)}, {BW(0), F(0)}}),
               "rank 0, compute action 1 \\(BW mb 0 chunk 0\\) can never run");
  // Each waits for the other's next.
  EXPECT_DEATH(build_schedule("x", 2, two, {{F(0), BW(0), F(1), BW(1)}, {F(0), F(1), BW(0), BW(1)}}),
               "can never run");
  EXPECT_DEATH(build_schedule("x", 1, two, {{F(0), BW(0)}, {{Op::kRecvForward, 0, 0, 0}, F(0), BW(0)}}),
               "messages are placed here");
  EXPECT_DEATH(build_schedule("x", 1, two, {{F(1)}, {}}), "F mb 1 chunk 0");
  EXPECT_DEATH(build_schedule("x", 1, two, {{F(0, 1)}, {}}), "F mb 0 chunk 1");
  EXPECT_DEATH(build_schedule("x", 1, two, {{F(0), BW(0)}}), "a list and a placement a rank");
}

}  // namespace
}  // namespace phalanx
