// Generation: whatever way a sequence is cut into steps and mixed with others, a row gets what forward gives it.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "phalanx/nn/block.h"
#include "phalanx/nn/test_reference.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::nn {
namespace {

using phalanx::testing::relative_error;
using testing::TestModel;

// Dropout is set everywhere: step must not use it.
ModelConfig step_config(int64_t groups, int64_t window, PositionKind position, bool qk_norm) {
  ModelConfig config = testing::tiny_config();
  config.pattern = "*-*-";
  config.num_query_groups = groups;
  config.window_size = window;
  config.position_embedding = position;
  config.qk_norm = qk_norm;
  config.hidden_dropout = 0.5;
  config.attention_dropout = 0.5;
  return config;
}

struct Generator {
  explicit Generator(const ModelConfig& config, int64_t page_size, at::ScalarType dtype = at::kDouble)
      : model(config, dtype), modules(model.build()), cache(shapes(), page_size, at::TensorOptions(dtype)) {}

  std::vector<Cache::LayerShape> shapes() const {
    const ModelConfig& c = model.config();
    std::vector<Cache::LayerShape> result;
    for (const char kind : c.pattern) {
      Cache::LayerShape& shape = result.emplace_back();
      if (kind == '*') {
        shape.groups = c.num_query_groups;
        shape.head_dim = c.kv_channels;
      } else if (kind == 'M') {
        shape.taps = c.mamba_conv_kernel - 1;
        shape.channels = c.mamba_inner() + 2 * c.mamba_num_groups * c.mamba_state_dim;
        shape.state = {c.mamba_num_heads, c.mamba_head_dim, c.mamba_state_dim};
      } else if (kind == 'm') {
        shape.taps = c.mamba_conv_kernel - 1;
        shape.channels = c.mamba1_inner();
        shape.state = {c.mamba1_inner(), c.mamba1_state_dim};
      }
    }
    return result;
  }

  // Logits of all rows of a training-shaped batch without dropout, by forward.
  Tensor forward_logits(Batch batch) {
    batch.training = false;
    Side side;
    Stash none = Stash::null();
    Tensor x;
    for (size_t i = 0; i + 1 < modules.size(); ++i) x = modules[i]->forward(x, batch, side, none);
    return modules.back()->step(x, batch, side, cache);
  }

  Tensor step(const std::vector<int64_t>& tokens, const std::vector<int64_t>& positions,
              const std::vector<int64_t>& slots) {
    Batch batch;
    batch.seq_length = model.config().seq_length;
    batch.training = true;  // ignored
    batch.tokens = at::tensor(tokens);
    batch.position = at::tensor(positions);
    batch.slot = at::tensor(slots);
    Side side;
    Tensor x;
    for (const ModulePtr& module : modules) x = module->step(x, batch, side, cache);
    return x;
  }

