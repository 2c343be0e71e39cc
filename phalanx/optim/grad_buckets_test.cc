// When buckets are reduced, that no gradient is lost, and that one rank pays for none of it.
#include "phalanx/optim/grad_buckets.h"

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/optim/test_recording_group.h"
#include "phalanx/optim/test_toy_run.h"

namespace phalanx {
namespace {

using testing::RecordingGroup;
using testing::ToyRank;
using testing::ToyRun;

// What rank 0 of two data ranks does in one step, in order.
std::vector<std::string> events_of_a_step(bool overlap, int64_t zero_stage) {
  std::vector<std::string> log;
  ToyRun run{.layout = {.tp = 1, .dp = 2, .pp = 1},
             .zero_stage = zero_stage,
             .overlap = overlap,
             .micro_batches = 4,
             .steps = 1};
  run.wrap_data = [&log](comm::Group& group) {
    return std::make_unique<RecordingGroup>(group, group.rank() == 0 ? &log : nullptr);
  };
  run.spoil = [&log](int rank, int64_t, Tensor&) {
    if (rank == 0) log.emplace_back("gradient");
  };
  run_toy(run);
  return log;
}

size_t first_of(const std::vector<std::string>& log, const std::string& prefix) {
  const auto found =
      std::find_if(log.begin(), log.end(), [&](const auto& e) { return e.starts_with(prefix); });
  return static_cast<size_t>(found - log.begin());
}

size_t last_of(const std::vector<std::string>& log, const std::string& prefix) {
  const auto found =
      std::find_if(log.rbegin(), log.rend(), [&](const auto& e) { return e.starts_with(prefix); });
  return log.size() - 1 - static_cast<size_t>(found - log.rbegin());
}

TEST(GradBuckets, AReductionStartsBeforeTheLastGradientAndIsAwaitedAfterIt) {
  for (const int64_t zero : {0, 1}) {
    const auto log = events_of_a_step(/*overlap=*/true, zero);
    const size_t last_gradient = last_of(log, "gradient");
    EXPECT_LT(first_of(log, "reduce"), last_gradient);
    EXPECT_GT(first_of(log, "wait"), last_gradient);
    // Not before the last micro-batch has reached the bucket.
    EXPECT_GT(std::count(log.begin(), log.begin() + static_cast<std::ptrdiff_t>(first_of(log, "reduce")),
                         "gradient"),
              14);
  }
  const auto log = events_of_a_step(/*overlap=*/false, 0);
  EXPECT_GT(first_of(log, "reduce"), last_of(log, "gradient"));
}

TEST(GradBuckets, AllDataRanksReduceInTheSameOrder) {
  for (const int64_t micro_batches : {1, 2, 5}) {
    std::vector<std::vector<std::string>> logs(3);
    ToyRun run{.layout = {.tp = 1, .dp = 3, .pp = 1},
               .bucket_elements = 1,
               .micro_batches = micro_batches,
               .steps = 1};
    run.wrap_data = [&logs](comm::Group& group) {
      return std::make_unique<RecordingGroup>(group, &logs[static_cast<size_t>(group.rank())]);
    };
    run_toy(run);
    EXPECT_EQ(logs[0], logs[1]);
    EXPECT_EQ(logs[0], logs[2]);
    EXPECT_GT(logs[0].size(), 20u);
  }
}

// Weights are gathered behind the update, and full() is what waits for them.
TEST(GradBuckets, UpdatedWeightsAreAwaitedAtTheirFirstUse) {
  std::vector<std::string> log;
  ToyRun run{.layout = {.tp = 1, .dp = 2, .pp = 1}, .zero_stage = 1, .steps = 1};
  run.wrap_data = [&log](comm::Group& group) {
    return std::make_unique<RecordingGroup>(group, group.rank() == 0 ? &log : nullptr);
  };
  run.before = [&log](int rank, Optimizer& optimizer, ToyRank& toy) {
    for (const int64_t step : {0, 1}) {
      WeightGrads grads;
      testing::toy_backward(toy, {}, rank, step, 0, grads);
      optimizer.step(0.01, 1.0);
      optimizer.finish_step();
      if (rank != 0) continue;
      const auto parameters = toy.parameters();
      EXPECT_EQ(
          std::count_if(log.begin(), log.end(), [](const auto& e) { return e.starts_with("wait gather"); }),
          0);
      EXPECT_NE(parameters[0]->pending, nullptr);
      parameters[0]->full();
      EXPECT_EQ(parameters[0]->pending, nullptr);
      EXPECT_TRUE(log.back().starts_with("wait gather"));
      const size_t events = log.size();
      parameters[0]->full();
      EXPECT_EQ(log.size(), events);
      for (Parameter* p : parameters) p->full();
      log.clear();
    }
  };
  run_toy(run);
}

class AllocationCount : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t size, size_t, size_t, c10::Device) override {
    if (size > 0) bytes += size;
  }
  bool memoryProfilingEnabled() const override { return true; }
  int64_t bytes = 0;
};

