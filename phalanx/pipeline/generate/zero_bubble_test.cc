#include <algorithm>
#include <map>
#include <ostream>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/base/error.h"
#include "phalanx/pipeline/build_schedule.h"
#include "phalanx/pipeline/generate.h"
#include "phalanx/pipeline/generate/greedy_split.h"
#include "phalanx/pipeline/simulate.h"
#include "phalanx/pipeline/verify.h"

namespace phalanx {
namespace {

constexpr int kMaxPp = 8;
constexpr int kMaxMicroBatches = 32;

struct Kind {
  const char* name;
  Schedule (*generate)(int pp, int chunks, int micro_batches);
  int chunks;
  int (*max_stash)(int pp);
};

void PrintTo(const Kind& kind, std::ostream* out) {
  *out << kind.name;
}

// What each kind claims, for any number of micro-batches; 1F1B stashes pp x chunks.
const Kind kZbH1 = {"zb-h1", generate_zb_h1, 1, [](int pp) { return pp; }};
const Kind kZbV = {"zb-v", generate_zb_v, 2, [](int pp) { return 2 * pp; }};
const Kind kVHalf = {"v-half", generate_v_half, 2, [](int pp) { return 2 * ((pp + 2) / 2); }};

class ZeroBubble : public testing::TestWithParam<Kind> {};

INSTANTIATE_TEST_SUITE_P(Kinds, ZeroBubble, testing::Values(kZbH1, kZbV, kVHalf), [](const auto& info) {
  std::string name = info.param.name;
  std::erase(name, '-');
  return name;
});

int largest(const std::vector<int>& values) {
  return *std::max_element(values.begin(), values.end());
}

int64_t idle_ticks(const Schedule& schedule, const StageCost& cost = {}) {
  SimulateOptions options;
  options.stages = {cost};
  const Timeline timeline = simulate(schedule, options);
  return timeline.makespan - timeline.max_busy();
}

// The idle ticks of 1F1B with the same work a rank as `chunks` chunks at `cost`.
int64_t idle_ticks_1f1b(int pp, int micro_batches, int chunks, const StageCost& cost = {}) {
  return idle_ticks(generate_1f1b(pp, 1, micro_batches), {.forward = cost.forward * chunks,
                                                          .backward_input = cost.backward_input * chunks,
                                                          .backward_weight = cost.backward_weight * chunks});
}

// "" or the first action of `list` that comes too early on its own rank, or twice.
std::string order_fault(const ActionList& list) {
  std::map<std::pair<int, int>, int> progress;  // by micro-batch and chunk: F 1, B 2, W 3
  for (const Action& action : list) {
    if (!is_compute(action.op)) continue;
    int& done = progress[{action.micro_batch, action.chunk}];
    const int step = action.op == Op::kForward ? 1 : action.op == Op::kBackwardInput ? 2 : 3;
    if (action.op == Op::kBackward || done != step - 1) return to_string(action);
    done = step;
  }
  return "";
}

TEST_P(ZeroBubble, IsLegalAndHoldsItsStash) {
  const Kind& kind = GetParam();
  for (int pp = 1; pp <= kMaxPp; ++pp) {
    for (int m = 1; m <= kMaxMicroBatches; ++m) {
      SCOPED_TRACE(fmt::format("pp {}, micro-batches {}", pp, m));
      const Schedule schedule = kind.generate(pp, kind.chunks, m);
      EXPECT_EQ(schedule.kind, kind.name);
      EXPECT_EQ(schedule.placement, kind.chunks == 1 ? round_robin_placement(pp, 1) : v_placement(pp));
      ASSERT_NO_THROW(verify(schedule, kind.name));
      ASSERT_NO_THROW(verify(forward_only(schedule), kind.name));
      for (const ActionList& list : schedule.ranks) {
        EXPECT_EQ(order_fault(list), "");
        EXPECT_LE(count_peak_stash(list), std::min(kind.max_stash(pp), m * kind.chunks));
      }
      // The limit is needed as soon as there is enough work to fill it.
      if (m >= 2 * pp) {
        EXPECT_EQ(largest(schedule.peak_stash), kind.max_stash(pp));
      }
    }
  }
}

TEST_P(ZeroBubble, StashIsNotAbove1f1bs) {
  const Kind& kind = GetParam();
  for (int pp = 1; pp <= kMaxPp; ++pp) {
    for (int m = 1; m <= kMaxMicroBatches; ++m) {
      SCOPED_TRACE(fmt::format("pp {}, micro-batches {}", pp, m));
      const int of_1f1b = kind.chunks * largest(generate_1f1b(pp, 1, m).peak_stash);
      EXPECT_LE(largest(kind.generate(pp, kind.chunks, m).peak_stash), of_1f1b);
    }
  }
}

TEST_P(ZeroBubble, BubbleIsBelow1f1bs) {
  const Kind& kind = GetParam();
  for (int pp = 2; pp <= kMaxPp; ++pp) {
    for (int m = 1; m <= kMaxMicroBatches; ++m) {
      EXPECT_LT(idle_ticks(kind.generate(pp, kind.chunks, m)), idle_ticks_1f1b(pp, m, kind.chunks))
          << "pp " << pp << ", micro-batches " << m;
    }
  }
}

TEST_P(ZeroBubble, BubbleIsBelow1f1bsWhereCostsDiffer) {
  const Kind& kind = GetParam();
  const std::vector<StageCost> costs = {{2, 2, 1}, {1, 2, 1}, {3, 4, 2}, {1, 2, 2}, {2, 3, 3}, {10, 11, 9}};
  for (const StageCost& cost : costs) {
    // 2 B > 2 F + W leaves V-Half no rhythm without gaps (Qi et al. 2024). On odd pp nothing is spare to hide them: its
    // bubble then grows with m and passes 1F1B's, but not before m = 2 pp.
    const bool too_slow_b =
        kind.generate == generate_v_half && 2 * cost.backward_input > 2 * cost.forward + cost.backward_weight;
    for (int pp = 2; pp <= kMaxPp; ++pp) {
      const int last = too_slow_b && pp % 2 == 1 ? 2 * pp : kMaxMicroBatches;
      for (int m = 1; m <= last; ++m) {
        EXPECT_LT(idle_ticks(kind.generate(pp, kind.chunks, m), cost),
                  idle_ticks_1f1b(pp, m, kind.chunks, cost))
            << fmt::format("pp {}, micro-batches {}, costs {} {} {}", pp, m, cost.forward,
                           cost.backward_input, cost.backward_weight);
      }
    }
  }
}

TEST_P(ZeroBubble, IsDeterministicAndScales) {
  const Kind& kind = GetParam();
  const Schedule schedule = kind.generate(64, kind.chunks, 128);
  EXPECT_EQ(schedule, kind.generate(64, kind.chunks, 128));
  EXPECT_NO_THROW(verify(schedule, kind.name));
  EXPECT_EQ(largest(schedule.peak_stash), kind.max_stash(64));
  EXPECT_LT(idle_ticks(schedule), idle_ticks_1f1b(64, 128, kind.chunks));
}

// The paper's (p - 1)(F + B - W), where W is not longer than F; else the gradients' way back to the first rank counts.
TEST(ZeroBubbleH1, BubbleEqualsTheFormula) {
  for (const StageCost& cost :
       std::vector<StageCost>{{1, 1, 1}, {2, 2, 1}, {1, 2, 1}, {3, 4, 2}, {2, 3, 3}}) {
    const int64_t per_rank =
        std::max(cost.forward + cost.backward_input - cost.backward_weight, cost.backward_input);
    for (int pp = 1; pp <= kMaxPp; ++pp) {
      for (int m = pp; m <= kMaxMicroBatches; ++m) {
        EXPECT_EQ(idle_ticks(generate_zb_h1(pp, 1, m), cost), (pp - 1) * per_rank) << pp << " " << m;
      }
    }
  }
}

// No schedule on this placement can do better: the last rank gets its first input after pp - 1 ticks.
TEST(ZeroBubbleV, OnlyTheFirstWaitIsLeft) {
  for (int pp = 1; pp <= kMaxPp; ++pp) {
    for (int m = pp; m <= kMaxMicroBatches; ++m) {
      EXPECT_EQ(idle_ticks(generate_zb_v(pp, 2, m)), pp - 1) << pp << " " << m;
    }
  }
}

TEST(ZeroBubbleVHalf, BubbleIsHalfOf1f1bs) {
  for (int pp = 2; pp <= kMaxPp; ++pp) {
    const int steady = pp == 2 ? 2 : pp % 2 == 0 ? 3 * pp - 6 : 3 * pp - 4;
    for (int m = pp; m <= kMaxMicroBatches; ++m) {
      const int64_t idle = idle_ticks(generate_v_half(pp, 2, m));
      EXPECT_LE(2 * idle, idle_ticks_1f1b(pp, m, 2)) << pp << " " << m;
      if (m > pp) {
        EXPECT_EQ(idle, steady) << pp << " " << m;
      }
    }
  }
}

// Mutants: what the tests above look for is there to be found.

TEST(ZeroBubbleMutant, WeightGradientBeforeItsInput) {
  Schedule schedule = generate_zb_v(4, 2, 8);
  ActionList& list = schedule.ranks[2];
  const auto is_b = [](const Action& a) { return a.op == Op::kBackwardInput && a.micro_batch == 3; };
  const auto b = std::find_if(list.begin(), list.end(), is_b);
  const auto w = std::find(b, list.end(), Action{Op::kBackwardWeight, 3, b->chunk});
  ASSERT_NE(w, list.end());
  std::iter_swap(b, w);
  EXPECT_EQ(order_fault(list), fmt::format("W mb 3 chunk {}", b->chunk));
  try {
    verify(schedule, "mutant");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr(fmt::format("W mb 3 chunk {}", b->chunk)));
    EXPECT_THAT(error.what(), testing::HasSubstr("rank 2"));
  }
}

TEST(ZeroBubbleMutant, BackwardFirstMissesTheFormula) {
  SplitRules rules{.max_stash = 8, .priority = {{Op::kBackwardInput, 0}, {Op::kForward, 0}}};
  for (int rank = 0; rank < 8; ++rank) rules.max_live.push_back({8 - rank});
  const Placement placement = round_robin_placement(8, 1);
  EXPECT_GT(greedy_split(placement, 32, rules).ticks, 3 * 32 + 7);
  rules.priority = {{Op::kForward, 0}, {Op::kBackwardInput, 0}};
  EXPECT_EQ(greedy_split(placement, 32, rules).ticks, 3 * 32 + 7);
}

TEST(ZeroBubbleMutant, AChunkMoreExceedsTheClaim) {
  const SplitRules rules{
      .max_stash = 9,
      .max_live = std::vector<std::vector<int>>(4, {8, 9}),
      .priority = {{Op::kForward, 1}, {Op::kForward, 0}, {Op::kBackwardInput, 0}, {Op::kBackwardInput, 1}}};
  const SplitOrder order = greedy_split(v_placement(4), 16, rules);
  int peak = 0;
  for (const ActionList& list : order.compute) peak = std::max(peak, count_peak_stash(list));
  EXPECT_EQ(peak, 9);
}

TEST(GreedySplit, TicksAreTheSimulatedMakespan) {
  for (int pp = 1; pp <= 5; ++pp) {
    const SplitRules rules{
        .max_stash = 2,  // the least that two chunks can do with
        .max_live = std::vector<std::vector<int>>(static_cast<size_t>(pp), {1, 1}),
        .priority = {{Op::kBackwardInput, 1}, {Op::kBackwardInput, 0}, {Op::kForward, 1}, {Op::kForward, 0}}};
    const SplitOrder order = greedy_split(v_placement(pp), 7, rules);
    const Schedule schedule = build_schedule("test", 7, v_placement(pp), order.compute);
    ASSERT_NO_THROW(verify(schedule, "test"));
    EXPECT_EQ(simulate(schedule).makespan, order.ticks);
    EXPECT_EQ(largest(schedule.peak_stash), 2);
  }
}

TEST(GreedySplitDeath, LimitsThatCouldGetStuck) {
  SplitRules rules{
      .max_stash = 2,
      .max_live = {{2, 1}, {2, 1}},
      .priority = {{Op::kForward, 0}, {Op::kForward, 1}, {Op::kBackwardInput, 0}, {Op::kBackwardInput, 1}}};
  EXPECT_DEATH(greedy_split(v_placement(2), 4, rules), "the last chunk must always find room");
  rules.max_live = {{1, 1}, {1, 0}};
  EXPECT_DEATH(greedy_split(v_placement(2), 4, rules), "every chunk must find room");
  rules.max_live = {{1, 1}, {1, 1}};
  rules.priority.pop_back();
  EXPECT_DEATH(greedy_split(v_placement(2), 4, rules), "no rank go on");
}

}  // namespace
}  // namespace phalanx
