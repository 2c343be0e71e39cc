// What the papers promise of GPipe, 1F1B and interleaved 1F1B, in exact ticks and stashes (zero_bubble_test.cc has the
// kinds that split the backward pass).
#include <gtest/gtest.h>

#include <algorithm>

#include <fmt/format.h>

#include "phalanx/pipeline/generate.h"
#include "phalanx/pipeline/simulate.h"

namespace phalanx {
namespace {

// t_f : t_b of 1 : 2, and others.
constexpr StageCost kCosts[] = {{1, 1, 1}, {1, 1, 0}, {3, 1, 1}, {2, 2, 1}, {5, 4, 3}, {10, 11, 9}};

int64_t idle_ticks(const Schedule& schedule, const StageCost& cost) {
  SimulateOptions options;
  options.stages = {cost};
  options.record = false;
  const Timeline timeline = simulate(schedule, options);
  for (int rank = 0; rank < schedule.pp; ++rank) {
    EXPECT_EQ(timeline.idle(rank), timeline.idle(0));  // all stages alike
  }
  return timeline.idle(0);
}

// Narayanan et al. 2021, section 2.2: t_pb = (p - 1)(t_f + t_b), of a chunk where there are several: 1 / v of a rank's.
void expect_bubble_of_the_paper(Schedule (*generate)(int, int, int), int max_chunks) {
  for (int pp = 2; pp <= 8; ++pp) {
    for (int chunks = 1; chunks <= max_chunks; ++chunks) {
      for (int m = pp; m <= 32; ++m) {
        const Schedule schedule = generate(pp, chunks, m);
        for (const StageCost& cost : kCosts) {
          const int64_t chunk_ticks = cost.forward + cost.backward_input + cost.backward_weight;
          ASSERT_EQ(idle_ticks(schedule, cost), (pp - 1) * chunk_ticks)
              << fmt::format("pp {} chunks {} m {} costs {} {} {}", pp, chunks, m, cost.forward,
                             cost.backward_input, cost.backward_weight);
        }
      }
    }
  }
}

TEST(Bubble, GPipe) {
  expect_bubble_of_the_paper(generate_gpipe, 1);
}

TEST(Bubble, GPipeLooped) {
  expect_bubble_of_the_paper(generate_gpipe, 4);
}

TEST(Bubble, OneFOneB) {
  expect_bubble_of_the_paper(generate_1f1b, 1);
}

// The paper asks for m in multiples of p. With groups as interleaved_group_size makes them it holds for every m >= p.
TEST(Bubble, Interleaved) {
  expect_bubble_of_the_paper(generate_interleaved, 4);
}

// The share, as the paper writes it: (p - 1) / m, and 1 / v of that.
TEST(Bubble, Shares) {
  EXPECT_DOUBLE_EQ(simulate(generate_1f1b(8, 1, 32)).bubble(), 7.0 / 32);
  EXPECT_DOUBLE_EQ(simulate(generate_interleaved(8, 4, 32)).bubble(), 7.0 / 32 / 4);
}

TEST(PeakStash, GPipeHoldsEverything) {
  for (int pp = 1; pp <= 8; ++pp) {
    for (int chunks = 1; chunks <= 4; ++chunks) {
      for (int m = 1; m <= 32; ++m) {
        const Schedule schedule = generate_gpipe(pp, chunks, m);
        EXPECT_EQ(schedule.peak_stash, std::vector<int>(static_cast<size_t>(pp), m * chunks));
      }
    }
  }
}

TEST(PeakStash, OneFOneBHoldsARankForEveryRankBehindIt) {
  for (int pp = 1; pp <= 8; ++pp) {
    for (int m = 1; m <= 32; ++m) {
      const Schedule schedule = generate_1f1b(pp, 1, m);
      for (int rank = 0; rank < pp; ++rank) {
        EXPECT_EQ(schedule.peak_stash[static_cast<size_t>(rank)], std::min(pp - rank, m)) << pp << " " << m;
      }
    }
  }
}

// Two for every rank behind, a group for every chunk but the last, and the one under way, as long as there is so much.
TEST(PeakStash, InterleavedHoldsItsWarmUp) {
  for (int pp = 2; pp <= 8; ++pp) {
    for (int chunks = 2; chunks <= 4; ++chunks) {
      for (int m = 1; m <= 32; ++m) {
        const Schedule schedule = generate_interleaved(pp, chunks, m);
        const int group = interleaved_group_size(pp, m);
        for (int rank = 0; rank < pp; ++rank) {
          EXPECT_EQ(schedule.peak_stash[static_cast<size_t>(rank)],
                    std::min(2 * (pp - rank - 1) + (chunks - 1) * group + 1, m * chunks))
              << fmt::format("pp {} chunks {} m {} rank {}", pp, chunks, m, rank);
        }
        if (m % pp == 0) {
          EXPECT_EQ(schedule.peak_stash[0], std::min(pp * chunks + pp - 1, m * chunks));
        }
      }
    }
  }
}

}  // namespace
}  // namespace phalanx
