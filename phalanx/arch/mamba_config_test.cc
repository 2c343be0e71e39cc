#include "phalanx/arch/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "phalanx/arch/pattern.h"
#include "phalanx/arch/test_errors.h"

namespace phalanx {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

ModelConfig hybrid(const std::string& pattern) {
  ModelConfig c;
  c.pattern = pattern;
  c.hidden_size = 48;
  c.vocab_size = 100;
  c.seq_length = 32;
  c.mamba_head_dim = 12;
  c.mamba_num_groups = 2;
  c.position_embedding = PositionKind::kNone;
  if (pattern.find('*') != std::string::npos) c.num_attention_heads = 4;
  return c;
}

ModelConfig checked(ModelConfig c) {
  finalize(c);
  validate(c);
  ModelConfig again = c;
  finalize(again);
  EXPECT_EQ(again, c);
  return c;
}

template <typename Change>
std::string refused(const std::string& pattern, Change change) {
  ModelConfig c = hybrid(pattern);
  change(c);
  finalize(c);
  return message_of([&] { validate(c); });
}

TEST(MambaConfig, DerivesTheSizesOfItsLayers) {
  const ModelConfig c = checked(hybrid("M-*|mM"));
  EXPECT_TRUE(c.is_hybrid_model);
  EXPECT_EQ(c.num_layers, 5);
  EXPECT_EQ(c.mamba_num_heads, 8);
  EXPECT_EQ(c.mamba_inner(), 96);
  EXPECT_EQ(c.mamba_norm_group_size, 48);
  EXPECT_EQ(c.mamba1_dt_rank, 3);
  EXPECT_EQ(c.mamba1_inner(), 96);
  EXPECT_EQ(c.mamba_dt_limit(), kInfinity);
  ModelConfig wide = hybrid("mM");
  wide.mamba_num_heads = 6;
  wide.mamba1_expand = 3;
  wide.mamba1_dt_rank = 7;
  wide.mamba_norm_group_size = 72;  // of the whole width, as in Hugging Face's mamba2
  wide.mamba_dt_max = 0.25;
  wide = checked(wide);
  EXPECT_EQ(wide.mamba_inner(), 72);
  EXPECT_EQ(wide.mamba_norm_group_size, 72);
  EXPECT_EQ(wide.mamba1_inner(), 144);
  EXPECT_EQ(wide.mamba1_dt_rank, 7);
  EXPECT_EQ(wide.mamba_dt_limit(), 0.25);
  wide.hidden_size = 33;
  wide.mamba1_dt_rank = 0;
  EXPECT_EQ(checked(wide).mamba1_dt_rank, 3);  // rounded up
}

TEST(MambaConfig, LeavesAloneWhatThePatternLacks) {
  ModelConfig gpt = hybrid("*-");
  gpt.mamba_head_dim = gpt.mamba_num_groups = gpt.mamba_conv_kernel = gpt.mamba1_expand = -1;
  gpt.mamba_dt_max = std::nan("");
  ModelConfig same = gpt;
  finalize(same);
  EXPECT_NO_THROW(validate(same));
  EXPECT_FALSE(same.is_hybrid_model);
  EXPECT_EQ(same.mamba_num_heads, 0);
  EXPECT_EQ(same.mamba_norm_group_size, 0);
  EXPECT_EQ(same.mamba1_dt_rank, 0);
  ModelConfig pure = hybrid("(M)x3");
  pure.num_attention_heads = 0;
  pure.kv_channels = -3;
  pure.ffn_hidden_size = -3;
  pure.mamba1_state_dim = -3;
  EXPECT_EQ(checked(pure).mamba1_dt_rank, 0);
  ModelConfig first = hybrid("m");
  first.mamba_state_dim = first.mamba_num_groups = 0;
  EXPECT_EQ(checked(first).mamba_num_heads, 0);
  EXPECT_THAT(refused("M*", [](ModelConfig& c) { c.num_attention_heads = 0; }),
              HasSubstr("model.num_attention_heads: got 0"));
}

TEST(MambaConfig, SizesThatDoNotFit) {
  EXPECT_EQ(
      refused("M", [](ModelConfig& c) { c.mamba_head_dim = 20; }),
      "model.mamba_num_heads: got heads of 20 for an inner width of 2 x 48; needed mamba_head_dim to divide "
      "2 hidden_size. Fix: change one of them, or set mamba_num_heads");
  EXPECT_EQ(
      refused("M", [](ModelConfig& c) { c.mamba_num_groups = 3; }),
      "model.mamba_num_groups: got 3 groups for 8 heads; needed a divisor of mamba_num_heads. Fix: change one "
      "of them");
  EXPECT_EQ(refused("M", [](ModelConfig& c) { c.mamba_norm_group_size = 36; }),
            "model.mamba_norm_group_size: got 36 of 96 channels; needed a divisor of mamba_num_heads x "
            "mamba_head_dim. Fix: use 0 for the channels of a group, or all of them for one norm");
  EXPECT_THAT(refused("M", [](ModelConfig& c) { c.hidden_size = 0; }), Not(HasSubstr("problems")));
  EXPECT_THAT(refused("m", [](ModelConfig& c) { c.hidden_size = 0; }), Not(HasSubstr("problems")));
  EXPECT_THAT(
      refused("m", [](ModelConfig& c) { c.mamba1_expand = 100000; }),
      HasSubstr("model.mamba1_expand: got 100000 times hidden_size 48; needed at most 4194304 in all"));
  EXPECT_THAT(refused("m", [](ModelConfig& c) { c.mamba1_dt_rank = -1; }),
              HasSubstr("mamba1_dt_rank: got -1"));
  EXPECT_THAT(refused("M", [](ModelConfig& c) { c.mamba_conv_kernel = 65; }),
              HasSubstr("model.mamba_conv_kernel: got 65; needed 1 to 64"));
}

TEST(MambaConfig, EveryMistakeIsInOneReport) {
  const std::string message = refused("Mm", [](ModelConfig& c) {
    c.mamba_state_dim = 0;
    c.mamba_head_dim = 0;
    c.mamba_num_groups = 0;
    c.mamba_conv_kernel = 0;
    c.mamba_chunk_size = 0;
    c.mamba1_state_dim = 0;
    c.mamba1_expand = 0;
    c.mamba_dt_min = -1.0;
    c.mamba_dt_init_min = 0.0;
    c.mamba_dt_init_max = 0.0;
    c.mamba_dt_init_floor = 0.0;
  });
  EXPECT_THAT(message, HasSubstr("model: got 11 problems:"));
  for (const char* field : {"mamba_state_dim", "mamba_head_dim", "mamba_num_groups", "mamba_conv_kernel",
                            "mamba_chunk_size", "mamba1_state_dim", "mamba1_expand", "mamba_dt_min",
                            "mamba_dt_init_min", "mamba_dt_init_max", "mamba_dt_init_floor"}) {
    EXPECT_THAT(message, HasSubstr(std::string("model.") + field + ": got"));
  }
}

TEST(MambaConfig, StepSizes) {
  EXPECT_THAT(refused("M",
                      [](ModelConfig& c) {
                        c.mamba_dt_min = 0.1;
                        c.mamba_dt_max = 0.1;
                      }),
              HasSubstr("model.mamba_dt_max: got 0.1; needed more than mamba_dt_min (0.1)"));
  EXPECT_THAT(
      refused("M", [](ModelConfig& c) { c.mamba_dt_max = kInfinity; }),
      HasSubstr("model.mamba_dt_max: got inf; needed a finite number of at least 0. Fix: use 0 for no"));
  EXPECT_THAT(refused("m", [](ModelConfig& c) { c.mamba_dt_init_max = 1e-4; }),
              HasSubstr("model.mamba_dt_init_max: got 0.0001; needed at least mamba_dt_init_min (0.001)"));
  for (double ModelConfig::*field :
       {&ModelConfig::mamba_dt_min, &ModelConfig::mamba_dt_max, &ModelConfig::mamba_dt_init_min,
        &ModelConfig::mamba_dt_init_max, &ModelConfig::mamba_dt_init_floor}) {
    EXPECT_THAT(refused("M", [&](ModelConfig& c) { c.*field = std::nan(""); }), HasSubstr("got nan"));
    EXPECT_THAT(refused("M", [&](ModelConfig& c) { c.*field = kInfinity; }), HasSubstr("got inf"));
  }
}

TEST(MambaConfig, HugeNumbersDoNotOverflow) {
  const int64_t huge = std::numeric_limits<int64_t>::max();
  for (int64_t ModelConfig::*field :
       {&ModelConfig::hidden_size, &ModelConfig::mamba_state_dim, &ModelConfig::mamba_head_dim,
        &ModelConfig::mamba_num_groups, &ModelConfig::mamba_num_heads, &ModelConfig::mamba_conv_kernel,
        &ModelConfig::mamba_chunk_size, &ModelConfig::mamba_norm_group_size, &ModelConfig::mamba1_state_dim,
        &ModelConfig::mamba1_expand, &ModelConfig::mamba1_dt_rank, &ModelConfig::num_layers}) {
    for (const int64_t value : {huge, -huge - 1, int64_t{1} << 23}) {
      EXPECT_NE(refused("Mm", [&](ModelConfig& c) { c.*field = value; }), "") << value;
    }
  }
}

TEST(HybridConfig, RatiosMakeThePattern) {
  ModelConfig c = hybrid("");
  c.num_layers = 24;
  c.num_attention_heads = 4;
  c.hybrid_attention_ratio = 0.08;
  c.hybrid_mlp_ratio = 0.5;
  const ModelConfig made = checked(c);
  EXPECT_EQ(made.pattern, "M-M-M--*M-M-M-M-*M--M-M-");
  EXPECT_EQ(made.num_layers, 24);
  EXPECT_TRUE(made.is_hybrid_model);
  c.hybrid_attention_ratio = c.hybrid_mlp_ratio = 0.0;
  c.num_attention_heads = 0;
  c.is_hybrid_model = true;
  EXPECT_EQ(checked(c).pattern, std::string(24, 'M'));
  // Without a word of hybrids num_layers counts pairs, as ever.
  c.is_hybrid_model = false;
  c.num_attention_heads = 4;
  EXPECT_EQ(checked(c).pattern, "(*-)x24");
  // A hybrid without a Mamba layer counts characters all the same.
  c.pattern = "*-*-";
  c.num_layers = 4;
  c.is_hybrid_model = true;
  EXPECT_EQ(checked(c).num_layers, 4);
}

TEST(HybridConfig, AGivenPatternHasTheCountsOfTheRatios) {
  ModelConfig c = hybrid("MM*-M*M-");
  c.hybrid_attention_ratio = c.hybrid_mlp_ratio = 0.25;
  EXPECT_EQ(checked(c).num_layers, 8);
  c.pattern = "*-*-MMMM";  // other places, same counts
  EXPECT_EQ(checked(c).pattern, "*-*-MMMM");
  EXPECT_EQ(
      refused("MM*-M*M-",
              [](ModelConfig& m) {
                m.hybrid_attention_ratio = 0.25;
                m.hybrid_mlp_ratio = 0.5;
              }),
      "model.pattern: got 2 attention and 2 MLP layers of 8, but the ratios 0.25 and 0.5 ask for 2 and 4; "
      "needed the same counts. Fix: set hybrid_attention_ratio and hybrid_mlp_ratio to 0: the pattern decides");
  EXPECT_THAT(refused("M*-M", [](ModelConfig& m) { m.num_layers = 1; }),
              HasSubstr("model.num_layers: got 1, but pattern M*-M has 4 layers; needed the same number"));
}

TEST(HybridConfig, RatiosThatMakeNone) {
  const auto with = [](double attention, double mlp, int64_t layers = 8) {
    return refused("", [&](ModelConfig& c) {
      c.num_layers = layers;
      c.hybrid_attention_ratio = attention;
      c.hybrid_mlp_ratio = mlp;
    });
  };
  EXPECT_EQ(
      with(1.5, 0.0),
      "model.hybrid_attention_ratio: got 1.5; needed 0 to 1. Fix: it is a share of the residual layers, such "
      "as 0.08");
  EXPECT_THAT(with(0.25, -0.5), HasSubstr("model.hybrid_mlp_ratio: got -0.5; needed 0 to 1"));
  EXPECT_THAT(with(std::nan(""), 0.5), HasSubstr("model.hybrid_attention_ratio: got nan"));
  EXPECT_THAT(with(2.0, kInfinity),
              AllOf(HasSubstr("hybrid_attention_ratio"), HasSubstr("hybrid_mlp_ratio")));
  EXPECT_EQ(
      with(0.5, 0.75),
      "model.hybrid_mlp_ratio: got 0.75, which with 0.5 of attention is above 1; needed shares of at most 1 in "
      "all. Fix: lower one of them");
  EXPECT_THAT(with(0.5, 0.5, 7), HasSubstr("model.hybrid_mlp_ratio: got 4 attention and 4 MLP layers of 7"));
  EXPECT_THAT(with(0.0, 0.5, 70000), HasSubstr("model.num_layers: got 70000; needed 1 to 65536"));
  EXPECT_THAT(with(0.0, 0.5, 0), HasSubstr("model.num_layers: got 0; needed 1 to 65536"));
}

}  // namespace
}  // namespace phalanx
