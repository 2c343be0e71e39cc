#include "phalanx/engine/executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <mutex>

#include "phalanx/comm/local.h"
#include "phalanx/engine/test_program.h"
#include "phalanx/pipeline/generate.h"
#include "phalanx/pipeline/verify.h"

namespace phalanx {
namespace {

using testing::random_schedule;
using testing::test_batches;
using testing::TestProgram;

struct Outcome {
  double loss = 0;
  std::vector<Tensor> grads;  // by parameter of the program
  std::vector<ExecutorResult> ranks;
};

double sum_of(const std::vector<Tensor>& nll) {
  double sum = 0;
  for (const Tensor& rows : nll) {
    if (rows.defined()) sum += rows.sum().item<double>();
  }
  return sum;
}

// Every rank holds all weights and contributes the gradients of its own stages.
Outcome run(const Schedule& schedule, int reader = -1, bool frozen = false) {
  verify(schedule, "schedule of the test");
  Outcome all;
  all.ranks.resize(static_cast<size_t>(schedule.pp));
  std::mutex mutex;
  comm::LocalWorld world(schedule.pp, {});
  std::vector<int> everyone;
  for (int r = 0; r < schedule.pp; ++r) everyone.push_back(r);
  comm::run_ranks(world, [&](int rank) {
    const auto pipeline = world.group(rank, "pp", everyone);
    TestProgram program(schedule.num_stages(), schedule.placement[static_cast<size_t>(rank)], reader, frozen);
    const ExecutorGroups groups{.pipeline = schedule.pp > 1 ? pipeline.get() : nullptr};
    ExecutorResult result =
        run_schedule(program, schedule, groups, test_batches(schedule.micro_batches), {.record = true});
    const std::lock_guard lock(mutex);
    all.loss += sum_of(result.nll);
    const std::vector<Parameter*> parameters = program.parameters();
    all.grads.resize(parameters.size());
    for (size_t i = 0; i < parameters.size(); ++i) {
      if (!parameters[i]->has_grad) continue;
      EXPECT_FALSE(all.grads[i].defined()) << "one rank holds a stage";
      all.grads[i] = parameters[i]->main_grad.clone();
    }
    all.ranks[static_cast<size_t>(rank)] = std::move(result);
  });
  return all;
}

// All stages on one rank, micro-batch after micro-batch.
Outcome reference(int stages, int micro_batches, int reader = -1, bool frozen = false) {
  std::vector<ActionList> compute(1);
  for (int m = 0; m < micro_batches; ++m) {
    for (int s = 0; s < stages; ++s) compute[0].push_back({.op = Op::kForward, .micro_batch = m, .chunk = s});
    for (int s = stages; s-- > 0;) compute[0].push_back({.op = Op::kBackward, .micro_batch = m, .chunk = s});
  }
  return run(build_schedule("one by one", micro_batches, round_robin_placement(1, stages), compute), reader,
             frozen);
}

void expect_same(const Outcome& got, const Outcome& want, const std::string& what) {
  EXPECT_NEAR(got.loss, want.loss, 1e-12 * std::abs(want.loss)) << what;
  ASSERT_EQ(got.grads.size(), want.grads.size());
  for (size_t i = 0; i < want.grads.size(); ++i) {
    ASSERT_EQ(got.grads[i].defined(), want.grads[i].defined()) << what << " parameter " << i;
    if (!want.grads[i].defined()) continue;
    const double far = (got.grads[i] - want.grads[i]).abs().max().item<double>();
    EXPECT_LE(far, 1e-12 * want.grads[i].abs().max().item<double>()) << what << " parameter " << i;
  }
}

TEST(Executor, EveryScheduleIsTheSameRun) {
  int compared = 0;
  for (const ScheduleKind& kind : schedule_kinds()) {
    for (const int pp : {1, 2, 3, 4}) {
      for (const int chunks : {kind.min_chunks, kind.max_chunks == 0 ? 3 : kind.max_chunks}) {
        for (const int m : {1, 2, 5, 8}) {  // m < p among them
          const Schedule schedule =
              make_schedule({.kind = std::string(kind.name), .pp = pp, .chunks = chunks, .micro_batches = m});
          const std::string what =
              std::string(kind.name) + " pp " + std::to_string(pp) + " m " + std::to_string(m);
          const Outcome got = run(schedule);
          expect_same(got, reference(pp * chunks, m), what);
          for (int rank = 0; rank < pp; ++rank) {
            EXPECT_EQ(got.ranks[static_cast<size_t>(rank)].peak_pairs,
                      schedule.peak_stash[static_cast<size_t>(rank)])
                << what;
          }
          ++compared;
        }
      }
    }
  }
  std::printf("executor: %d schedules compared\n", compared);
}

TEST(Executor, RandomLegalSchedules) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const int pp = 1 + static_cast<int>(seed % 4);
    const int chunks = 1 + static_cast<int>(seed / 4 % 3);
    const int m = 1 + static_cast<int>(seed % 5);
    expect_same(run(random_schedule(seed, pp, chunks, m)), reference(pp * chunks, m),
                "seed " + std::to_string(seed));
  }
}

