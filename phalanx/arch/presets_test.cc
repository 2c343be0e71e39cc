#include "phalanx/arch/presets.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "phalanx/arch/parameter_table.h"

namespace phalanx {
namespace {

ModelConfig preset(std::string_view name) {
  ModelConfig config = find_preset(name).value();
  finalize(config);
  validate(config);
  return config;
}

int64_t count(std::string_view name) {
  return make_parameter_table(preset(name)).num_parameters();
}

TEST(Presets, EveryNameGivesAValidModel) {
  const std::vector<std::string> names = preset_names();
  EXPECT_EQ(names.size(), 47u);
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size());
  for (const std::string& name : names) {
    ASSERT_TRUE(find_preset(name).has_value()) << name;
    EXPECT_NO_THROW(preset(name)) << name;
  }
  EXPECT_FALSE(find_preset("gpt-5").has_value());
  EXPECT_FALSE(find_preset("").has_value());
}

// From transformers 5.23: the causal model of each configuration was built on torch.device("meta") and the elements of
// its parameters summed. The gpt3 rows are GPT2LMHeadModel with n_positions 2048.
TEST(Presets, CountsEqualTransformers) {
  EXPECT_EQ(count("tiny"), 478720);
  EXPECT_EQ(count("small"), 12318720);
  EXPECT_EQ(count("base"), 110025216);
  EXPECT_EQ(count("gpt2"), 124439808);
  EXPECT_EQ(count("gpt2-medium"), 354823168);
  EXPECT_EQ(count("gpt2-large"), 774030080);
  EXPECT_EQ(count("gpt2-xl"), 1557611200);
  EXPECT_EQ(count("gpt3-125m"), 125226240);
  EXPECT_EQ(count("gpt3-350m"), 355871744);
  EXPECT_EQ(count("gpt3-760m"), 760300032);
  EXPECT_EQ(count("gpt3-1.3b"), 1315723264);
  EXPECT_EQ(count("gpt3-2.7b"), 2651553280);
  EXPECT_EQ(count("gpt3-6.7b"), 6658404352);
  EXPECT_EQ(count("gpt3-13b"), 12853386240);
  EXPECT_EQ(count("gpt3-175b"), 174604259328);
  EXPECT_EQ(count("llama-2-7b"), 6738415616);
  EXPECT_EQ(count("llama-2-13b"), 13015864320);
  EXPECT_EQ(count("llama-2-70b"), 68976648192);
  EXPECT_EQ(count("llama-3-8b"), 8030261248);
  EXPECT_EQ(count("llama-3.1-8b"), 8030261248);
  EXPECT_EQ(count("llama-3-70b"), 70553706496);
  EXPECT_EQ(count("qwen2-0.5b"), 494032768);
  EXPECT_EQ(count("qwen2-1.5b"), 1543714304);
  EXPECT_EQ(count("qwen2-7b"), 7615616512);
  EXPECT_EQ(count("mistral-7b"), 7241732096);
}

// Exact sums of the parts in models.md 3.3, which prints 8.655, 8.237 and 8.540 billion.
TEST(Presets, WaleffesModelsHaveThePublishedCounts) {
  const int64_t table = 2 * int64_t{256000} * 4096;
  EXPECT_EQ(count("mamba2-hybrid-8b"),
            24 * int64_t{109640064} + 4 * int64_t{41947136} + 28 * int64_t{134221824} + table + 4096);
  EXPECT_EQ(count("mamba2-8b"), 56 * int64_t{109640064} + table + 4096);
  // Layer norms have a bias, which the parts do not: two a layer and the last.
  EXPECT_EQ(count("transformer-8b"),
            32 * (int64_t{67112960} + int64_t{134221824}) + table + 4096 + 65 * int64_t{4096});
  EXPECT_NEAR(static_cast<double>(count("mamba2-hybrid-8b")) / 1e9, 8.655, 5e-4);
  EXPECT_NEAR(static_cast<double>(count("mamba2-8b")) / 1e9, 8.237, 5e-4);
  EXPECT_NEAR(static_cast<double>(count("transformer-8b")) / 1e9, 8.540, 5e-4);
}

TEST(Presets, HybridsComeFromTheirRatios) {
  const ModelConfig big = preset("mamba2-hybrid-8b");
  EXPECT_EQ(big.pattern, "M-M-M--M-M*-M-M-M-M--M*-M-M-M-M-M*--M-M-M-M-M*-M--M-M-M-");
  EXPECT_EQ(big.mamba_num_heads, 128);
  EXPECT_EQ(big.mamba_inner(), 8192);
  EXPECT_EQ(big.mamba_norm_group_size, 1024);
  EXPECT_EQ(big.kv_channels, 128);
  EXPECT_EQ(big.num_query_groups, 8);
  EXPECT_EQ(big.ffn_hidden_size, 16384);
  EXPECT_EQ(big.position_embedding, PositionKind::kNone);
  EXPECT_EQ(preset("mamba2-hybrid-800m").pattern, "M-M-M--M-*M-M-M-M--*M-M-M-M-*M--M-M-M-*M-M--M-M-");
  EXPECT_EQ(preset("mamba2-8b").pattern, std::string(56, 'M'));
  EXPECT_EQ(preset("mamba2-8b").num_attention_heads, 0);
  ModelConfig shorter = *find_preset("mamba2-hybrid-8b");
  shorter.num_layers = 24;
  finalize(shorter);
  EXPECT_EQ(shorter.pattern, "M-M-M--*M-M-M-M-*M--M-M-");
  const ModelConfig reference = preset("transformer-8b");
  EXPECT_EQ(reference.activation, ActivationKind::kSquaredRelu);
  EXPECT_TRUE(reference.norm_1p);
  EXPECT_EQ(reference.num_query_groups, 32);
  EXPECT_EQ(reference.rotary_dim(), 64);
}

// Of a Mamba-1 layer, from the shapes of models.md 1.2, written out: mixer and norm.
int64_t mamba1_layer(int64_t hidden, int64_t states) {
  const int64_t inner = 2 * hidden;
  const int64_t rank = hidden / 16;
  return 2 * inner * hidden + (inner * 4 + inner) + (rank + 2 * states) * inner + (inner * rank + inner) +
         inner * states + inner + hidden * inner + hidden;
}

// A tied table of 50280 rows and the last norm.
TEST(Presets, Mamba1HasTheCountsOfItsShapes) {
  const auto shapes = [](int64_t layers, int64_t hidden) {
    return layers * mamba1_layer(hidden, 16) + 50280 * hidden + hidden;
  };
  EXPECT_EQ(count("mamba-130m"), shapes(24, 768));
  EXPECT_EQ(count("mamba-370m"), shapes(48, 1024));
  EXPECT_EQ(count("mamba-790m"), shapes(48, 1536));
  EXPECT_EQ(count("mamba-1.4b"), shapes(48, 2048));
  EXPECT_EQ(count("mamba-2.8b"), shapes(64, 2560));
  EXPECT_EQ(count("mamba-130m"), 129135360);
  const ModelConfig c = preset("mamba-2.8b");
  EXPECT_EQ(c.mamba1_dt_rank, 160);
  EXPECT_EQ(c.padded_vocab_size(), 50280);
  EXPECT_EQ(c.num_layers, 64);
}

// papers.md 5.1: 56 layers, width 4096, state 128, about 8.15 billion.
TEST(Presets, Mamba1OfTheComparisonHasTheCountOfItsShapes) {
  EXPECT_EQ(count("mamba-8b"), 56 * mamba1_layer(4096, 128) + 2 * int64_t{256000} * 4096 + 4096);
  EXPECT_NEAR(static_cast<double>(count("mamba-8b")) / 1e9, 8.15, 5e-3);
  EXPECT_EQ(preset("mamba-8b").position_embedding, PositionKind::kNone);
}

// 20 Mamba-2, 4 attention and 24 MLP layers of width 1024, from the shapes of models.md 2.1.
TEST(Presets, TheSmallHybridHasTheCountOfItsShapes) {
  const int64_t inner = 2048, heads = 32, states = 8 * 128, norm = 1024;
  const int64_t mamba = 1024 * (2 * inner + 2 * states + heads) + 5 * (inner + 2 * states) + 3 * heads +
                        inner + inner * 1024 + norm;
  const int64_t attention = 1024 * (1024 + 2 * 8 * 64) + 1024 * 1024 + norm;
  const int64_t mlp = 2 * 1024 * 4096 + norm;
  EXPECT_EQ(count("mamba2-hybrid-800m"),
            20 * mamba + 4 * attention + 24 * mlp + 2 * int64_t{256000} * 1024 + norm);
}

struct PublishedSize {
  const char* name;
  double billions;  // Table 1 of arXiv 2104.04473
};

// Equation 2 of the same paper leaves out the final norm (2 h) and nothing else.
TEST(Presets, TableOneAgreesWithEquationTwo) {
  const PublishedSize rows[] = {{"megatron-1.7b", 1.7},     {"megatron-3.6b", 3.6},
                                {"megatron-7.5b", 7.5},     {"megatron-18.4b", 18.4},
                                {"megatron-39.1b", 39.1},   {"megatron-76.1b", 76.1},
                                {"megatron-145.6b", 145.6}, {"megatron-310.1b", 310.1},
                                {"megatron-529.6b", 529.6}, {"megatron-1008b", 1008.0}};
  for (const PublishedSize& row : rows) {
    const ModelConfig c = preset(row.name);
    const int64_t l = c.num_layers;
    const int64_t h = c.hidden_size;
    // 12 l h^2 (1 + 13 / (12 h) + (V + s) / (12 l h)), multiplied out.
    const int64_t equation = 12 * l * h * h + 13 * l * h + (c.vocab_size + c.seq_length) * h;
    EXPECT_EQ(make_parameter_table(c).num_parameters(), equation + 2 * h) << row.name;
    // The published column is rounded to 0.1, once upwards from 1.65 and once from 18.45 downwards.
    EXPECT_NEAR(static_cast<double>(equation) / 1e9, row.billions, 0.06) << row.name;
  }
}

TEST(Presets, ChangingASizeChangesWhatFollows) {
  ModelConfig config = *find_preset("gpt2");
  config.hidden_size = 1536;
  config.seq_length = 512;
  finalize(config);
  EXPECT_EQ(config.kv_channels, 128);
  EXPECT_EQ(config.ffn_hidden_size, 6144);
  EXPECT_EQ(config.max_position_embeddings, 512);
}

TEST(Presets, PeersHaveLearnedPositionsTanhGeluTiedHeadNoDropout) {
  for (const char* name : {"tiny", "small", "base", "demo"}) {
    const ModelConfig c = preset(name);
    EXPECT_EQ(c.position_embedding, PositionKind::kLearnedAbsolute);
    EXPECT_EQ(c.activation, ActivationKind::kGeluTanh);
    EXPECT_TRUE(c.tied_embeddings);
    EXPECT_TRUE(c.bias);
    EXPECT_EQ(c.hidden_dropout, 0.0);
    EXPECT_EQ(c.attention_dropout, 0.0);
  }
}

TEST(Presets, DemoIsAFewMillionParametersOverBytes) {
  EXPECT_GE(count("demo"), 3000000);
  EXPECT_LE(count("demo"), 4000000);
  EXPECT_EQ(preset("demo").vocab_size, 257);
}

TEST(Presets, FamiliesDifferWhereTheyShould) {
  EXPECT_EQ(preset("mistral-7b").window_size, 4096);
  EXPECT_EQ(preset("llama-2-7b").window_size, 0);
  EXPECT_TRUE(preset("qwen2-7b").has_qkv_bias());
  EXPECT_FALSE(preset("qwen2-7b").bias);
  EXPECT_FALSE(preset("llama-3-8b").has_qkv_bias());
  EXPECT_EQ(preset("llama-3.1-8b").rope_scaling, RopeScalingKind::kLlama3);
  EXPECT_EQ(preset("llama-3-8b").rope_scaling, RopeScalingKind::kNone);
  EXPECT_EQ(preset("llama-3-8b").rotary_base, 500000.0);
  EXPECT_EQ(preset("llama-2-70b").num_query_groups, 8);
  EXPECT_EQ(preset("llama-2-7b").num_query_groups, 32);
}

}  // namespace
}  // namespace phalanx