  TestModel model;
  std::vector<ModulePtr> modules;
  Cache cache;
};

// Steps of (sequence, rows): chunked prefill, prefill beside decoding, decoding one by one, in changing order.
const std::vector<std::vector<std::pair<size_t, int64_t>>> kSteps = {
    {{0, 3}, {1, 1}}, {{1, 4}, {2, 2}, {0, 1}}, {{2, 1}}, {{0, 1}, {2, 1}, {1, 1}},
    {{0, 1}},         {{0, 1}, {2, 3}, {1, 1}}};

// Rows compared.
int expect_steps_equal_forward(Generator& generator, double bound = 1e-12) {
  int compared = 0;
  const Batch batch = testing::make_batch(generator.model.config(), {.num_samples = 3});
  const Tensor want = generator.forward_logits(batch);
  std::vector<int64_t> slots, done(3, 0);
  for (int s = 0; s < 3; ++s) slots.push_back(generator.cache.new_slot());
  for (const auto& step : kSteps) {
    std::vector<int64_t> tokens, positions, rows_slots, rows;
    for (const auto& [sequence, count] : step) {
      for (int64_t i = 0; i < count; ++i) {
        rows.push_back(static_cast<int64_t>(sequence) * 7 + done[sequence]);
        tokens.push_back(batch.tokens[rows.back()].item<int64_t>());
        positions.push_back(done[sequence]++);
        rows_slots.push_back(slots[sequence]);
      }
    }
    const Tensor got = generator.step(tokens, positions, rows_slots);
    EXPECT_LT(relative_error(got, want.index_select(0, at::tensor(rows))), bound);
    compared += static_cast<int>(rows.size());
  }
  EXPECT_EQ(done, (std::vector<int64_t>{7, 7, 7}));
  for (const int64_t slot : slots) {
    for (size_t layer = 0; layer < generator.model.config().pattern.size(); ++layer) {
      const bool attends = generator.model.config().pattern[layer] == '*';
      EXPECT_EQ(generator.cache.length(static_cast<int64_t>(layer), slot), attends ? 7 : 0);
    }
  }
  return compared;
}

TEST(Step, RaggedMixedStepsEqualForward) {
  int compared = 0;
  for (const int64_t groups : {4, 2}) {
    for (const int64_t window : {0, 3}) {
      for (const PositionKind position : {PositionKind::kLearnedAbsolute, PositionKind::kRope}) {
        for (const bool qk_norm : {false, true}) {
          Generator generator(step_config(groups, window, position, qk_norm), /*page_size=*/2);
          compared += expect_steps_equal_forward(generator);
        }
      }
    }
  }
  EXPECT_EQ(compared, 16 * 21);
}

ModelConfig state_space_config(const std::string& pattern) {
  ModelConfig config = step_config(2, 0, PositionKind::kNone, false);
  config.pattern = pattern;
  testing::set_tiny_mamba(config);
  config.mamba_chunk_size = 2;
  return config;
}

TEST(Step, StateSpaceLayersKeepWindowAndState) {
  int compared = 0;
  for (const char* pattern : {"M-M-", "m-m-", "M*m-"}) {
    Generator generator(state_space_config(pattern), /*page_size=*/2);
    compared += expect_steps_equal_forward(generator);
  }
  EXPECT_EQ(compared, 3 * 21);
}

// States stay fp32 beside half windows, keys and values.
TEST(Step, FloatAndHalfStepsFollowForward) {
  for (const auto& [dtype, bound] : {std::pair{at::kFloat, 1e-5}, std::pair{at::kBFloat16, 4e-2}}) {
    Generator generator(state_space_config("M*m-"), /*page_size=*/2, dtype);
    EXPECT_EQ(expect_steps_equal_forward(generator, bound), 21);
    EXPECT_EQ(generator.cache.states(0).scalar_type(), at::kFloat);
    EXPECT_EQ(generator.cache.windows(0).scalar_type(), dtype);
    EXPECT_EQ(generator.model.find("layers.0.mamba.A_log")->data.scalar_type(), at::kFloat);
  }
}

TEST(Step, StatesTakeTheSameMemoryAtAnyLengthAndStartAnew) {
  Generator generator(state_space_config("M-m-"), /*page_size=*/2);
  int64_t slot = generator.cache.new_slot();
  generator.step({1}, {0}, {slot});
  const Tensor first = generator.step({2}, {1}, {slot});
  const int64_t bytes = generator.cache.bytes_in_use();
  EXPECT_GT(bytes, 0);
  for (int64_t i = 2; i < 9; ++i) generator.step({3}, {i}, {slot});
  EXPECT_EQ(generator.cache.bytes_in_use(), bytes);
  generator.cache.free_slot(slot);
  EXPECT_EQ(generator.cache.bytes_in_use(), 0);
  slot = generator.cache.new_slot();  // in the same row of the pools
  generator.step({1}, {0}, {slot});
  EXPECT_TRUE(generator.step({2}, {1}, {slot}).equal(first));
}

void expect_copies_part(const ModelConfig& config) {
  Generator generator(config, /*page_size=*/2);
  Batch batch = testing::make_batch(generator.model.config(), {.num_samples = 2});
  batch.tokens.narrow(0, 7, 3).copy_(batch.tokens.narrow(0, 0, 3));  // the same three tokens first
  const Tensor want = generator.forward_logits(batch);
  const auto token = [&](int64_t row) { return batch.tokens[row].item<int64_t>(); };
  const int64_t a = generator.cache.new_slot();
  generator.step({token(0), token(1), token(2)}, {0, 1, 2}, {a, a, a});
  const int64_t b = generator.cache.copy_slot(a);
  for (int64_t i = 3; i < 7; ++i) {
    const Tensor got = generator.step({token(7 + i), token(i)}, {i, i}, {b, a});
    EXPECT_LT(relative_error(got[0], want[7 + i]), 1e-12);
    EXPECT_LT(relative_error(got[1], want[i]), 1e-12);
  }
}

TEST(Step, CopiedSlotsShareThePrefixAndPartThen) {
  expect_copies_part(step_config(2, 0, PositionKind::kRope, false));
  expect_copies_part(state_space_config("M*m-"));
}

TEST(Step, CacheLayerCanDifferFromThePatternIndex) {
  const ModelConfig config = step_config(2, 0, PositionKind::kRope, false);
  TestModel model(config);
  Cache cache({{2, 8}, {2, 8}}, 4, at::TensorOptions(at::kDouble));
  const ModulePtr layer = make_layer('*', 2, model.context(), /*cache_layer=*/1);
  const int64_t slot = cache.new_slot();
  Batch batch;
  batch.tokens = at::tensor(std::vector<int64_t>{1, 2});
  batch.position = at::tensor(std::vector<int64_t>{0, 1});
  batch.slot = at::tensor(std::vector<int64_t>{slot, slot});
  Side side;
  layer->step(phalanx::testing::random_tensor({2, 12}, 3), batch, side, cache);
  EXPECT_EQ(cache.length(0, slot), 0);
  EXPECT_EQ(cache.length(1, slot), 2);
}

}  // namespace
}  // namespace phalanx::nn
