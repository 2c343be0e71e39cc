// A checkpoint of any layout loads in any other, optimizer included.
#include <ATen/ATen.h>

#include <mutex>

#include "phalanx/checkpoint/model_state.h"
#include "phalanx/checkpoint/test_folders.h"
#include "phalanx/optim/test_toy_run.h"

namespace phalanx {
namespace {

using testing::run_toy;
using testing::ToyLayout;
using testing::ToyRank;
using testing::ToyRankResult;
using testing::ToyRun;

struct Cut {
  ToyLayout layout{};
  int64_t zero_stage = 0;
};

const std::vector<Cut>& cuts() {
  static const std::vector<Cut> table = {{.layout = {.tp = 1, .dp = 2, .pp = 1}, .zero_stage = 1},
                                         {.layout = {.tp = 1, .dp = 3, .pp = 1}, .zero_stage = 0},
                                         {.layout = {}},
                                         {.layout = {.tp = 2, .dp = 1, .pp = 2}, .zero_stage = 0},
                                         {.layout = {.tp = 2, .dp = 3, .pp = 2}, .zero_stage = 1}};
  return table;
}

ToyRun run_of(const Cut& cut, at::ScalarType dtype) {
  return {.layout = cut.layout,
          .zero_stage = cut.zero_stage,
          .dtype = dtype,
          .accumulator = dtype == at::kDouble ? at::kDouble : at::kFloat};
}

// Trains `steps` steps and saves what the ranks own.
ToyRankResult train_and_save(ToyRun run, int64_t steps, const std::string& folder) {
  std::mutex mutex;
  std::vector<TensorBox> boxes;
  run.steps = steps;
  run.after = [&](int, Optimizer& optimizer, ToyRank& toy) {
    std::vector<TensorBox> mine = owned_weight_boxes(toy.parameters(), optimizer.parallel());
    for (const TensorBox& box : owned_optimizer_boxes(optimizer)) mine.push_back(box);
    const std::scoped_lock lock(mutex);
    for (const TensorBox& box : mine)
      boxes.push_back({box.name, box.global_shape, box.box, box.view.clone()});
    EXPECT_EQ(optimizer.updates(), steps);
  };
  const ToyRankResult first = run_toy(run)[0];
  write_checkpoint(folder, assemble_boxes(boxes), {{"kind", "test"}});
  return first;
}

// Ranks that start from it, with `steps` more steps.
std::vector<ToyRankResult> load_and_train(ToyRun run, int64_t first_step, int64_t steps,
                                          const std::string& folder) {
  run.first_step = first_step;
  run.steps = steps;
  run.before = [&](int, Optimizer& optimizer, ToyRank& toy) {
    for (Parameter* p : toy.parameters()) {
      for (const Segment& segment : p->segments) view_of(p->data, segment.local_box).fill_(7.0);
    }
    optimizer.weights_changed();
    CheckpointReader reader(folder);
    load_weights(reader, toy.parameters());
    load_optimizer(reader, optimizer);
    optimizer.set_updates(first_step);
  };
  return run_toy(run);
}

TEST(ParallelState, AnyLayoutLoadsInAnyOther) {
  const TemporaryDirectory directory;
  for (const at::ScalarType dtype : {at::kDouble, at::kBFloat16}) {
    for (size_t from = 0; from < cuts().size(); ++from) {
      const std::string folder = directory.path() + "/" + toString(dtype) + std::to_string(from);
      train_and_save(run_of(cuts()[from], dtype), 3, folder);
      const ToyRankResult whole = load_and_train(run_of({}, dtype), 3, 0, folder)[0];
      CheckpointReader reader(folder);
      for (const auto& [name, box, values] : whole.boxes) {
        const std::string logical = name.substr(name.find(' ') + 1);
        const std::string kind = name.substr(0, name.find(' '));
        std::string stored = "optimizer." + kind + "." + logical;
        if (kind == "weight" || (kind == "master" && dtype == at::kDouble)) stored = "model." + logical;
        EXPECT_TRUE(testing::same_bits(reader.read_whole(stored, box.end), values)) << stored;
      }
      for (const Cut& to : cuts()) {
        const std::vector<ToyRankResult> loaded = load_and_train(run_of(to, dtype), 3, 0, folder);
        EXPECT_EQ(testing::toy_difference(loaded, whole, dtype == at::kDouble ? 1e-12 : 0.0), "")
            << from << " to dp " << to.layout.dp;
      }
    }
  }
}

TEST(ParallelState, ARunGoesOnInAnotherLayoutAsIfNothingHadStopped) {
  const TemporaryDirectory directory;
  const ToyRankResult whole = run_toy(run_of({}, at::kDouble))[0];
  ToyRankResult last_two = whole;
  last_two.steps.erase(last_two.steps.begin(), last_two.steps.begin() + 3);
  for (size_t from = 0; from < cuts().size(); ++from) {
    const std::string folder = directory.path() + "/" + std::to_string(from);
    train_and_save(run_of(cuts()[from], at::kDouble), 3, folder);
    const Cut& to = cuts()[(from + 1) % cuts().size()];
    EXPECT_EQ(testing::toy_difference(load_and_train(run_of(to, at::kDouble), 3, 2, folder), last_two), "")
        << from;
  }
}

// Weights without an optimizer's state: every rank takes its masters from them.
TEST(ParallelState, WeightsAloneFillTheMastersOfEveryShard) {
  const TemporaryDirectory directory;
  const std::string folder = directory.path() + "/step_1";
  train_and_save(run_of({}, at::kBFloat16), 1, folder);
  ToyRun run = run_of(cuts()[0], at::kBFloat16);
  run.steps = 0;
  run.before = [&](int, Optimizer& optimizer, ToyRank& toy) {
    CheckpointReader reader(folder);
    load_weights(reader, toy.parameters());
    optimizer.weights_changed();
    for (const Optimizer::State& state : optimizer.state()) {
      const Tensor weight = reader.read_whole("model." + state.segment->name, state.segment->global_shape);
      EXPECT_TRUE(at::equal(state.master, view_of(weight, state.box).to(at::kFloat))) << state.segment->name;
    }
  };
  run_toy(run);
}

// Masters that come from elsewhere than the weights: all ranks compute with what they round to, other ranks' shares too.
TEST(ParallelState, MastersAloneFillTheWeightsOfEveryRank) {
  const TemporaryDirectory directory;
  const std::string folder = directory.path() + "/step_1";
  train_and_save(run_of({}, at::kBFloat16), 1, folder);
  for (const Cut& to : cuts()) {
    ToyRun run = run_of(to, at::kBFloat16);
    run.steps = 0;
    run.before = [&](int, Optimizer& optimizer, ToyRank& toy) {
      CheckpointReader reader(folder);
      load_optimizer(reader, optimizer);
      for (const TensorBox& box : weight_boxes(toy.parameters())) {
        const Tensor weight = reader.read_whole(box.name, box.global_shape);
        EXPECT_TRUE(testing::same_bits(box.view, view_of(weight, box.box))) << box.name;
      }
    };
    run_toy(run);
  }
}

TEST(ParallelStateDeathTest, GapsAndOverlapsAreBugs) {
  const Tensor half = at::ones({2, 3});
  const TensorBox top{"w", {4, 3}, {{0, 0}, {2, 3}}, half}, bottom{"w", {4, 3}, {{2, 0}, {4, 3}}, half * 2};
  const std::vector<TensorBox> whole = assemble_boxes({bottom, top});
  ASSERT_EQ(whole.size(), 1u);
  EXPECT_TRUE(at::equal(whole[0].view, at::cat({half, half * 2})));
  EXPECT_EQ(whole[0].box, Box::whole({4, 3}));
  EXPECT_DEATH(assemble_boxes({top}), "no rank owns a part of w");
  EXPECT_DEATH(assemble_boxes({top, bottom, top}), "two ranks own the same part of w");
}

}  // namespace
}  // namespace phalanx
