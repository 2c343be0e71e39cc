#include "phalanx/pipeline/verify.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/pipeline/build_schedule.h"
#include "phalanx/pipeline/generate.h"
#include "phalanx/pipeline/test_schedules.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// rank 0: F 0, send_f 0, F 1, send_f 1, recv_b 0, BW 0, recv_b 1, BW 1
// rank 1: recv_f 0, F 0, recv_f 1, BW 0, send_b 0, F 1, BW 1, send_b 1
Schedule legal() {
  return generate_1f1b(2, 1, 2);
}

std::string refused(const Schedule& schedule) {
  return refusal([&] { verify(schedule, "mine.json"); });
}

size_t count_of(const std::string& text, const std::string& word) {
  size_t count = 0;
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++count;
  return count;
}

void move_action(ActionList& list, size_t from, size_t to) {
  const Action action = list[from];
  list.erase(list.begin() + static_cast<ptrdiff_t>(from));
  list.insert(list.begin() + static_cast<ptrdiff_t>(to), action);
}

TEST(Verify, LegalSchedulesPass) {
  EXPECT_NO_THROW(verify(legal(), "x"));
  EXPECT_NO_THROW(verify(forward_only(legal()), "x"));
  // B and W apart for one micro-batch, together for another: both are allowed in one list.
  const Schedule mixed = build_schedule("mixed", 2, round_robin_placement(2, 1),
                                        {{F(0), F(1), BW(0), B(1), W(1)}, {F(0), B(0), F(1), W(0), BW(1)}});
  EXPECT_NO_THROW(verify(mixed, "x"));
}

TEST(Verify, TheErrorSaysWhatWhereAndWhatToDo) {
  Schedule schedule = legal();
  schedule.peak_stash[0] = 7;
  EXPECT_EQ(refused(schedule),
            "mine.json: got an illegal schedule\n  stash: rank 0: peak_stash is 7, its list holds 2\n; "
            "needed a legal one (ranks, actions and micro-batches count from 0). Fix: correct these actions; "
            "`phalanx schedule --kind 1f1b --json` prints a legal schedule");
}

TEST(Verify, Shape) {
  for (const int wrong : {0, -1, std::numeric_limits<int>::min()}) {
    Schedule schedule = legal();
    schedule.pp = wrong;
    EXPECT_THAT(refused(schedule), HasSubstr(fmt::format("shape: pp is {}; at least 1", wrong)));
    schedule = legal();
    schedule.chunks = wrong;
    EXPECT_THAT(refused(schedule), HasSubstr(fmt::format("shape: chunks is {}; at least 1", wrong)));
    schedule = legal();
    schedule.micro_batches = wrong;
    EXPECT_THAT(refused(schedule), HasSubstr(fmt::format("shape: micro_batches is {}; at least 1", wrong)));
  }
  Schedule schedule = legal();
  schedule.ranks.pop_back();
  EXPECT_THAT(refused(schedule), HasSubstr("shape: ranks has 1 entries for pp 2"));
  schedule = legal();
  schedule.placement.push_back({2});
  EXPECT_THAT(refused(schedule), HasSubstr("shape: placement has 3 entries for pp 2"));
  schedule = legal();
  schedule.peak_stash.clear();
  EXPECT_THAT(refused(schedule), HasSubstr("shape: peak_stash has 0 entries for pp 2"));
  schedule = legal();
  schedule.placement[1] = {1, 2};
  EXPECT_THAT(refused(schedule), HasSubstr("shape: rank 1: placement of 2 chunks; chunks is 1"));
}

TEST(Verify, ShapeOfActions) {
  const auto with = [](int rank, size_t position, const Action& action) {
    Schedule schedule = legal();
    schedule.ranks[static_cast<size_t>(rank)][position] = action;
    return refused(schedule);
  };
  EXPECT_THAT(with(0, 2, F(2)),
              HasSubstr("shape: rank 0, action 2 (F mb 2 chunk 0): micro-batch 2 is outside 0..1"));
  EXPECT_THAT(with(0, 2, F(-1)), HasSubstr("micro-batch -1 is outside 0..1"));
  EXPECT_THAT(with(1, 3, BW(0, 1)),
              HasSubstr("shape: rank 1, action 3 (BW mb 0 chunk 1): chunk 1 is outside 0..0"));
  EXPECT_THAT(with(0, 1, {Op::kSendForward, 0, 0, 2}), HasSubstr("peer 2 is outside 0..1"));
  EXPECT_THAT(with(0, 1, {Op::kSendForward, 0, 0, -1}), HasSubstr("peer -1 is outside 0..1"));
  EXPECT_THAT(with(0, 1, {Op::kSendForward, 0, 0, 0}),
              HasSubstr("rank 0, action 1 (send_f mb 0 chunk 0 to rank 0): a message to itself"));
  EXPECT_THAT(with(0, 0, {Op::kForward, 0, 0, 1}), HasSubstr("computes, but has peer 1"));
  // A wrong shape hides what follows from it.
  EXPECT_THAT(with(0, 2, F(2)), Not(HasSubstr("once:")));
}

