#include "phalanx/train/report.h"

#include <gtest/gtest.h>

#include <tuple>

#include "phalanx/base/fs.h"

namespace phalanx {
namespace {

ModelConfig model_of(const std::string& pattern) {
  ModelConfig m;
  m.pattern = pattern;
  m.hidden_size = 16;
  m.num_attention_heads = 2;
  m.vocab_size = 50;
  m.seq_length = 8;
  finalize(m);
  return m;
}

TEST(FlopsShape, CountsTheLayersOfEachKindNotThePairs) {
  const std::tuple<const char*, int64_t, int64_t> cases[] = {
      {"(*-)x3", 3, 3}, {"-*", 1, 1}, {"*", 1, 0}, {"---", 0, 3}, {"*--|*-*", 3, 3}, {"**-", 2, 1}};
  for (const auto& [pattern, attention, mlp] : cases) {
    const GptFlopsShape shape = flops_shape(model_of(pattern));
    EXPECT_EQ(shape.attention_layers, attention) << pattern;
    EXPECT_EQ(shape.mlp_layers, mlp) << pattern;
    EXPECT_GT(gpt_flops(shape, 1, 8), 0) << pattern;
  }
}

TEST(FlopsShape, TakesTheResolvedSizes) {
  ModelConfig m = model_of("*-");
  const GptFlopsShape shape = flops_shape(m);
  EXPECT_EQ(shape.hidden, 16);
  EXPECT_EQ(shape.head_dim, 8);
  EXPECT_EQ(shape.heads, 2);
  EXPECT_EQ(shape.kv_groups, m.num_query_groups);
  EXPECT_EQ(shape.mlp_hidden, m.ffn_hidden_size);
  EXPECT_EQ(shape.vocab, m.padded_vocab_size());
  EXPECT_EQ(shape.gated_mlp, is_gated(m.activation));
}

// By hand, per token and forward: products with 2 x 16 x 84 and 2 x 32 x 16, 4 taps of 48 channels, a scan in chunks of 64
// (64 x (2 x 4 + 32) + 4 x 32 x 4); attention 2 x 4 x 16 x 16 and half of 8 keys, 2 x 8 x 16; an MLP of 64.
TEST(TrainFlops, CountsAScanByItsProducts) {
  for (const auto& [pattern, per_token] :
       {std::pair{"M", 2688 + 1024 + 384 + 3072}, std::pair{"M*-", 7168 + 2048 + 256 + 4096}}) {
    ModelConfig m;
    m.pattern = pattern;
    m.hidden_size = 16;
    m.num_attention_heads = 2;
    m.mamba_num_heads = 4;
    m.mamba_head_dim = 8;
    m.mamba_num_groups = 2;
    m.mamba_state_dim = 4;
    m.vocab_size = 50;
    m.seq_length = 8;
    finalize(m);
    const auto head = static_cast<double>(2 * 16 * m.padded_vocab_size());
    EXPECT_DOUBLE_EQ(train_flops(m, 2), 3 * 16 * (per_token + head)) << pattern;
  }
}

TEST(RunReport, CountsTheWorkARankAndTheTokensOfAll) {
  RunConfig config;
  config.model = model_of("*-");
  const TemporaryDirectory folder;
  config.runtime.run_dir = folder.path();
  config.log.tensorboard_dir = folder.path() + "/tensorboard";
  const double flops = 3 * train_flops(config.model, 1);
  RunReport report(config, {.last_step = 2, .ranks = 4, .peak_flops = 2 * flops});
  StepMetrics all{.step = 1, .tokens = 24, .seconds = 2};
  report.step(all, 3, 24);
  EXPECT_DOUBLE_EQ(all.tokens_per_s, 12);
  EXPECT_DOUBLE_EQ(all.tflops, flops / 2 / 4 / 1e12);
  EXPECT_DOUBLE_EQ(all.mfu, 0.25);
  StepMetrics some{.step = 2, .tokens = 24, .seconds = 2};
  report.step(some, 3, 4);
  report.finish();
  const auto logits = static_cast<double>(config.model.hidden_size * config.model.padded_vocab_size());
  EXPECT_DOUBLE_EQ(some.tokens_per_s, 12);
  EXPECT_DOUBLE_EQ(some.tflops, (flops - 20 * 6 * logits) / 2 / 4 / 1e12);
}

}  // namespace
}  // namespace phalanx
