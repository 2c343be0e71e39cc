#include "phalanx/nn/attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "phalanx/nn/test_reference.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::nn {
namespace {

using phalanx::testing::random_tensor;
using testing::TestModel;
using testing::Values;

// The layer around the branch is x + branch(x); its own dropout is off here.
std::string mismatch(const ModelConfig& config, const testing::BatchOptions& options) {
  TestModel model(config);
  const Batch batch = testing::make_batch(model.config(), options);
  const ModulePtr layer = make_layer('*', 0, model.context());
  const auto reference = [&](const Tensor& x, const Values& values) {
    return x + testing::reference_attention(x, values, 0, model.config(), batch);
  };
  return testing::module_mismatch(model, *layer, batch, reference);
}

TEST(SelfAttention, GradientsOfEveryInputMatchAutograd) {
  // groups, window, documents, position, q/k norm, norm kind, dropout, bias
  const auto rows = testing::covering_rows({3, 3, 2, 3, 2, 2, 2, 3}, 2);
  for (const std::vector<int>& row : rows) {
    ModelConfig config = testing::tiny_config();
    config.num_query_groups = 1 << row[0];
    config.window_size = std::vector<int64_t>{0, 1, 3}[static_cast<size_t>(row[1])];
    config.position_embedding = row[3] == 0 ? PositionKind::kNone : PositionKind::kRope;
    config.rotary_percent = row[3] == 1 ? 1.0 : 0.5;
    config.qk_norm = row[4] == 1;
    config.normalization = row[5] == 1 ? NormKind::kRmsNorm : NormKind::kLayerNorm;
    config.attention_dropout = row[6] == 1 ? 0.25 : 0.0;
    config.bias = row[7] == 1;
    config.qkv_bias = row[7] == 2;
    EXPECT_EQ(mismatch(config, {.documents = row[2] == 1}), "") << ::testing::PrintToString(row);
  }
  EXPECT_GE(rows.size(), 9u);
}

TEST(SelfAttention, OneRowSamplesAndOneSample) {
  ModelConfig config = testing::tiny_config();
  config.position_embedding = PositionKind::kRope;
  EXPECT_EQ(mismatch(config, {.num_samples = 1}), "");
  config.seq_length = 1;
  EXPECT_EQ(mismatch(config, {.num_samples = 5}), "");
}

TEST(SelfAttention, DropoutOnlyInTraining) {
  ModelConfig config = testing::tiny_config();
  config.attention_dropout = 0.5;
  EXPECT_EQ(mismatch(config, {.training = false}), "");
}

TEST(SelfAttention, DropoutDependsOnTheSampleNotOnItsRow) {
  ModelConfig config = testing::tiny_config();
  config.attention_dropout = 0.5;
  TestModel model(config);
  const ModulePtr layer = make_layer('*', 0, model.context());
  const Batch both = testing::make_batch(model.config(), {.num_samples = 2, .first_sample = 0});
  const Batch second = testing::make_batch(model.config(), {.num_samples = 1, .first_sample = 1});
  const Batch third = testing::make_batch(model.config(), {.num_samples = 1, .first_sample = 2});
  const Tensor x = random_tensor({14, 12}, 3);
  Side side;
  Stash none = Stash::null();
  const Tensor y = layer->forward(x, both, side, none).narrow(0, 7, 7);
  const Tensor last = x.narrow(0, 7, 7);
  EXPECT_LT(phalanx::testing::relative_error(layer->forward(last, second, side, none), y), 1e-13);
  EXPECT_GT(phalanx::testing::relative_error(layer->forward(last, third, side, none), y), 1e-2);
}

// A token sees nothing of later tokens, of other documents and of what its window has left behind: bit for bit.
TEST(SelfAttention, SeesOnlyWhatItMay) {
  ModelConfig config = testing::tiny_config();
  config.window_size = 3;
  config.position_embedding = PositionKind::kNone;
  TestModel model(config);
  const ModulePtr layer = make_layer('*', 0, model.context());
  Batch batch = testing::make_batch(model.config(), {.num_samples = 1});
  batch.document = at::tensor(std::vector<int64_t>{0, 0, 0, 0, 0, 1, 1});
  const Tensor x = random_tensor({7, 12}, 3);
  Side side;
  Stash none = Stash::null();
  const Tensor before = layer->forward(x, batch, side, none);
  for (int64_t changed = 0; changed < 7; ++changed) {
    Tensor other = x.clone();
    other[changed].neg_();
    const Tensor after = layer->forward(other, batch, side, none);
    for (int64_t i = 0; i < 7; ++i) {
      const bool sees = changed <= i && i - changed < 3 && (i < 5) == (changed < 5);
      EXPECT_EQ(!after[i].equal(before[i]), sees) << "row " << i << " and change in " << changed;
    }
  }
}

TEST(SelfAttention, NullStashKeepsNothing) {
  ModelConfig config = testing::tiny_config();
  config.qk_norm = true;
  TestModel model(config);
  const ModulePtr layer = make_layer('*', 0, model.context());
  Side side;
  Stash none = Stash::null();
  layer->forward(random_tensor({14, 12}, 3), testing::make_batch(model.config()), side, none);
  EXPECT_TRUE(none.empty());
  EXPECT_EQ(none.peak_bytes(), 0);
}

TEST(SelfAttentionDeathTest, UnevenSamplesAreABug) {
  TestModel model(testing::tiny_config());
  const ModulePtr layer = make_layer('*', 0, model.context());
  Batch batch = testing::make_batch(model.config());
  batch.num_samples = 4;
  Side side;
  Stash none = Stash::null();
  EXPECT_DEATH(layer->forward(random_tensor({14, 12}, 3), batch, side, none), "equally many rows");
}

}  // namespace
}  // namespace phalanx::nn
