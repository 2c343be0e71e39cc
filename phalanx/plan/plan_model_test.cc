#include "phalanx/plan/plan_model.h"

#include <cmath>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/arch/presets.h"
#include "phalanx/plan/published.h"

namespace phalanx {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;

PlanModel planned(ModelConfig config) {
  finalize(config);
  validate(config);
  return plan_model(config, "x");
}

TEST(PlanModel, TakesTheSizesOfAConfig) {
  const PlanModel model = planned(*find_preset("llama-3-8b"));
  EXPECT_EQ(model.name, "x");
  EXPECT_EQ(model.count(LayerKind::kAttention), 32);
  EXPECT_EQ(model.hidden, 4096);
  EXPECT_EQ(model.query_width(), 4096);
  EXPECT_EQ(model.key_width(), 1024);
  EXPECT_EQ(model.ffn, 14336);
  EXPECT_EQ(model.vocab, 128256);
  EXPECT_EQ(model.sequence, 8192);
  EXPECT_EQ(model.positions, 0);
  EXPECT_TRUE(model.gated_mlp);
  EXPECT_FALSE(model.bias);
  EXPECT_FALSE(model.norm_bias);
  EXPECT_FALSE(model.tied);
  EXPECT_FALSE(model.dropout);
  const PlanModel gpt = planned(*find_preset("gpt2"));
  EXPECT_EQ(gpt.positions, 1024);
  EXPECT_EQ(gpt.vocab, 50304);
  EXPECT_EQ(gpt.token_rows(), 50257);
}

TEST(PlanModel, TakesTheMambaSizesOfAHybrid) {
  ModelConfig config = *find_preset("mamba2-hybrid-800m");
  config.mamba_num_heads = 24;
  config.mamba_head_dim = 32;
  config.mamba_num_groups = 4;
  config.mamba_state_dim = 16;
  config.mamba_conv_kernel = 3;
  const PlanModel model = planned(config);
  EXPECT_EQ(model.mamba, (MambaSizes{.inner = 768, .state = 16, .groups = 4, .head_dim = 32, .conv = 3}));
  EXPECT_EQ(model.mamba.heads(), 24);
  EXPECT_THAT(model_violations(model), IsEmpty());
  config.pattern = "*-";
  config.num_layers = 0;
  config.hybrid_attention_ratio = config.hybrid_mlp_ratio = 0.0;
  EXPECT_EQ(planned(config).mamba, MambaSizes{});
}

TEST(PlanModel, EitherDropoutKeepsMasks) {
  ModelConfig config = *find_preset("gpt2");
  config.hidden_dropout = 0.1;
  EXPECT_TRUE(planned(config).dropout);
  config.hidden_dropout = 0;
  config.attention_dropout = 0.1;
  EXPECT_TRUE(planned(config).dropout);
}

TEST(PlanModel, AGptOfThePapers) {
  const PlanModel model = paper_gpt("22B", 48, 6144, 64);
  EXPECT_TRUE(is_transformer(model.pattern));
  EXPECT_EQ(model.count(LayerKind::kMlp), 48);
  EXPECT_EQ(model.head_dim, 96);
  EXPECT_EQ(model.kv_groups, 64);
  EXPECT_EQ(model.ffn, 4 * 6144);
  EXPECT_EQ(model.vocab, 51200);
  EXPECT_EQ(model.positions, 2048);
  EXPECT_TRUE(model.tied && model.bias && model.norm_bias && model.dropout);
  EXPECT_THAT(model_violations(model), IsEmpty());
}

// Megatron-LM's allocation from ratios, for 56 layers, 8% attention, 50% MLP.
std::string allocate(size_t layers, double attention_ratio, double mlp_ratio) {
  std::string text(layers, 'M');
  const double attention = std::nearbyint(static_cast<double>(layers) * attention_ratio);
  const double rest = static_cast<double>(layers) - attention;
  const auto place = [&](char kind, double every) {
    double x = every;
    for (char& layer : text) {
      if (layer != 'M') continue;
      const bool here = x < 0.5;
      if (here) layer = kind;
      x += here ? every : -1;
    }
  };
  place('*', rest / (attention + 1));
  const double mlps = std::nearbyint(static_cast<double>(layers) * mlp_ratio);
  place('-', (rest - mlps) / mlps);
  return text;
}

TEST(PlanModel, HybridHasThePublishedLayers) {
  const PlanModel model = hybrid_8b();
  EXPECT_EQ(expand(model.pattern), allocate(56, 0.08, 0.5));
  EXPECT_EQ(model.count(LayerKind::kMamba2), 24);
  EXPECT_EQ(model.count(LayerKind::kAttention), 4);
  EXPECT_EQ(model.count(LayerKind::kMlp), 28);
  EXPECT_EQ(model.mamba.heads(), 128);
  EXPECT_EQ(model.mamba.in_width(), 2 * 8192 + 2 * 8 * 128 + 128);
  for (const PlanModel& each : {hybrid_8b(), mamba2_8b(), transformer_8b()})
    EXPECT_THAT(model_violations(each), IsEmpty()) << each.name;
}

TEST(PlanModel, NamesEverySizeThatMakesNoSense) {
  PlanModel model = hybrid_8b();
  model.hidden = 0;
  model.kv_groups = 5;
  model.ffn = -1;
  model.mamba.head_dim = 60;
  EXPECT_THAT(model_violations(model),
              ElementsAre("hidden = 0 is below 1", "heads = 32 is no multiple of kv_groups = 5",
                          "ffn = -1 is below 1", "mamba.inner = 8192 is no multiple of mamba.head_dim = 60"));
  model = mamba2_8b();
  model.heads = 0;
  EXPECT_THAT(model_violations(model), IsEmpty()) << "no attention layer looks at heads";
  model.pattern = parse_pattern("MmM");
  EXPECT_THAT(model_violations(model),
              ElementsAre("mamba1.inner = 0 is below 1", "mamba1.dt_rank = 0 is below 1"));
  model.pattern = parse_pattern("MEM");
  EXPECT_THAT(model_violations(model), Contains(::testing::HasSubstr("layer 1 of kind E")));
  model.pattern = {};
  EXPECT_THAT(model_violations(model), Contains("the pattern has no layer"));
}

}  // namespace
}  // namespace phalanx
