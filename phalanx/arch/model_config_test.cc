#include "phalanx/arch/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "phalanx/arch/test_errors.h"

namespace phalanx {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

ModelConfig small() {
  ModelConfig c;
  c.num_layers = 2;
  c.hidden_size = 48;
  c.num_attention_heads = 4;
  c.vocab_size = 100;
  c.seq_length = 32;
  return c;
}

ModelConfig small_rope() {
  ModelConfig c = small();
  c.position_embedding = PositionKind::kRope;
  return c;
}

// The message for `small` (or `start`) after `change` and finalize.
template <typename Change>
std::string refused(Change change, ModelConfig start = small()) {
  change(start);
  finalize(start);
  return message_of([&] { validate(start); });
}

TEST(ModelConfig, FinalizeDerivesWhatIsZero) {
  ModelConfig c = small();
  finalize(c);
  EXPECT_EQ(c.pattern, "(*-)x2");
  EXPECT_EQ(c.num_query_groups, 4);
  EXPECT_EQ(c.kv_channels, 12);
  EXPECT_EQ(c.ffn_hidden_size, 192);
  EXPECT_EQ(c.max_position_embeddings, 32);
  EXPECT_NO_THROW(validate(c));
  ModelConfig again = c;
  finalize(again);
  EXPECT_EQ(again, c);
}

TEST(ModelConfig, FinalizeKeepsWhatIsGiven) {
  ModelConfig c = small();
  c.num_layers = 0;
  c.pattern = "*-*-|*-";
  c.num_query_groups = 2;
  c.kv_channels = 16;
  c.ffn_hidden_size = 100;
  c.max_position_embeddings = 64;
  const ModelConfig before = c;
  finalize(c);
  EXPECT_EQ(c.num_layers, 3);
  c.num_layers = 0;
  EXPECT_EQ(c, before);
}

// Megatron's int(8 h / 3 / 64) * 64.
TEST(ModelConfig, GatedWidthIsTwoThirdsInMultiplesOf64) {
  for (const auto& [hidden, ffn] :
       {std::pair<int64_t, int64_t>{4096, 10880}, {48, 128}, {768, 2048}, {1000, 2624}}) {
    ModelConfig c = small();
    c.hidden_size = hidden;
    c.activation = ActivationKind::kSwiglu;
    finalize(c);
    EXPECT_EQ(c.ffn_hidden_size, ffn) << hidden;
  }
}

TEST(ModelConfig, PaddedVocabulary) {
  ModelConfig c = small();
  EXPECT_EQ(c.padded_vocab_size(), 128);
  c.vocab_size = 50257;
  EXPECT_EQ(c.padded_vocab_size(), 50304);
  c.vocab_size = 50304;
  EXPECT_EQ(c.padded_vocab_size(), 50304);
}

TEST(ModelConfig, OddPatternsAreValidAndCountPairs) {
  ModelConfig c = small();
  c.num_layers = 0;
  c.pattern = "**-";
  finalize(c);
  EXPECT_EQ(c.num_layers, 1);
  EXPECT_NO_THROW(validate(c));
  c.num_layers = 0;
  c.pattern = "-";
  finalize(c);
  EXPECT_EQ(c.num_layers, 0);
  EXPECT_NO_THROW(validate(c));
}

TEST(ModelConfig, OneMistakeReadsAsOneSentence) {
  EXPECT_EQ(
      refused([](ModelConfig& c) { c.num_query_groups = 3; }),
      "model.num_query_groups: got 3 groups for 4 heads; needed a divisor of num_attention_heads. Fix: use 0 "
      "for one group a head");
}

TEST(ModelConfig, AllMistakesAreInOneReport) {
  const std::string message = refused([](ModelConfig& c) {
    c.num_attention_heads = 5;
    c.vocab_size = 0;
    c.norm_epsilon = 0.0;
    c.hidden_dropout = 1.0;
  });
  EXPECT_EQ(message,
            "model: got 4 problems:\n"
            "  model.vocab_size: got 0; needed 1 to 2147483648. Fix: set vocab_size, or name a tokenizer\n"
            "  model.num_attention_heads: got 5 heads for hidden_size 48; needed a divisor of hidden_size. "
            "Fix: change "
            "one of them, or set kv_channels (the size of a head)\n"
            "  model.norm_epsilon: got 0; needed a finite number above 0. Fix: use 1e-5\n"
            "  model.hidden_dropout: got 1; needed at least 0, less than 1. Fix: use 0 for no dropout");
}

TEST(ModelConfig, HeadsNeedNotDivideWhenTheirSizeIsGiven) {
  ModelConfig c = small();
  c.num_attention_heads = 5;
  c.kv_channels = 8;
  finalize(c);
  EXPECT_NO_THROW(validate(c));
}

TEST(ModelConfig, PatternMistakes) {
  EXPECT_THAT(refused([](ModelConfig& c) { c.pattern = "(*-x2"; }),
              AllOf(HasSubstr("model.pattern: got 'x' at character 4"), HasSubstr("\n    (*-x2\n       ^")));
  EXPECT_THAT(
      refused([](ModelConfig& c) { c.pattern = "*-*-*-"; }),
      HasSubstr("model.num_layers: got 2, but pattern *-*-*- has 3 `*-` pairs; needed the same number"));
  const auto with = [](const char* pattern) {
    return refused([&](ModelConfig& c) {
      c.num_layers = 0;
      c.pattern = pattern;
    });
  };
  EXPECT_THAT(with("*-E-M-"),
              HasSubstr("model.pattern: got layer 2 of kind E (experts); needed kinds that can be built: * "
                        "(attention), - (MLP), M (Mamba-2) and m (Mamba-1). Fix: leave that kind out"));
  EXPECT_THAT(with("*X"), HasSubstr("kind X (gated cross-attention)"));
  EXPECT_THAT(refused([](ModelConfig& c) { c.num_layers = 0; }),
              HasSubstr("model.num_layers: got 0; needed 1 to 32768"));
  EXPECT_THAT(refused([](ModelConfig& c) { c.num_layers = -1; }), HasSubstr("model.num_layers: got -1"));
  EXPECT_THAT(refused([](ModelConfig& c) { c.num_layers = 40000; }), HasSubstr("more than 65536 layers"));
}

TEST(ModelConfig, SizeMistakesAreReportedOnce) {
  const std::string message = refused([](ModelConfig& c) { c.hidden_size = 0; });
  EXPECT_THAT(message, HasSubstr("model.hidden_size: got 0; needed 1 to 1048576"));
  EXPECT_THAT(message, Not(HasSubstr("problems")));
  EXPECT_THAT(refused([](ModelConfig& c) { c.seq_length = 0; }), Not(HasSubstr("problems")));
  EXPECT_THAT(refused([](ModelConfig& c) { c.num_attention_heads = 0; }), Not(HasSubstr("problems")));
  EXPECT_THAT(refused([](ModelConfig& c) { c.ffn_hidden_size = -1; }),
              HasSubstr("model.ffn_hidden_size: got -1"));
  EXPECT_THAT(refused([](ModelConfig& c) { c.make_vocab_size_divisible_by = 0; }),
              HasSubstr("model.make_vocab_size_divisible_by: got 0"));
  EXPECT_THAT(refused([](ModelConfig& c) { c.window_size = -1; }), HasSubstr("model.window_size: got -1"));
  EXPECT_THAT(refused([](ModelConfig& c) { c.kv_channels = -4; }), HasSubstr("model.kv_channels: got -4"));
  EXPECT_THAT(refused([](ModelConfig& c) { c.kv_channels = 1 << 21; }),
              HasSubstr("model.kv_channels: got 4 heads of 2097152; needed at most 4194304 in all"));
}

TEST(ModelConfig, SequencesFitLearnedPositionsOnly) {
  EXPECT_THAT(refused([](ModelConfig& c) { c.max_position_embeddings = 16; }),
              HasSubstr("model.seq_length: got 32 tokens, but only 16 learned positions"));
  ModelConfig c = small_rope();
  c.max_position_embeddings = 16;
  finalize(c);
  EXPECT_NO_THROW(validate(c));
}

TEST(ModelConfig, RotaryMistakes) {
  const auto rope = [](auto change) { return refused(change, small_rope()); };
  EXPECT_THAT(rope([](ModelConfig& c) { c.rotary_percent = 0.6; }),
              HasSubstr("model.rotary_percent: got 0.6 of a head of 12, that is 7 rotating channels; needed "
                        "an even number"));
  EXPECT_THAT(rope([](ModelConfig& c) { c.rotary_percent = 0.1; }), HasSubstr("that is 1 rotating channels"));
  EXPECT_THAT(rope([](ModelConfig& c) { c.rotary_percent = 1.5; }),
              HasSubstr("model.rotary_percent: got 1.5; needed more than 0"));
  EXPECT_THAT(rope([](ModelConfig& c) { c.rotary_base = 0.0; }), HasSubstr("model.rotary_base: got 0"));
  EXPECT_THAT(rope([](ModelConfig& c) {
                c.rope_scaling = RopeScalingKind::kLinear;
                c.rope_scaling_factor = 0.5;
              }),
              HasSubstr("model.rope_scaling_factor: got 0.5; needed at least 1"));
  EXPECT_THAT(
      rope([](ModelConfig& c) {
        c.rope_scaling = RopeScalingKind::kLlama3;
        c.rope_high_freq_factor = 1.0;
        c.rope_original_max_position = 0;
      }),
      AllOf(HasSubstr("model.rope_high_freq_factor: got 1; needed more than rope_low_freq_factor (1)"),
            HasSubstr("model.rope_original_max_position: got 0")));
  EXPECT_THAT(refused([](ModelConfig& c) { c.rope_scaling = RopeScalingKind::kLinear; }),
              HasSubstr("model.rope_scaling: got a scaling rule without rotary positions"));
  ModelConfig half = small_rope();
  half.rotary_percent = 0.5;
  finalize(half);
  EXPECT_EQ(half.rotary_dim(), 6);
  EXPECT_NO_THROW(validate(half));
}

TEST(ModelConfig, NotANumberAndInfinityAreRefusedEverywhere) {
  ModelConfig c = small_rope();
  c.rope_scaling = RopeScalingKind::kLlama3;
  for (double* field :
       {&c.norm_epsilon, &c.init_std, &c.hidden_dropout, &c.attention_dropout, &c.rotary_base,
        &c.rotary_percent, &c.rope_scaling_factor, &c.rope_low_freq_factor, &c.rope_high_freq_factor}) {
    const double kept = *field;
    for (const auto& [value, text] : {std::pair{std::numeric_limits<double>::quiet_NaN(), "got nan"},
                                      {std::numeric_limits<double>::infinity(), "got inf"}}) {
      *field = value;
      ModelConfig broken = c;
      finalize(broken);
      EXPECT_THAT(message_of([&] { validate(broken); }), HasSubstr(text));
    }
    *field = kept;
  }
  finalize(c);
  EXPECT_NO_THROW(validate(c));
}

TEST(ModelConfig, HugeNumbersDoNotOverflow) {
  const int64_t huge = std::numeric_limits<int64_t>::max();
  ModelConfig c = small();
  for (int64_t* field : {&c.num_layers, &c.hidden_size, &c.num_attention_heads, &c.num_query_groups,
                         &c.kv_channels, &c.ffn_hidden_size, &c.vocab_size, &c.make_vocab_size_divisible_by,
                         &c.seq_length, &c.max_position_embeddings, &c.window_size}) {
    for (const int64_t value : {huge, -huge - 1}) {
      const int64_t kept = *field;
      *field = value;
      ModelConfig broken = c;
      finalize(broken);
      EXPECT_THROW(validate(broken), Error) << value;
      *field = kept;
    }
  }
}

template <typename E>
void expect_distinct_names(size_t count) {
  std::set<std::string_view> names;
  std::set<E> values;
  for (const EnumName<E>& entry : enum_names(E{})) {
    EXPECT_FALSE(entry.name.empty());
    names.insert(entry.name);
    values.insert(entry.value);
  }
  EXPECT_EQ(names.size(), count);
  EXPECT_EQ(values.size(), count);
}

TEST(ModelConfig, EnumsHaveNames) {
  expect_distinct_names<NormKind>(2);
  expect_distinct_names<ActivationKind>(5);
  expect_distinct_names<PositionKind>(3);
  expect_distinct_names<RopeScalingKind>(3);
}

struct Counter {
  std::set<std::string> names;
  template <typename T>
  void field(const char* name, T&, const char* help) {
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_STRNE(help, "");
  }
};

TEST(ModelConfig, FieldsHaveNamesAndHelp) {
  ModelConfig c;
  Counter counter;
  c.visit_fields(counter);
  EXPECT_EQ(counter.names.size(), 51u);
}

}  // namespace
}  // namespace phalanx
