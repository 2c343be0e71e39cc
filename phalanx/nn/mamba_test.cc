// Mamba-1 and Mamba-2 layers against the plain recurrence, and over tensor groups against one rank.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "phalanx/nn/block.h"
#include "phalanx/nn/recompute.h"
#include "phalanx/nn/test_layouts.h"
#include "phalanx/nn/test_reference.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::nn {
namespace {

using phalanx::testing::random_tensor;
using testing::TestModel;
using testing::Values;

ModelConfig mamba_config(char kind) {
  ModelConfig config = testing::tiny_config();
  config.pattern = std::string(2, kind);
  config.normalization = NormKind::kRmsNorm;
  config.position_embedding = PositionKind::kNone;
  testing::set_tiny_mamba(config);
  return config;
}

std::string mismatch(const ModelConfig& config, const testing::BatchOptions& options) {
  TestModel model(config);
  const Batch batch = testing::make_batch(model.config(), options);
  const ModulePtr layer = make_layer(config.pattern[0], 0, model.context());
  const auto reference = [&](const Tensor& x, const Values& values) {
    return x + testing::reference_branch(x, values, 0, model.config(), batch);
  };
  return testing::module_mismatch(model, *layer, batch, reference);
}

TEST(Mamba2, GradientsOfEveryInputMatchTheRecurrence) {
  // groups, norm over all channels, norm before gate, documents, chunk, limits of delta, bias of the convolution
  const auto rows = testing::covering_rows({3, 2, 2, 2, 3, 2, 2}, 2);
  for (const std::vector<int>& row : rows) {
    ModelConfig config = mamba_config('M');
    config.mamba_num_groups = 1 << row[0];
    if (row[1] == 1) config.mamba_norm_group_size = 24;
    config.mamba_norm_before_gate = row[2] == 1;
    config.mamba_chunk_size = std::vector<int64_t>{3, 1, 16}[static_cast<size_t>(row[4])];
    if (row[5] == 1) {
      config.mamba_dt_min = 0.5;
      config.mamba_dt_max = 0.9;
    }
    config.mamba_conv_bias = row[6] == 0;
    EXPECT_EQ(mismatch(config, {.documents = row[3] == 1}), "") << ::testing::PrintToString(row);
  }
  EXPECT_GE(rows.size(), 9u);
}

TEST(Mamba1, GradientsOfEveryInputMatchTheRecurrence) {
  for (const bool documents : {false, true}) {
    for (const bool bias : {false, true}) {
      ModelConfig config = mamba_config('m');
      config.mamba_conv_bias = bias;
      EXPECT_EQ(mismatch(config, {.documents = documents}), "");
      config.mamba1_dt_rank = 5;
      EXPECT_EQ(mismatch(config, {.num_samples = 1, .documents = documents}), "");
    }
  }
}

// The reference itself has heads per group and norm groups; were they ignored, these would be one function.
TEST(Mamba2, TheSizeOfANormGroupMatters) {
  ModelConfig config = mamba_config('M');
  ModelConfig whole = config;
  whole.mamba_norm_group_size = 24;
  TestModel a(config);
  TestModel b(whole);
  const Batch batch = testing::make_batch(a.config());
  const Tensor x = random_tensor({14, 12}, 3);
  Side side;
  Stash none = Stash::null();
  const Tensor y_group = make_layer('M', 0, a.context())->forward(x, batch, side, none);
  const Tensor y_whole = make_layer('M', 0, b.context())->forward(x, batch, side, none);
  EXPECT_GT(phalanx::testing::relative_error(y_group, y_whole), 1e-3);
}

TEST(TensorParallel, Mamba2WithAsManyOrFewerGroupsThanRanks) {
  for (const int64_t groups : {4, 2, 1}) {
    for (const int64_t norm_group : {0, 24, 12}) {
      for (const bool documents : {false, true}) {
        ModelConfig config = testing::split_config();
        config.pattern = "MM";
        config.mamba_head_dim = 6;
        config.mamba_num_heads = 4;
        config.mamba_num_groups = groups;
        config.mamba_state_dim = 3;
        config.mamba_chunk_size = 4;
        config.mamba_norm_group_size = norm_group;
        EXPECT_EQ(testing::layouts_mismatch(config, testing::layer_part('M'), documents), "")
            << groups << " " << norm_group << " " << documents;
      }
    }
  }
}

TEST(TensorParallel, Mamba1) {
  for (const bool documents : {false, true}) {
    ModelConfig config = testing::split_config();
    config.pattern = "mm";
    config.mamba1_state_dim = 3;
    EXPECT_EQ(testing::layouts_mismatch(config, testing::layer_part('m'), documents), "");
  }
}

TEST(TensorParallel, AWholeHybrid) {
  ModelConfig config = testing::split_config();
  config.pattern = "M*-m";
  testing::set_tiny_mamba(config);
  config.mamba_chunk_size = 4;
  config.position_embedding = PositionKind::kNone;
  EXPECT_EQ(testing::layouts_mismatch(config, testing::model_part(config)), "");
}

}  // namespace
}  // namespace phalanx::nn
