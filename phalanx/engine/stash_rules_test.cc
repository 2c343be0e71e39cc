// What the executor does to stashes: the window of micro-batches that keep everything, offload, the list of what is held.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/engine/executor.h"
#include "phalanx/pipeline/generate.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;

// One stage that keeps 16 bytes a micro-batch, or 64 when asked to keep everything.
class KeepsSome : public StageProgram {
 public:
  Tensor forward(int, const Tensor&, const Batch& batch, Side&, Stash& stash) override {
    whole.push_back(stash.keeps_all());
    stash.enter_layer(3);
    stash.push(at::zeros({stash.keeps_all() ? 8 : 2}, at::kDouble), "kept");
    return at::zeros_like(batch.loss_weight);
  }
  Tensor backward(int, const Tensor&, const Batch&, Side&, Stash& stash, WeightGrads& grads) override {
    stash.pop();
    if (deferred_bytes > 0) grads.defer(weight_, deferred_bytes, [](GradSlot) {});
    return {};
  }
  TensorSpec boundary(const Batch&) const override { return {}; }
  std::vector<TensorSpec> side_into(int, const Batch&) const override { return {}; }
  at::Device device() const override { return at::kCPU; }

  std::vector<bool> whole;  // by forward
  int64_t deferred_bytes = 0;

 private:
  Parameter weight_;
};

Action act(Op op, int micro_batch) {
  return {.op = op, .micro_batch = micro_batch};
}

// F 0 1 2, then one B and one F in turn.
Schedule by_hand(bool split) {
  Schedule schedule{.kind = "by hand", .micro_batches = 5, .placement = {{0}}};
  ActionList& list = schedule.ranks.emplace_back();
  for (int m = 0; m < 3; ++m) list.push_back(act(Op::kForward, m));
  for (int m = 0; m < 5; ++m) {
    list.push_back(act(split ? Op::kBackwardInput : Op::kBackward, m));
    if (m + 3 < 5) list.push_back(act(Op::kForward, m + 3));
  }
  for (int m = 0; split && m < 5; ++m) list.push_back(act(Op::kBackwardWeight, m));
  return schedule;
}

std::vector<Batch> batches(int count) {
  Batch batch;
  batch.loss_weight = at::ones({1}, at::kDouble);
  return std::vector<Batch>(static_cast<size_t>(count), batch);
}

ExecutorResult run(KeepsSome& program, const StashRules& rules, bool split = false) {
  return run_schedule(program, by_hand(split), {}, batches(5), {.stash = rules});
}

TEST(StashRules, APlaceInTheWindowIsFreeAfterABackward) {
  for (const bool split : {false, true}) {
    KeepsSome program;
    const ExecutorResult result = run(program, {.window = 2}, split);
    EXPECT_THAT(program.whole, ElementsAre(true, true, false, true, true)) << split;
    EXPECT_EQ(result.stash_bytes, 64 + 64 + 16);
    EXPECT_EQ(result.whole_pairs, 4);
  }
  KeepsSome none;
  EXPECT_EQ(run(none, {}).whole_pairs, 0);
  EXPECT_THAT(none.whole, ElementsAre(false, false, false, false, false));
  KeepsSome all;
  EXPECT_EQ(run(all, {.window = 9}).stash_bytes, 3 * 64);
}

TEST(StashRules, DeferredGradientsCountAndSayWhoTheyAre) {
  KeepsSome program;
  program.deferred_bytes = 100;
  const ExecutorResult result = run(program, {.items = true}, /*split=*/true);
  EXPECT_EQ(result.stash_bytes, 5 * 100);
  EXPECT_EQ(result.stash_by_label.at("deferred weight gradients"), 5 * 100);
  EXPECT_EQ(result.peak_pairs, 5);
  ASSERT_EQ(result.items.size(), 5U);
  for (int m = 0; m < 5; ++m) {
    EXPECT_EQ(result.items[static_cast<size_t>(m)].micro_batch, m);
    EXPECT_EQ(result.items[static_cast<size_t>(m)].item.bytes, 100);
  }
}

TEST(StashRules, OffloadedBytesAreCountedApart) {
  for (const bool offload : {false, true}) {
    KeepsSome program;
    const ExecutorResult result = run(program, {.offload = offload, .items = true});
    EXPECT_EQ(result.stash_bytes, offload ? 0 : 3 * 16);
    EXPECT_EQ(result.host_bytes, offload ? 3 * 16 : 0);
    ASSERT_EQ(result.items.size(), 3U);
    EXPECT_EQ(result.items[2].micro_batch, 2);
    EXPECT_EQ(result.items[2].item.layer, 3);
    EXPECT_EQ(result.items[2].item.label, "kept");
  }
}

}  // namespace
}  // namespace phalanx
