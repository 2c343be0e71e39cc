#include "phalanx/telemetry/flops.h"

#include <gtest/gtest.h>

namespace phalanx {
namespace {

const GptFlopsShape kGpt{.attention_layers = 4,
                         .mlp_layers = 4,
                         .hidden = 512,
                         .mlp_hidden = 2048,
                         .vocab = 32000,
                         .heads = 8,
                         .kv_groups = 8,
                         .head_dim = 64};

// Megatron-LM's own function gave these numbers.
TEST(Flops, GoldenVectors) {
  EXPECT_EQ(gpt_flops(kGpt, 2, 1024), 381715218432.0);

  GptFlopsShape swiglu = kGpt;
  swiglu.mlp_hidden = 1376;
  swiglu.gated_mlp = true;
  swiglu.kv_groups = 2;
  EXPECT_EQ(gpt_flops(swiglu, 2, 1024), 363193171968.0);

  const GptFlopsShape large{.attention_layers = 96,
                            .mlp_layers = 96,
                            .hidden = 12288,
                            .mlp_hidden = 4 * 12288,
                            .vocab = 131072,
                            .heads = 96,
                            .kv_groups = 96,
                            .head_dim = 128};
  EXPECT_EQ(gpt_flops(large, 1152, 4096), 5.107081977438142e18);
}

TEST(Flops, PackedDocumentsCountTheirOwnSquares) {
  EXPECT_EQ(gpt_flops_packed(kGpt, 2048, 2.0 * 1024 * 1024), gpt_flops(kGpt, 2, 1024));
  // Halving the documents halves the attention core 6 Q q L and nothing else.
  const double core = 6.0 * 2 * 1024 * 1024 * 512 * 4;
  EXPECT_EQ(gpt_flops(kGpt, 2, 1024) - gpt_flops(kGpt, 4, 512), core / 2);
}

// By hand, from the equation: 2048 tokens, 2 * 1024^2 squared lengths.
TEST(Flops, LayersOfEachKindCountAlone) {
  const double logits = 6.0 * 2048 * 512 * 32000;
  const double attention = 6.0 * 2048 * 4 * 512 * 512 + 6.0 * 2 * 1024 * 1024 * 512;
  const double mlp = 6.0 * 2048 * 512 * 2 * 2048;
  const auto flops = [](int64_t attention_layers, int64_t mlp_layers) {
    GptFlopsShape shape = kGpt;
    shape.attention_layers = attention_layers;
    shape.mlp_layers = mlp_layers;
    return gpt_flops(shape, 2, 1024);
  };
  EXPECT_EQ(flops(1, 0), attention + logits);
  EXPECT_EQ(flops(0, 3), 3 * mlp + logits);
  EXPECT_EQ(flops(1, 2), attention + 2 * mlp + logits);
  EXPECT_EQ(flops(0, 0), logits);
  // The sizes of a kind that no layer has are not looked at.
  EXPECT_EQ(gpt_flops({.mlp_layers = 1, .hidden = 512, .mlp_hidden = 2048}, 2, 1024), mlp);
  EXPECT_EQ(
      gpt_flops({.attention_layers = 1, .hidden = 512, .heads = 8, .kv_groups = 8, .head_dim = 64}, 2, 1024),
      attention);
}

TEST(Flops, AnOutputGateIsOneMoreQueryProjection) {
  GptFlopsShape gated = kGpt;
  gated.output_gate = true;
  EXPECT_EQ(gpt_flops(gated, 2, 1024) - gpt_flops(kGpt, 2, 1024), 6.0 * 2048 * 4 * 512 * 512);
}

// With f = 4 h and all heads, the short form differs only by the uncounted half of the attention square.
TEST(Flops, ThePapersFormCountsTheWholeSquare) {
  const double core = 6.0 * 2 * 1024 * 1024 * 512 * 4;
  EXPECT_NEAR(paper_gpt_flops(2, 1024, 4, 512, 32000), gpt_flops(kGpt, 2, 1024) + core, 1.0);
  EXPECT_EQ(paper_gpt_flops(2, 1024, 0, 512, 32000), 6.0 * 2048 * 512 * 32000);
}

TEST(Flops, Rates) {
  EXPECT_DOUBLE_EQ(tflops_per_device(4e15, 2.0, 8), 250.0);
  EXPECT_DOUBLE_EQ(mfu(4e15, 2.0, 8, 1e15), 0.25);
  EXPECT_EQ(tflops_per_device(1e12, 0.0, 1), 0.0);
  EXPECT_EQ(mfu(1e12, 1.0, 1, 0.0), 0.0);
}

TEST(Flops, PeaksByDeviceName) {
  EXPECT_EQ(peak_flops("NVIDIA A100-SXM4-80GB"), 312e12);
  EXPECT_EQ(peak_flops("NVIDIA H100 80GB HBM3"), 989e12);
  EXPECT_EQ(peak_flops("NVIDIA H100 PCIe"), 756e12);
  EXPECT_EQ(peak_flops("NVIDIA H100 NVL"), 835e12);
  EXPECT_EQ(peak_flops("NVIDIA H200"), 989e12);
  EXPECT_EQ(peak_flops("NVIDIA B200"), 2.25e15);
  EXPECT_EQ(peak_flops("NVIDIA GB200"), 2.5e15);
  for (const char* unknown : {"", "NVIDIA RTX A1000", "NVIDIA GH200 480GB", "AMD EPYC"}) {
    EXPECT_EQ(peak_flops(unknown), std::nullopt) << unknown;
  }
}

}  // namespace
}  // namespace phalanx