TEST(Verify, Placement) {
  Schedule schedule = legal();
  schedule.placement = {{0}, {0}};
  EXPECT_THAT(refused(schedule), HasSubstr("placement: rank 1, chunk 0: stage 0 is held twice"));
  EXPECT_THAT(refused(schedule), HasSubstr("placement: stage 1 is held by no rank"));
  schedule.placement = {{0}, {2}};
  EXPECT_THAT(refused(schedule), HasSubstr("placement: rank 1, chunk 0: stage 2 is outside 0..1"));
  schedule.placement = {{-1}, {1}};
  EXPECT_THAT(refused(schedule), HasSubstr("placement: rank 0, chunk 0: stage -1 is outside 0..1"));
}

TEST(Verify, Once) {
  Schedule schedule = legal();
  schedule.ranks[0].pop_back();
  EXPECT_THAT(refused(schedule), HasSubstr("once: rank 0 never runs BW (or B and W) mb 1 chunk 0"));
  schedule = legal();
  schedule.ranks[0].back() = B(1);
  EXPECT_THAT(refused(schedule), HasSubstr("once: rank 0 never runs W mb 1 chunk 0"));
  schedule = legal();
  schedule.ranks[0].back() = W(1);
  EXPECT_THAT(refused(schedule), HasSubstr("once: rank 0 never runs B mb 1 chunk 0"));
  schedule = legal();
  schedule.ranks[1].push_back(BW(1));
  EXPECT_THAT(refused(schedule), HasSubstr("once: rank 1, action 8 (BW mb 1 chunk 0) repeats action 6"));
  schedule = legal();
  schedule.ranks[1].push_back(W(1));
  EXPECT_THAT(refused(schedule),
              HasSubstr("once: rank 1, action 8 (W mb 1 chunk 0) repeats part of action 6"));
  schedule = legal();
  schedule.ranks[0].erase(schedule.ranks[0].begin());
  EXPECT_THAT(refused(schedule), HasSubstr("once: rank 0 never runs F mb 0 chunk 0"));
  schedule = legal();
  schedule.ranks[0].insert(schedule.ranks[0].begin() + 2, schedule.ranks[0][1]);
  schedule.ranks[1].insert(schedule.ranks[1].begin() + 1, schedule.ranks[1][0]);
  EXPECT_THAT(refused(schedule),
              HasSubstr("once: rank 0, action 2 (send_f mb 0 chunk 0 to rank 1) repeats action 1"));
  EXPECT_THAT(refused(schedule), Not(HasSubstr("deadlock")));
  schedule = forward_only(legal());
  schedule.ranks[1].push_back(BW(0));
  EXPECT_THAT(refused(schedule),
              HasSubstr("once: rank 1, action 4 (BW mb 0 chunk 0): a forward-only schedule has F and its "
                        "messages alone"));
  schedule = legal();
  schedule.ranks = {{}, {}};
  EXPECT_THAT(refused(schedule), HasSubstr("once: rank 1 never runs F mb 1 chunk 0"));
}

TEST(Verify, DataOnOneRank) {
  Schedule schedule =
      build_schedule("x", 1, v_placement(1), {{F(0, 0), F(0, 1), B(0, 1), B(0, 0), W(0, 1), W(0, 0)}});
  EXPECT_NO_THROW(verify(schedule, "x"));
  const auto swapped = [&](size_t a, size_t b) {
    Schedule mutant = schedule;
    std::swap(mutant.ranks[0][a], mutant.ranks[0][b]);
    return refused(mutant);
  };
  EXPECT_THAT(swapped(0, 1),
              HasSubstr("data: rank 0, action 0 (F mb 0 chunk 1) comes before action 1 (F mb 0 "
                        "chunk 0), which it needs"));
  EXPECT_THAT(swapped(2, 3),
              HasSubstr("data: rank 0, action 2 (B mb 0 chunk 0) comes before action 3 (B mb 0 "
                        "chunk 1), which it needs"));
  EXPECT_THAT(swapped(1, 2),
              HasSubstr("data: rank 0, action 1 (B mb 0 chunk 1) comes before action 2 (F mb 0 "
                        "chunk 1), which it needs"));
  EXPECT_THAT(swapped(2, 4),
              HasSubstr("data: rank 0, action 2 (W mb 0 chunk 1) comes before action 4 (B mb 0 "
                        "chunk 1), which it needs"));
}