// One rank: no collective, no second copy of anything, and a step that allocates a few numbers.
TEST(GradBuckets, AWorldOfOneIsFree) {
  const auto self = comm::make_self_group("dp");
  RecordingGroup data(*self), model(*self);
  ToyRank toy({}, 0, at::kFloat);
  OptimParallel parallel{.data = &data, .model = &model, .zero_stage = 1};
  parallel.group_of = [](const std::vector<int>&) -> comm::Group* {
    ADD_FAILURE() << "a group of replicas was asked for";
    return nullptr;
  };
  std::vector<Tensor> gradients;
  for (Parameter* p : toy.parameters()) gradients.push_back(at::ones(p->data.sizes()));
  const auto counter = std::make_shared<AllocationCount>();
  const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, counter);
  Optimizer optimizer(toy.parameters(), {}, at::kFloat, parallel);
  const int64_t flat = optimizer.bytes() / 4;
  EXPECT_LT(counter->bytes, 4 * flat + 64) << "weights, gradients and two moments";
  EXPECT_EQ(optimizer.bytes() % 16, 0);

  counter->bytes = 0;
  WeightGrads grads;
  grads.on_applied = [&](Parameter& p) { optimizer.on_applied(p); };
  for (int step = 0; step < 3; ++step) {
    optimizer.begin_step(1);
    const auto parameters = toy.parameters();
    for (int use = 2; use > 0; --use) {
      for (size_t i = 0; i < parameters.size(); ++i) {
        if (parameters[i]->uses >= use) grads.add(*parameters[i], gradients[i]);
      }
    }
    EXPECT_TRUE(optimizer.step(0.1, 1.0).applied);
    optimizer.finish_step();
  }
  EXPECT_LT(counter->bytes, 3 * 512);
  EXPECT_EQ(data.calls() + model.calls(), 0);
  for (Parameter* p : toy.parameters()) EXPECT_EQ(p->pending, nullptr);
}

TEST(GradBuckets, OneRankKeepsItsOrderAndOneBucket) {
  ToyRank toy({}, 0, at::kFloat);
  const FlatLayout layout = make_flat_layout(toy.parameters(), {.bucket_elements = 1});
  ASSERT_EQ(layout.buckets.size(), 1u);
  const FlatBucket& bucket = layout.buckets[0];
  EXPECT_THAT(bucket.counted, ::testing::ElementsAre(bucket.all));
  EXPECT_EQ(bucket.shard, bucket.all);
  EXPECT_EQ(layout.slots[0].parameter->name, "embedding");
  EXPECT_EQ(layout.slots[1].parameter->name, "layers.0.qkv");
  bool decays = true;
  for (const FlatSlot& slot : layout.slots) {
    EXPECT_EQ(slot.offset % kFlatAlignment, 0);
    const bool now = slot.parameter->segments[0].decay;
    EXPECT_TRUE(decays || !now) << "decay comes first";
    EXPECT_EQ(now, slot.offset < bucket.decay_end);
    decays = now;
  }
}

TEST(GradBucketsDeathTest, NoGradientIsLost) {
  ToyRank toy({}, 0, at::kDouble);
  Optimizer optimizer(toy.parameters(), {}, at::kDouble);
  WeightGrads grads;
  grads.on_applied = [&](Parameter& p) { optimizer.on_applied(p); };
  optimizer.begin_step(2);
  testing::toy_backward(toy, {}, 0, 0, 0, grads);
  EXPECT_DEATH(optimizer.step(0.1, 1.0), "of the step's gradients of .* are missing");
  testing::toy_backward(toy, {}, 0, 0, 1, grads);
  EXPECT_DEATH(testing::toy_backward(toy, {}, 0, 0, 2, grads), "came after the step's last one");
  EXPECT_TRUE(optimizer.step(0.1, 1.0).applied);
}

}  // namespace
}  // namespace phalanx
