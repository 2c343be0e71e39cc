#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "phalanx/arch/parameter_table.h"
#include "phalanx/arch/presets.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

ModelConfig tiny(const std::string& pattern) {
  ModelConfig c;
  c.pattern = pattern;
  c.hidden_size = 8;
  c.vocab_size = 10;
  c.seq_length = 6;
  c.num_attention_heads = pattern.find('*') == std::string::npos ? 0 : 2;
  c.normalization = NormKind::kRmsNorm;
  c.position_embedding = PositionKind::kNone;
  c.mamba_state_dim = 3;
  c.mamba_head_dim = 4;
  c.mamba_num_groups = 2;
  c.mamba1_state_dim = 5;
  finalize(c);
  validate(c);
  return c;
}

std::string init_of(const LogicalTensor& t) {
  std::ostringstream out;
  switch (t.init) {
    case InitKind::kZero:
      return "zero";
    case InitKind::kOne:
      return "one";
    case InitKind::kNormal:
      out << "normal " << t.init_std;
      break;
    case InitKind::kUniform:
      out << "uniform " << t.init_low << ".." << t.init_high;
      break;
    case InitKind::kLogUniform:
      out << "log " << t.init_low << ".." << t.init_high;
      break;
    case InitKind::kInverseSoftplus:
      out << "step " << t.init_low << ".." << t.init_high << " over " << t.init_floor;
      break;
    case InitKind::kLogCount:
      return "log count";
  }
  return out.str();
}

// One line a logical tensor of layer 0: name [shape] shard, init, decay, fp32.
std::string golden(const ModelConfig& config) {
  std::ostringstream out;
  const ParameterTable table = make_parameter_table(config);
  for (const FusedParameter& parameter : table.parameters) {
    if (!parameter.name.starts_with("layers.0.")) continue;
    if (parameter.parts.size() > 1) out << parameter.name.substr(9) << ":\n";
    for (const LogicalTensor& part : parameter.parts) {
      out << (parameter.parts.size() > 1 ? "  " : "") << part.name.substr(9) << " [";
      for (size_t i = 0; i < part.shape.size(); ++i) out << (i > 0 ? " " : "") << part.shape[i];
      out << "] "
          << (part.shard == ShardRule::kColumn ? "column"
              : part.shard == ShardRule::kRow  ? "row"
                                               : "whole")
          << " " << init_of(part) << (part.decay ? " decay" : "") << (part.keep_fp32 ? " fp32" : "") << "\n";
    }
  }
  return out.str();
}

TEST(MambaTable, GoldenMamba2) {
  EXPECT_EQ(golden(tiny("MM")),
            "norm.weight [8] whole one\n"
            "mamba.in.weight:\n"
            "  mamba.z.weight [16 8] column normal 0.02 decay\n"
            "  mamba.x.weight [16 8] column normal 0.02 decay\n"
            "  mamba.B.weight [6 8] column normal 0.02 decay\n"
            "  mamba.C.weight [6 8] column normal 0.02 decay\n"
            "  mamba.dt.weight [4 8] column normal 0.02 decay\n"
            "mamba.conv.weight:\n"
            "  mamba.conv_x.weight [16 4] column uniform -0.5..0.5 decay\n"
            "  mamba.conv_B.weight [6 4] column uniform -0.5..0.5 decay\n"
            "  mamba.conv_C.weight [6 4] column uniform -0.5..0.5 decay\n"
            "mamba.conv.bias:\n"
            "  mamba.conv_x.bias [16] column uniform -0.5..0.5\n"
            "  mamba.conv_B.bias [6] column uniform -0.5..0.5\n"
            "  mamba.conv_C.bias [6] column uniform -0.5..0.5\n"
            "mamba.dt_bias [4] column step 0.001..0.1 over 0.0001 fp32\n"
            "mamba.A_log [4] column log 1..16 fp32\n"
            "mamba.D [4] column one fp32\n"
            "mamba.norm.weight [16] column one\n"
            "mamba.out.weight [8 16] row normal 0.0141421 decay\n");
}