TEST(Verify, DataBetweenRanks) {
  Schedule schedule = legal();
  std::swap(schedule.ranks[0][0], schedule.ranks[0][1]);
  EXPECT_THAT(refused(schedule),
              HasSubstr("data: rank 0, action 0 (send_f mb 0 chunk 0 to rank 1) comes before "
                        "action 1 (F mb 0 chunk 0), which it needs"));
  schedule = legal();
  std::swap(schedule.ranks[1][0], schedule.ranks[1][1]);
  EXPECT_THAT(refused(schedule),
              HasSubstr("data: rank 1, action 0 (F mb 0 chunk 0) comes before action 1 (recv_f "
                        "mb 0 chunk 0 from rank 0), which it needs"));
  schedule = legal();
  std::swap(schedule.ranks[0][4], schedule.ranks[0][5]);
  EXPECT_THAT(refused(schedule),
              HasSubstr("data: rank 0, action 4 (BW mb 0 chunk 0) comes before action 5 (recv_b "
                        "mb 0 chunk 0 from rank 1), which it needs"));
  schedule = legal();
  std::swap(schedule.ranks[1][3], schedule.ranks[1][4]);
  EXPECT_THAT(refused(schedule),
              HasSubstr("data: rank 1, action 3 (send_b mb 0 chunk 0 to rank 0) comes before "
                        "action 4 (BW mb 0 chunk 0), which it needs"));
  // A message that both ends forgot.
  schedule = legal();
  std::erase_if(schedule.ranks[0],
                [](const Action& a) { return a.op == Op::kSendForward && a.micro_batch == 1; });
  std::erase_if(schedule.ranks[1],
                [](const Action& a) { return a.op == Op::kRecvForward && a.micro_batch == 1; });
  EXPECT_THAT(refused(schedule),
              HasSubstr("data: rank 0, action 2 (F mb 1 chunk 0): its result is never sent (no "
                        "send_f mb 1 chunk 0 to rank 1)"));
  EXPECT_THAT(refused(schedule),
              HasSubstr("data: rank 1, action 4 (F mb 1 chunk 0): its input is never received "
                        "(no recv_f mb 1 chunk 0 from rank 0)"));
}

TEST(Verify, Messages) {
  Schedule schedule = legal();
  std::swap(schedule.ranks[1][0].micro_batch, schedule.ranks[1][2].micro_batch);
  EXPECT_THAT(
      refused(schedule),
      HasSubstr(
          "messages: rank 0, action 1 (send_f mb 0 chunk 0 to rank 1) meets rank 1, action 0 (recv_f mb "
          "1 chunk 0 from rank 0), which is for another message"));
  schedule = legal();
  schedule.ranks[1].erase(schedule.ranks[1].begin() + 2);
  EXPECT_THAT(
      refused(schedule),
      HasSubstr("messages: rank 0, action 3 (send_f mb 1 chunk 0 to rank 1): rank 1 has no receive for it"));
  schedule = legal();
  schedule.ranks[1].pop_back();
  EXPECT_THAT(
      refused(schedule),
      HasSubstr("messages: rank 0, action 6 (recv_b mb 1 chunk 0 from rank 1): rank 1 has no send for it"));
  schedule = legal();
  schedule.ranks[0].push_back({Op::kSendBackward, 0, 0, 1});
  EXPECT_THAT(refused(schedule),
              HasSubstr("messages: rank 0, action 8 (send_b mb 0 chunk 0 to rank 1): there is no stage -1"));
  schedule = legal();
  schedule.ranks[1].push_back({Op::kRecvBackward, 0, 0, 0});
  EXPECT_THAT(refused(schedule), HasSubstr("there is no stage 2"));
  schedule = generate_1f1b(3, 1, 1);
  schedule.ranks[0][1].peer = 2;
  EXPECT_THAT(refused(schedule),
              HasSubstr("messages: rank 0, action 1 (send_f mb 0 chunk 0 to rank 2): stage 1 is on rank 1"));
}

// A forward of stage 1 and a gradient of stage 1, both from rank 1 to rank 0: the same numbers, another message.
TEST(Verify, MessagesOfTwoDirectionsAreNotMixedUp) {
  Schedule schedule = generate_interleaved(2, 2, 2);
  ASSERT_NO_THROW(verify(schedule, "x"));
  for (Action& action : schedule.ranks[0]) {
    if (action.op == Op::kRecvForward && action.micro_batch == 0) action = {Op::kRecvBackward, 0, 0, 1};
  }
  EXPECT_THAT(refused(schedule), HasSubstr("which is for another message"));
}

