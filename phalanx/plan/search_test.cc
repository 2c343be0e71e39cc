#include "phalanx/plan/search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <set>

#include "phalanx/base/error.h"
#include "phalanx/plan/published.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;

const Cluster& selene() {
  static const Cluster cluster = load_cluster("a100-selene");
  return cluster;
}

// Table 1's last row: full recompute, tensor parallelism in a node, no ZeRO, a program of 2021 that keeps outputs.
SearchResult search_1t(const WeakScalingRow& row) {
  SearchSpace space{.gpus = row.gpus,
                    .global_batch = row.batch,
                    .max_tp = 8,
                    .schedules = {"gpipe", "1f1b", "interleaved"},
                    .policies = {PlanRecompute::kFull},
                    .zero = {0},
                    .sequence_parallel = {false}};
  space.base.free_outputs = false;
  return search(model_of(row), selene(), find_software("megatron-2021"), space,
                {.account = StashAccount::kPaper, .bytes = fp16_bytes()});
}

TEST(Search, FindsThePapersLayoutFor1T) {
  const WeakScalingRow& row = weak_scaling_rows().back();
  const auto begin = std::chrono::steady_clock::now();
  const SearchResult result = search_1t(row);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  EXPECT_LT(seconds, 10);
  const PlanLayout paper = layout_of(row);
  size_t place = 0;
  while (place < result.ranked.size() && settings_apart(paper, result.ranked[place].layout) != 0) ++place;
  ASSERT_LT(place, 5U);
  const double behind = result.ranked[place].time.seconds / result.ranked[0].time.seconds - 1;
  std::printf("1T on 3072: %zu layouts in %.2f s; the paper's is number %zu, %.1f %% behind the best\n",
              result.looked_at, seconds, place + 1, 100 * behind);
  EXPECT_LE(behind, 0.03);
}

const PlanModel& gpt7() {
  static const PlanModel model = paper_gpt("7.5B", 36, 4096, 32);
  return model;
}

TEST(Search, EveryLayoutIsLegalAndOnce) {
  const SearchSpace space{.gpus = 16, .global_batch = 64, .max_cp = 2};
  const std::vector<PlanLayout> all = search_layouts(gpt7(), selene(), space);
  EXPECT_GT(all.size(), 500U);
  std::set<std::string> seen;
  for (const PlanLayout& layout : all) {
    EXPECT_TRUE(layout_violations(gpt7(), layout).empty()) << to_string(layout);
    EXPECT_EQ(layout.world(), 16);
    EXPECT_TRUE(seen.insert(to_string(layout)).second) << to_string(layout);
  }
  for (const char* part : {"cp 2", "zb-v", "sp", "x 2 chunks", "full", "zero 3"}) {
    EXPECT_TRUE(std::any_of(seen.begin(), seen.end(), [&](const std::string& s) {
      return s.find(part) != std::string::npos;
    })) << part;
  }
}

TEST(Search, RanksBySimulatedTimeAndFits) {
  const SearchSpace space{.gpus = 32, .global_batch = 128};
  const SearchResult result =
      search(gpt7(), selene(), find_software("phalanx"), space, {.simulate_best = 10});
  ASSERT_GT(result.ranked.size(), 20U);
  EXPECT_EQ(result.simulated, 10U);
  for (size_t i = 0; i < result.ranked.size(); ++i) {
    EXPECT_LE(result.ranked[i].memory, result.capacity);
    EXPECT_EQ(result.ranked[i].time.simulated, i < 10);
    if (i == 0 || i == 10) continue;
    EXPECT_GE(result.ranked[i].time.seconds, result.ranked[i - 1].time.seconds);
  }
  for (const Candidate& misfit : result.misfits) EXPECT_GT(misfit.memory, result.capacity);
}

TEST(Search, SaysWhyLosersLose) {
  StepTime winner;
  winner.seconds = 100;
  winner.work.product = 90;
  winner.bubble = 10;
  StepTime loser = winner;
  loser.seconds = 107;
  loser.bubble = 16;
  loser.messages = 2;
  loser.work.product = 89;
  EXPECT_EQ(why_slower(loser, winner), "bubble +6.0 %, pipeline messages +2.0 %");
  EXPECT_EQ(why_slower(winner, winner), "");
}

TEST(Search, NothingFits) {
  try {
    search(paper_gpt("1T", 128, 25600, 160), selene(), find_software("phalanx"),
           {.gpus = 64, .global_batch = 64});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kBadInput);
    EXPECT_THAT(e.what(), HasSubstr("no layout that fits; the smallest (tp"));
    EXPECT_THAT(e.what(), HasSubstr("more than the"));
    EXPECT_THAT(e.what(), HasSubstr("more GPUs (about"));
  }
}

TEST(Search, NothingDivides) {
  try {
    search(gpt7(), selene(), find_software("phalanx"),
           {.gpus = 13, .global_batch = 7, .max_tp = 1, .max_pp = 1});
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("no layout that divides"));
  }
  SearchSpace space{.gpus = 8, .global_batch = 8};
  space.schedules = {"2f2b"};
  EXPECT_THROW(search(gpt7(), selene(), find_software("phalanx"), space), Error);
}

TEST(Search, TheNearestFitChangesLeast) {
  const SearchSpace space{.gpus = 8, .global_batch = 32, .zero = {0, 1, 2, 3}};
  const SearchResult result = search(gpt7(), selene(), find_software("phalanx"), space, {.simulate_best = 0});
  const PlanLayout wanted{.dp = 8, .micro_batch = 1, .global_batch = 32};  // 7.5B x 18 bytes on one GPU
  const std::optional<Candidate> near = nearest_fit(wanted, result);
  ASSERT_TRUE(near);
  for (const Candidate& other : result.ranked) {
    EXPECT_GE(settings_apart(wanted, other.layout), settings_apart(wanted, near->layout));
  }
  EXPECT_EQ(settings_apart(wanted, near->layout), 1) << to_string(near->layout);
}

}  // namespace
}  // namespace phalanx
