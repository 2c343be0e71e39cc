#include "phalanx/train/report.h"

#include <gtest/gtest.h>

#include <tuple>

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

}  // namespace
}  // namespace phalanx