TEST(Verify, Deadlock) {
  // Both wait to receive before they send.
  Schedule schedule = legal();
  move_action(schedule.ranks[0], 4, 0);
  EXPECT_THAT(refused(schedule),
              HasSubstr("deadlock: rank 0 waits at action 0 (recv_b mb 0 chunk 0 from rank 1) for "
                        "rank 1, which waits at action 0 (recv_f mb 0 chunk 0 from rank 0) for "
                        "rank 0\n"));
  EXPECT_EQ(count_of(refused(schedule), "deadlock:"), 1u);
  // Both send first, which only buffers would let pass.
  schedule = legal();
  move_action(schedule.ranks[1], 2, 4);
  EXPECT_THAT(refused(schedule),
              HasSubstr("deadlock: rank 0 waits at action 3 (send_f mb 1 chunk 0 to rank 1) for "
                        "rank 1, which waits at action 3 (send_b mb 0 chunk 0 to rank 0) for "
                        "rank 0\n"));
  schedule = legal();
  schedule.ranks[1].clear();
  EXPECT_THAT(refused(schedule),
              HasSubstr("deadlock: rank 0 waits at action 1 (send_f mb 0 chunk 0 to rank 1) for "
                        "rank 1, whose list has ended"));
}

TEST(Verify, DeadlockOfThree) {
  Schedule schedule = generate_interleaved(3, 2, 3);
  ASSERT_NO_THROW(verify(schedule, "x"));
  // Every rank first wants the input of its second chunk, from the rank before it in the ring.
  for (ActionList& list : schedule.ranks) {
    const auto second = std::find_if(
        list.begin(), list.end(), [](const Action& a) { return a.op == Op::kRecvForward && a.chunk == 1; });
    move_action(list, static_cast<size_t>(second - list.begin()), 0);
  }
  const std::string text = refused(schedule);
  EXPECT_THAT(
      text,
      HasSubstr("deadlock: rank 0 waits at action 0 (recv_f mb 0 chunk 1 from rank 2) for rank 2, which "
                "waits at action 0 (recv_f mb 0 chunk 1 from rank 1) for rank 1, which waits at action "
                "0 (recv_f mb 0 chunk 1 from rank 0) for rank 0"));
}

TEST(Verify, Stash) {
  Schedule schedule = legal();
  ++schedule.peak_stash[1];
  EXPECT_THAT(refused(schedule), HasSubstr("stash: rank 1: peak_stash is 2, its list holds 1"));
  schedule = forward_only(legal());
  schedule.peak_stash[0] = 2;
  EXPECT_THAT(refused(schedule), HasSubstr("stash: rank 0: peak_stash is 2, its list holds 0"));
}

TEST(Verify, AllKindsOfViolationStandInOneErrorAndNoneFillsIt) {
  Schedule schedule = generate_1f1b(4, 1, 40);
  std::reverse(schedule.ranks[1].begin(), schedule.ranks[1].end());
  schedule.ranks[1].resize(schedule.ranks[1].size() / 2);
  const std::string text = refused(schedule);
  for (const char* kind : {"once:", "data:", "messages:", "deadlock:", "stash:"}) {
    EXPECT_GE(count_of(text, kind), 1u) << kind;
    EXPECT_LE(count_of(text, kind), static_cast<size_t>(kMaxViolations)) << kind;
  }
  EXPECT_EQ(count_of(text, "once:"), static_cast<size_t>(kMaxViolations));
  EXPECT_LT(text.find("once:"), text.find("data:"));
}

// Numbers that nothing stands behind cost nothing.
TEST(Verify, HugeNumbersAreRefusedByTheirProduct) {
  constexpr int kHuge = std::numeric_limits<int>::max();
  EXPECT_TRUE(fits_schedule_units(1, 1, 1 << 24));
  EXPECT_TRUE(fits_schedule_units(1 << 8, 1 << 8, 1 << 8));
  EXPECT_FALSE(fits_schedule_units(1, 1, (1 << 24) + 1));
  EXPECT_FALSE(fits_schedule_units(kHuge, kHuge, kHuge));
  EXPECT_FALSE(fits_schedule_units(kHuge, 1, kHuge));
  Schedule schedule = legal();
  schedule.micro_batches = kHuge;
  EXPECT_THAT(refused(schedule),
              HasSubstr("shape: pp 2 x chunks 1 x micro_batches 2147483647 is more than 16777216"));
  schedule.micro_batches = (1 << 24) / 2;
  EXPECT_EQ(count_of(refused(schedule), "never runs"), static_cast<size_t>(kMaxViolations));
}

}  // namespace
}  // namespace phalanx
