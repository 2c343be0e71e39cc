// Pairs in flight by what they weigh: split backward and the window of appendix C. memory_test.cc holds the counts alone
// to the schedules.
#include "phalanx/plan/in_flight.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "phalanx/pipeline/generate.h"

namespace phalanx {
namespace {

// A GPT layer keeps 10 T h until its B, then 16 T h until its W: what counts is the fullest rank.
TEST(InFlight, ClosedFormsKnowWhatWaitsForItsWeightGradients) {
  const auto fullest = [](const HeldByRank& ranks) {
    int64_t most = 0;
    for (const std::vector<HeldPairs>& chunks : ranks) {
      int64_t bytes = 0;
      for (const HeldPairs& held : chunks) bytes += 10 * held.kept + 16 * held.deferred;
      most = std::max(most, bytes);
    }
    return static_cast<double>(most);
  };
  for (const std::string kind : {"1f1b", "zb-h1", "zb-v", "v-half"}) {
    const int64_t chunks = kind.ends_with("v") || kind == "v-half" ? 2 : 1;
    for (int64_t pp = 2; pp <= 8; ++pp) {
      for (int64_t m = pp; m <= 3 * pp; ++m) {
        const PlanLayout layout{.pp = pp, .chunks = chunks, .schedule = kind, .global_batch = m};
        const Schedule schedule = make_schedule({.kind = kind,
                                                 .pp = static_cast<int>(pp),
                                                 .chunks = static_cast<int>(chunks),
                                                 .micro_batches = static_cast<int>(m)});
        const std::vector<PairBytes> stages(static_cast<size_t>(pp * chunks),
                                            PairBytes{.kept = 10, .deferred = 16});
        const double walked = fullest(held_at_peak(schedule, stages));
        const double closed = fullest(closed_held(layout, stages));
        const bool exact = kind == "1f1b" || kind == "zb-h1";
        EXPECT_GE(closed, exact ? walked : 0.85 * walked) << kind << " pp " << pp << " m " << m;
        EXPECT_LE(closed, exact ? walked : 1.2 * walked) << kind << " pp " << pp << " m " << m;
      }
    }
  }
}

TEST(InFlight, AWindowMovesOverTheMicroBatches) {
  const Schedule schedule = make_schedule({.kind = "1f1b", .pp = 4, .micro_batches = 9});
  const std::vector<PairBytes> stages(4, PairBytes{.kept = 1, .whole = 10});
  for (int64_t window = 0; window <= 5; ++window) {
    const HeldByRank held = held_at_peak(schedule, stages, window);
    for (int64_t rank = 0; rank < 4; ++rank) {
      const int64_t whole = std::min<int64_t>(window, 4 - rank);
      const HeldPairs want{.kept = 4 - rank - whole, .whole = whole};
      EXPECT_EQ(held[static_cast<size_t>(rank)][0], want) << "window " << window << " rank " << rank;
    }
  }
}

}  // namespace
}  // namespace phalanx