// Paper 4's shape: an encoder on stage 0, frozen layers, a reader behind them.
TEST(Executor, SideInputsTravelWithTheirGradients) {
  for (const ScheduleKind& kind : schedule_kinds()) {
    const int chunks = kind.max_chunks == 0 ? 2 : kind.max_chunks;
    for (const int reader : {1, 2}) {
      const Schedule schedule =
          make_schedule({.kind = std::string(kind.name), .pp = 3, .chunks = chunks, .micro_batches = 4});
      const Outcome want = reference(3 * chunks, 4, reader, /*frozen=*/true);
      ASSERT_TRUE(want.grads[want.grads.size() - 2].defined()) << "the encoder learns";
      expect_same(run(schedule, reader, true), want, std::string(kind.name));
    }
  }
}

TEST(Executor, ForwardOnlyKeepsNothing) {
  for (const ScheduleKind& kind : schedule_kinds()) {
    const int chunks = kind.max_chunks == 0 ? 2 : kind.max_chunks;
    const Schedule schedule = make_schedule({.kind = std::string(kind.name),
                                             .pp = 2,
                                             .chunks = chunks,
                                             .micro_batches = 3,
                                             .forward_only = true});
    const Outcome got = run(schedule, 1);
    EXPECT_NEAR(got.loss, reference(2 * chunks, 3, 1).loss, 1e-12) << kind.name;
    for (const ExecutorResult& rank : got.ranks) {
      EXPECT_EQ(rank.stash_bytes, 0);
      EXPECT_EQ(rank.peak_pairs, 0);
    }
  }
}

// W really comes later: what it holds counts as stash until then.
TEST(Executor, DeferredWeightGradientsAreStash) {
  const Schedule split = make_schedule({.kind = "zb-h1", .pp = 2, .chunks = 1, .micro_batches = 4});
  const Outcome got = run(split);
  bool seen = false;
  for (const ExecutorResult& rank : got.ranks)
    seen |= rank.stash_by_label.contains("deferred weight gradients");
  EXPECT_TRUE(seen);
}

TEST(Executor, TheTimelineIsTheActionList) {
  const Schedule schedule = make_schedule({.kind = "1f1b", .pp = 2, .chunks = 1, .micro_batches = 3});
  const Outcome got = run(schedule);
  for (size_t r = 0; r < 2; ++r) {
    const std::vector<TimelineSpan>& spans = got.ranks[r].spans;
    ASSERT_EQ(spans.size(), schedule.ranks[r].size());
    for (size_t i = 0; i < spans.size(); ++i) {
      EXPECT_EQ(spans[i].action, schedule.ranks[r][i]);
      EXPECT_LE(spans[i].begin, spans[i].end);
    }
  }
}

TEST(Executor, ARankThatThrowsStopsAll) {
  const Schedule schedule = make_schedule({.kind = "1f1b", .pp = 2, .chunks = 1, .micro_batches = 3});
  comm::LocalWorld world(2, {});
  EXPECT_THROW(comm::run_ranks(world,
                               [&](int rank) {
                                 const auto pipeline = world.group(rank, "pp", {0, 1});
                                 if (rank == 1) throw std::runtime_error("broken");
                                 TestProgram program(2, schedule.placement[0]);
                                 run_schedule(program, schedule, {.pipeline = pipeline.get()},
                                              test_batches(3));
                               }),
               std::exception);
}

}  // namespace
}  // namespace phalanx