TEST(MambaTable, GoldenMamba1) {
  ModelConfig c = tiny("m");
  c.mamba1_dt_rank = 4;
  EXPECT_EQ(golden(c),
            "norm.weight [8] whole one\n"
            "mamba1.in.weight:\n"
            "  mamba1.x.weight [16 8] column normal 0.02 decay\n"
            "  mamba1.z.weight [16 8] column normal 0.02 decay\n"
            "mamba1.conv.weight [16 4] column uniform -0.5..0.5 decay\n"
            "mamba1.conv.bias [16] column uniform -0.5..0.5\n"
            "mamba1.x_proj.weight:\n"
            "  mamba1.dt_low.weight [4 16] row normal 0.02 decay\n"
            "  mamba1.B.weight [5 16] row normal 0.02 decay\n"
            "  mamba1.C.weight [5 16] row normal 0.02 decay\n"
            "mamba1.dt_proj.weight [16 4] column uniform -0.5..0.5 decay\n"
            "mamba1.dt_bias [16] column step 0.001..0.1 over 0.0001 fp32\n"
            "mamba1.A_log [16 5] column log count fp32\n"
            "mamba1.D [16] column one fp32\n"
            "mamba1.out.weight [8 16] row normal 0.02 decay\n");
}

TEST(MambaTable, SwitchesOfTheConvolutionAndTheSteps) {
  for (const char* pattern : {"M", "m"}) {
    ModelConfig c = tiny(pattern);
    c.mamba_conv_kernel = 16;
    c.mamba_conv_bias = false;
    c.mamba_dt_init_min = 0.01;
    c.mamba_dt_init_max = 0.5;
    c.mamba_dt_init_floor = 0.02;
    c.norm_1p = true;  // stores norms as w - 1, but not a gated one
    c.bias = true;
    const std::string table = golden(c);
    EXPECT_THAT(table, StartsWith("norm.weight [8] whole zero\n"));
    EXPECT_THAT(table, HasSubstr(" 16] column uniform -0.25..0.25 decay\n"));
    EXPECT_THAT(table, HasSubstr("dt_bias [" + std::string(pattern[0] == 'M' ? "4" : "16") +
                                 "] column step 0.01..0.5 over 0.02 fp32\n"));
    EXPECT_THAT(table, testing::Not(HasSubstr(".bias ")));
    if (pattern[0] == 'M') {
      EXPECT_THAT(table, HasSubstr("mamba.norm.weight [16] column one\n"));
    }
  }
}

// Every layer is one branch of the stream, so all of them count.
TEST(MambaTable, OutputProjectionsDivideByTheRootOfTheLayers) {
  const ModelConfig config = tiny("M-M*m");
  const ParameterTable table = make_parameter_table(config);
  for (const char* name : {"layers.0.mamba.out.weight", "layers.1.mlp.down.weight",
                           "layers.3.attention.out.weight", "layers.4.mamba1.out.weight"}) {
    EXPECT_DOUBLE_EQ(table.at(name).parts[0].init_std, 0.02 / std::sqrt(5.0)) << name;
  }
}

// models.md 3.3; norms of the stream included.
TEST(MambaTable, LayersOfTheEightBillionHybrid) {
  ModelConfig config = *find_preset("mamba2-hybrid-8b");
  finalize(config);
  validate(config);
  std::vector<int64_t> sizes(56);
  const ParameterTable table = make_parameter_table(config);
  for (const LogicalTensor* tensor : table.logical_tensors()) {
    if (!tensor->name.starts_with("layers.")) continue;
    int64_t elements = 1;
    for (const int64_t size : tensor->shape) elements *= size;
    sizes[static_cast<size_t>(std::stoi(tensor->name.substr(7)))] += elements;
  }
  EXPECT_EQ(config.pattern, "M-M-M--M-M*-M-M-M-M--M*-M-M-M-M-M*--M-M-M-M-M*-M--M-M-M-");
  for (size_t i = 0; i < sizes.size(); ++i) {
    const char kind = config.pattern[i];
    EXPECT_EQ(sizes[i], kind == 'M' ? 109640064 : kind == '*' ? 41947136 : 134221824) << i;
  }
}

}  // namespace
}  // namespace phalanx
