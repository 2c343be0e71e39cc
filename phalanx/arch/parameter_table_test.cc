#include "phalanx/arch/parameter_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <sstream>

namespace phalanx {
namespace {

ModelConfig finalized(ModelConfig c) {
  finalize(c);
  validate(c);
  return c;
}

ModelConfig tiny_gpt() {
  ModelConfig c;
  c.num_layers = 1;
  c.hidden_size = 8;
  c.num_attention_heads = 2;
  c.vocab_size = 10;
  c.seq_length = 6;
  return c;
}

ModelConfig tiny_llama() {
  ModelConfig c = tiny_gpt();
  c.num_query_groups = 1;
  c.ffn_hidden_size = 12;
  c.normalization = NormKind::kRmsNorm;
  c.activation = ActivationKind::kSwiglu;
  c.position_embedding = PositionKind::kRope;
  c.bias = false;
  c.tied_embeddings = false;
  return c;
}

const char* shard_name(ShardRule rule) {
  switch (rule) {
    case ShardRule::kReplicated:
      return "replicated";
    case ShardRule::kColumn:
      return "column";
    case ShardRule::kRow:
      return "row";
    case ShardRule::kVocab:
      return "vocab";
  }
  return "?";
}

// One line a logical tensor: fused name: name [shape] shard init decay.
std::string golden(const ModelConfig& config) {
  std::ostringstream out;
  const ParameterTable table = make_parameter_table(config);
  for (const FusedParameter& parameter : table.parameters) {
    if (parameter.parts.size() > 1) out << parameter.name << ":\n";
    for (const LogicalTensor& part : parameter.parts) {
      out << (parameter.parts.size() > 1 ? "  " : "") << part.name << " [";
      for (size_t i = 0; i < part.shape.size(); ++i) out << (i > 0 ? " " : "") << part.shape[i];
      out << "] " << shard_name(part.shard) << " ";
      if (part.init == InitKind::kNormal) {
        out << part.init_std;
      } else {
        out << (part.init == InitKind::kOne ? "one" : "zero");
      }
      out << (part.decay ? " decay" : "") << "\n";
    }
  }
  return out.str();
}

TEST(ParameterTable, GoldenGpt) {
  EXPECT_EQ(golden(finalized(tiny_gpt())),
            "embedding.token.weight [10 8] vocab 0.02 decay\n"
            "embedding.position.weight [6 8] replicated 0.02 decay\n"
            "layers.0.norm.weight [8] replicated one\n"
            "layers.0.norm.bias [8] replicated zero\n"
            "layers.0.attention.qkv.weight:\n"
            "  layers.0.attention.q.weight [8 8] column 0.02 decay\n"
            "  layers.0.attention.k.weight [8 8] column 0.02 decay\n"
            "  layers.0.attention.v.weight [8 8] column 0.02 decay\n"
            "layers.0.attention.qkv.bias:\n"
            "  layers.0.attention.q.bias [8] column zero\n"
            "  layers.0.attention.k.bias [8] column zero\n"
            "  layers.0.attention.v.bias [8] column zero\n"
            "layers.0.attention.out.weight [8 8] row 0.0141421 decay\n"
            "layers.0.attention.out.bias [8] replicated zero\n"
            "layers.1.norm.weight [8] replicated one\n"
            "layers.1.norm.bias [8] replicated zero\n"
            "layers.1.mlp.up.weight [32 8] column 0.02 decay\n"
            "layers.1.mlp.up.bias [32] column zero\n"
            "layers.1.mlp.down.weight [8 32] row 0.0141421 decay\n"
            "layers.1.mlp.down.bias [8] replicated zero\n"
            "final_norm.weight [8] replicated one\n"
            "final_norm.bias [8] replicated zero\n");
}

TEST(ParameterTable, GoldenLlamaWithGroups) {
  EXPECT_EQ(golden(finalized(tiny_llama())),
            "embedding.token.weight [10 8] vocab 0.02 decay\n"
            "layers.0.norm.weight [8] replicated one\n"
            "layers.0.attention.qkv.weight:\n"
            "  layers.0.attention.q.weight [8 8] column 0.02 decay\n"
            "  layers.0.attention.k.weight [4 8] column 0.02 decay\n"
            "  layers.0.attention.v.weight [4 8] column 0.02 decay\n"
            "layers.0.attention.out.weight [8 8] row 0.0141421 decay\n"
            "layers.1.norm.weight [8] replicated one\n"
            "layers.1.mlp.gate_up.weight:\n"
            "  layers.1.mlp.gate.weight [12 8] column 0.02 decay\n"
            "  layers.1.mlp.up.weight [12 8] column 0.02 decay\n"
            "layers.1.mlp.down.weight [8 12] row 0.0141421 decay\n"
            "final_norm.weight [8] replicated one\n"
            "head.weight [10 8] vocab 0.02 decay\n");
}

TEST(ParameterTable, GoldenOddPatternWithEverySwitch) {
  ModelConfig c = tiny_llama();
  c.num_layers = 0;
  c.pattern = "**|-";
  c.kv_channels = 6;
  c.norm_1p = true;
  c.qk_norm = true;
  c.qkv_bias = true;
  c.init_std = 0.3;
  // Three branches: 0.3 / sqrt(3).
  EXPECT_EQ(golden(finalized(c)),
            "embedding.token.weight [10 8] vocab 0.3 decay\n"
            "layers.0.norm.weight [8] replicated zero\n"
            "layers.0.attention.qkv.weight:\n"
            "  layers.0.attention.q.weight [12 8] column 0.3 decay\n"
            "  layers.0.attention.k.weight [6 8] column 0.3 decay\n"
            "  layers.0.attention.v.weight [6 8] column 0.3 decay\n"
            "layers.0.attention.qkv.bias:\n"
            "  layers.0.attention.q.bias [12] column zero\n"
            "  layers.0.attention.k.bias [6] column zero\n"
            "  layers.0.attention.v.bias [6] column zero\n"
            "layers.0.attention.q_norm.weight [6] replicated zero\n"
            "layers.0.attention.k_norm.weight [6] replicated zero\n"
            "layers.0.attention.out.weight [8 12] row 0.173205 decay\n"
            "layers.1.norm.weight [8] replicated zero\n"
            "layers.1.attention.qkv.weight:\n"
            "  layers.1.attention.q.weight [12 8] column 0.3 decay\n"
            "  layers.1.attention.k.weight [6 8] column 0.3 decay\n"
            "  layers.1.attention.v.weight [6 8] column 0.3 decay\n"
            "layers.1.attention.qkv.bias:\n"
            "  layers.1.attention.q.bias [12] column zero\n"
            "  layers.1.attention.k.bias [6] column zero\n"
            "  layers.1.attention.v.bias [6] column zero\n"
            "layers.1.attention.q_norm.weight [6] replicated zero\n"
            "layers.1.attention.k_norm.weight [6] replicated zero\n"
            "layers.1.attention.out.weight [8 12] row 0.173205 decay\n"
            "layers.2.norm.weight [8] replicated zero\n"
            "layers.2.mlp.gate_up.weight:\n"
            "  layers.2.mlp.gate.weight [12 8] column 0.3 decay\n"
            "  layers.2.mlp.up.weight [12 8] column 0.3 decay\n"
            "layers.2.mlp.down.weight [8 12] row 0.173205 decay\n"
            "final_norm.weight [8] replicated zero\n"
            "head.weight [10 8] vocab 0.3 decay\n");
}

TEST(ParameterTable, GatedMlpWithBiasFusesBiasesToo) {
  ModelConfig c = tiny_llama();
  c.bias = true;
  const ModelConfig config = finalized(c);
  const ParameterTable table = make_parameter_table(config);
  const FusedParameter& bias = table.at("layers.1.mlp.gate_up.bias");
  ASSERT_EQ(bias.parts.size(), 2u);
  EXPECT_EQ(bias.parts[0].name, "layers.1.mlp.gate.bias");
  EXPECT_EQ(bias.parts[1].name, "layers.1.mlp.up.bias");
  EXPECT_TRUE(table.contains("layers.0.attention.qkv.bias"));
  EXPECT_TRUE(table.contains("layers.0.attention.out.bias"));
  EXPECT_FALSE(table.contains("layers.0.norm.bias"));  // RMS norm has none
  EXPECT_FALSE(table.contains("layers.1.mlp.up.bias"));
}

TEST(ParameterTable, OutputProjectionsDivideByTheRootOfTwiceTheLayers) {
  ModelConfig c = tiny_gpt();
  c.num_layers = 12;
  const ModelConfig config = finalized(c);
  const ParameterTable table = make_parameter_table(config);
  EXPECT_DOUBLE_EQ(table.at("layers.22.attention.out.weight").parts[0].init_std, 0.02 / std::sqrt(24.0));
  EXPECT_DOUBLE_EQ(table.at("layers.23.mlp.down.weight").parts[0].init_std, 0.02 / std::sqrt(24.0));
  EXPECT_DOUBLE_EQ(table.at("layers.23.mlp.up.weight").parts[0].init_std, 0.02);
}

// Over all switches: names are unique, ordinals count up from 0, decay is exactly that of matrices, parts of a fused
// parameter differ in dim 0 only, and the count is the sum of the shapes.
TEST(ParameterTable, Invariants) {
  int tables = 0;
  for (int bits = 0; bits < 1 << 8; ++bits) {
    const auto on = [bits](int bit) { return (bits >> bit & 1) != 0; };
    ModelConfig c = tiny_gpt();
    c.num_layers = 0;
    c.pattern = on(0) ? "(*-)x3" : "*-**-";
    c.bias = on(1);
    c.qkv_bias = on(2);
    c.activation = on(3) ? ActivationKind::kGeglu : ActivationKind::kGelu;
    c.normalization = on(4) ? NormKind::kRmsNorm : NormKind::kLayerNorm;
    c.tied_embeddings = on(5);
    c.position_embedding = on(6) ? PositionKind::kNone : PositionKind::kLearnedAbsolute;
    c.qk_norm = on(7);
    c.ffn_hidden_size = 20;
    const ModelConfig config = finalized(c);
    const ParameterTable table = make_parameter_table(config);
    std::set<std::string> names;
    int32_t ordinal = 0;
    int64_t elements = 0;
    for (const FusedParameter& parameter : table.parameters) {
      ASSERT_FALSE(parameter.parts.empty());
      if (parameter.parts.size() == 1) {
        ASSERT_EQ(parameter.name, parameter.parts[0].name);
      } else {
        ASSERT_TRUE(names.insert(parameter.name).second) << parameter.name;
      }
      ASSERT_TRUE(table.contains(parameter.name));
      ASSERT_EQ(&table.at(parameter.name), &parameter);
      for (const LogicalTensor& part : parameter.parts) {
        ASSERT_TRUE(names.insert(part.name).second) << part.name;
        ASSERT_EQ(part.ordinal, ordinal++);
        ASSERT_EQ(part.decay, part.shape.size() == 2) << part.name;
        ASSERT_EQ(part.init == InitKind::kNormal, part.shape.size() == 2) << part.name;
        ASSERT_EQ(part.shape.size(), parameter.parts[0].shape.size());
        if (part.shape.size() == 2) {
          ASSERT_EQ(part.shape[1], parameter.parts[0].shape[1]);
        }
        int64_t size = 1;
        for (const int64_t extent : part.shape) size *= extent;
        elements += size;
      }
    }
    ASSERT_EQ(table.num_parameters(), elements);
    ASSERT_EQ(table.logical_tensors().size(), static_cast<size_t>(ordinal));
    ++tables;
  }
  EXPECT_EQ(tables, 256);
}

TEST(ParameterTableDeathTest, AnAbsentNameIsABug) {
  const ModelConfig config = finalized(tiny_gpt());
  const ParameterTable table = make_parameter_table(config);
  EXPECT_FALSE(table.contains("layers.0.attention.q.weight"));  // a part, not a parameter
  EXPECT_DEATH(static_cast<void>(table.at("head.weight")), "no parameter head.weight");
}

}  // namespace
}  // namespace phalanx
