// Every module over tensor groups of two and four, with and without sequence parallelism, against itself on one rank.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "phalanx/nn/recompute.h"
#include "phalanx/nn/test_layouts.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::nn {
namespace {

using phalanx::testing::random_tensor;
using phalanx::testing::relative_error;
using testing::Layout;
using testing::Part;
using testing::TestModel;

ModelConfig with_dropout() {
  ModelConfig config = testing::split_config();
  config.hidden_dropout = 0.2;
  config.attention_dropout = 0.2;
  return config;
}

Part one_module(std::function<ModulePtr(const BuildContext&)> make, bool reads = true, bool writes = true) {
  return {.build =
              [make = std::move(make)](const BuildContext& context) {
                std::vector<ModulePtr> modules;
                modules.push_back(make(context));
                return modules;
              },
          .reads_stream = reads,
          .writes_stream = writes};
}

TEST(TensorParallel, FinalNorm) {
  for (const NormKind kind : {NormKind::kLayerNorm, NormKind::kRmsNorm}) {
    ModelConfig config = testing::split_config();
    config.normalization = kind;
    EXPECT_EQ(testing::layouts_mismatch(config, one_module(make_final_norm)), "");
  }
}

TEST(TensorParallel, Mlp) {
  for (const ActivationKind activation : {ActivationKind::kGeluTanh, ActivationKind::kSwiglu}) {
    for (const bool bias : {true, false}) {
      ModelConfig config = with_dropout();
      config.activation = activation;
      config.bias = bias;
      config.normalization = bias ? NormKind::kLayerNorm : NormKind::kRmsNorm;
      EXPECT_EQ(testing::layouts_mismatch(config, testing::layer_part('-', 1)), "");
    }
  }
}

TEST(TensorParallel, AttentionWithAsManyOrFewerGroupsThanRanks) {
  for (const int64_t groups : {4, 2, 1}) {
    for (const bool qk_norm : {false, true}) {
      ModelConfig config = with_dropout();
      config.num_query_groups = groups;
      config.qk_norm = qk_norm;
      config.position_embedding = PositionKind::kRope;
      EXPECT_EQ(testing::layouts_mismatch(config, testing::layer_part('*')), "") << groups << " " << qk_norm;
    }
  }
}

TEST(TensorParallel, AttentionWithoutDropoutOverDocumentsAndWindows) {
  for (const int64_t window : {0, 3}) {
    ModelConfig config = testing::split_config();
    config.num_query_groups = 1;
    config.window_size = window;
    config.bias = false;
    EXPECT_EQ(testing::layouts_mismatch(config, testing::layer_part('*'), /*documents=*/true), "");
  }
}

TEST(TensorParallel, EmbeddingWhoseLastRankHoldsPaddingOnly) {
  for (const PositionKind position : {PositionKind::kLearnedAbsolute, PositionKind::kNone}) {
    ModelConfig config = with_dropout();
    config.position_embedding = position;
    EXPECT_EQ(testing::layouts_mismatch(config, one_module(make_embedding, /*reads=*/false)), "");
  }
}

TEST(TensorParallel, HeadWhoseLastRankHoldsPaddingOnly) {
  for (const bool tied : {true, false}) {
    ModelConfig config = testing::split_config();
    config.tied_embeddings = tied;
    EXPECT_EQ(testing::layouts_mismatch(config, one_module(make_head, true, /*writes=*/false)), "");
  }
}

// 211 tokens: 256 stored rows, 64 a rank of four, the last with 19 real ones; or 212, 53 a rank, one of padding.
TEST(TensorParallel, UnevenVocabulary) {
  for (const int64_t multiple : {128, 1}) {
    ModelConfig config = testing::split_config();
    config.vocab_size = 211;
    config.make_vocab_size_divisible_by = multiple;
    config.pattern = "-";
    EXPECT_EQ(testing::layouts_mismatch(config, testing::model_part(config)), "") << multiple;
  }
}

TEST(TensorParallel, WholeModel) {
  for (const bool tied : {true, false}) {
    ModelConfig config = with_dropout();
    config.pattern = "*-*-";
    config.num_query_groups = 2;
    config.tied_embeddings = tied;
    EXPECT_EQ(testing::layouts_mismatch(config, testing::model_part(config), /*documents=*/true), "") << tied;
  }
}

TEST(TensorParallel, WholeModelRecomputed) {
  ModelConfig config = with_dropout();
  config.num_query_groups = 1;
  config.activation = ActivationKind::kSwiglu;
  Part part = testing::model_part(config);
  part.build = [plain = part.build](const BuildContext& context) {
    std::vector<ModulePtr> modules = plain(context);
    for (size_t i = 1; i + 2 < modules.size(); ++i) {
      modules[i] = std::make_unique<Recompute>(std::move(modules[i]));
    }
    return modules;
  };
  EXPECT_EQ(testing::layouts_mismatch(config, part), "");
}

TEST(TensorParallel, WholeModelInFloatAndHalf) {
  ModelConfig config = with_dropout();
  config.num_query_groups = 1;
  for (const auto& [dtype, tolerance] : {std::pair{at::kFloat, 1e-5}, std::pair{at::kBFloat16, 5e-2}}) {
    TestModel model(config, dtype);
    const std::vector<Batch> batches = {testing::make_batch(model.config(), {.loss_dtype = at::kFloat})};
    const Part part = testing::model_part(config);
    const testing::PartRun want = testing::run_on_one(model, batches, part);
    for (const Layout& layout : testing::split_layouts()) {
      EXPECT_EQ(testing::difference(testing::run_split(model, batches, part, layout), want, tolerance), "")
          << c10::toString(dtype) << " tp " << layout.ranks << " sp " << layout.sequence_parallel;
    }
  }
}

TEST(TensorParallel, FrozenWeightsNeedNoGather) {
  const ModelConfig config = with_dropout();
  TestModel model(config);
  const Batch batch = testing::make_batch(model.config());
  testing::on_ranks(2, [&](testing::StrictGroup& group) {
    testing::RankModel rank(model, group, /*sequence_parallel=*/true);
    for (const char* name : {"up", "down"}) {
      rank.find(std::string("layers.1.mlp.") + name + ".weight")->trainable = false;
    }
    const ModulePtr layer = make_layer('-', 1, rank.context());
    const Batch mine = testing::batch_of_rank(batch, {2, true}, group.rank());
    Side side;
    Stash stash;
    WeightGrads grads;
    const Tensor x = mine.local(random_tensor({12, 12}, 3)).clone();
    layer->forward(x, mine, side, stash);
    group.calls.clear();
    EXPECT_EQ(layer->backward(x, mine, side, stash, grads).size(0), 6);
    EXPECT_EQ(group.calls, (std::vector<std::string>{"all_gather", "reduce_scatter"})) << "of dy and dx";
  });
}

// Scoring and generation keep all rows on every rank, also in a model that trains with sequence parallelism.
TEST(TensorParallel, WholeRowsWithoutBackward) {
  ModelConfig config = with_dropout();
  config.num_query_groups = 1;
  TestModel model(config);
  Batch batch = testing::make_batch(model.config());
  batch.slot = at::zeros({12}, at::kLong);
  batch.training = false;
  const Part part = testing::model_part(config);
  std::vector<ModulePtr> whole = part.build(model.context());
  Stash none = Stash::null();
  const Tensor nll = testing::run_forward(whole, batch, none);
  const auto logits_of = [](std::vector<ModulePtr>& modules, Batch rows, int64_t groups) {
    Cache cache({{groups, 8}, {}}, 4, at::TensorOptions(at::kDouble));
    Side side;
    std::vector<Tensor> logits;
    const int64_t slot = cache.new_slot();
    for (const int64_t begin : {0, 4}) {  // a prefill and a step of one sample
      Batch step = rows;
      for (Tensor* column : {&step.token_id, &step.tokens, &step.position, &step.slot}) {
        *column = column->narrow(0, begin, begin == 0 ? 4 : 1);
      }
      step.slot.fill_(slot);
      Tensor x;
      for (const ModulePtr& module : modules) x = module->step(x, step, side, cache);
      logits.push_back(x);
    }
    return at::cat(logits);
  };
  Tensor want;
  {
    const c10::NoGradGuard no_grad;
    want = logits_of(whole, batch, 1);
  }
  for (const Layout& layout : testing::split_layouts()) {
    testing::on_ranks(layout.ranks, [&](testing::StrictGroup& group) {
      testing::RankModel rank(model, group, layout.sequence_parallel);
      std::vector<ModulePtr> modules = part.build(rank.context());
      Stash null = Stash::null();
      EXPECT_LT(relative_error(testing::run_forward(modules, batch, null), nll), 1e-12);
      Batch mine = batch;
      mine.slot = batch.slot.clone();
      const Tensor logits = logits_of(modules, mine, groups_of_rank(model.config(), layout.ranks));
      EXPECT_EQ(logits.sizes(), (at::IntArrayRef{5, 11}));
      EXPECT_TRUE(logits.is_contiguous());
      EXPECT_LT(relative_error(logits, want), 1e-12);
    });
  }
}

TEST(TensorParallelDeathTest, BackwardOfRowsThatTheGradientsDoNotExpect) {
  TestModel model(testing::split_config());
  const Batch batch = testing::make_batch(model.config());
  testing::MirrorGroup group;
  testing::RankModel rank(model, group, /*sequence_parallel=*/true);
  const ModulePtr layer = make_layer('-', 1, rank.context());
  Side side;
  Stash stash;
  WeightGrads grads;
  const Tensor x = random_tensor({12, 12}, 3);
  layer->forward(x, batch, side, stash);
  EXPECT_DEATH(layer->backward(x, batch, side, stash, grads), "rows are sharded as the gradients");
}

}  // namespace
}  // namespace phalanx::nn
