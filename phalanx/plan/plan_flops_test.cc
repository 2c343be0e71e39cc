#include "phalanx/plan/plan_flops.h"

#include <cmath>

#include <gtest/gtest.h>

#include "phalanx/base/error.h"
#include "phalanx/plan/flops_meter.h"
#include "phalanx/plan/published.h"
#include "phalanx/telemetry/flops.h"

namespace phalanx {
namespace {

double round_to(double value, double unit) {
  return std::round(value / unit) * unit;
}

// Seconds an iteration that the rate of each row of table 1 implies under eq. 3.
TEST(PlanFlops, EquationThreeGivesTheIterationsOfTableOne) {
  const std::vector<double> seconds = {3.53, 3.70, 3.70, 9.40, 14.45, 16.06, 24.82, 37.61, 54.08, 102.63};
  const std::span<const WeakScalingRow> rows = weak_scaling_rows();
  ASSERT_EQ(rows.size(), seconds.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    const WeakScalingRow& row = rows[i];
    const double flops = paper_flops(row.batch, kPaperSequence, row.layers, row.hidden, kPaperVocab).full;
    const double gpus = static_cast<double>(row.gpus);
    EXPECT_NEAR(flops / (row.tflops * 1e12 * gpus), seconds[i], 0.00501) << row.params_billion;
    // The rate a GPU is printed without decimals, so the aggregate can differ by half a unit times the GPUs.
    EXPECT_NEAR(row.tflops * gpus * 1e-3, row.petaflops, 0.5 * gpus * 1e-3 + 0.05) << row.params_billion;
    EXPECT_NEAR(row.tflops * 1e12 / kA100Flops * 100, row.percent_of_peak, 0.5 + 0.5 / 3.12)
        << row.params_billion;
  }
}

// Eq. 3 in its printed form.
TEST(PlanFlops, FormsAsPrinted) {
  const double B = 6, s = 128, l = 4, h = 96, V = 1000;
  const PaperFlops flops = paper_flops(6, 128, 4, 96, 1000);
  EXPECT_DOUBLE_EQ(flops.full, 96 * B * s * l * h * h * (1 + s / (6 * h) + V / (16 * l * h)));
  EXPECT_DOUBLE_EQ(flops.model, 72 * B * s * l * h * h * (1 + s / (6 * h) + V / (12 * l * h)));
  EXPECT_DOUBLE_EQ(flops.selective, 72 * B * s * l * h * h * (1 + s / (3 * h) + V / (12 * l * h)));
}

TEST(PlanFlops, CountedFlopsAreThePapers) {
  for (const RecomputeRow& row : recompute_rows()) {
    const PlanModel model = model_of(row);
    const TokenBatch batch = token_batch(row.batch, kPaperSequence);
    const PaperFlops paper = paper_flops(row.batch, kPaperSequence, row.layers, row.hidden, kPaperVocab);
    const auto step = [&](PlanRecompute policy, double share = 1.0) {
      return step_flops(model, policy, batch, AttentionSpan::kFull, share);
    };
    EXPECT_NEAR(step(PlanRecompute::kNone).model / paper.model, 1.0, 1e-14);
    EXPECT_EQ(step(PlanRecompute::kNone).hardware, step(PlanRecompute::kNone).model);
    EXPECT_NEAR(step(PlanRecompute::kFull).hardware / paper.full, 1.0, 1e-14);
    // The papers count three times the forward of the cores.
    const double cores = step(PlanRecompute::kSelective).hardware - step(PlanRecompute::kSelective).model;
    EXPECT_NEAR(3 * cores / (paper.selective - paper.model), 1.0, 1e-10);
    EXPECT_NEAR(step(PlanRecompute::kSelective, 0.5).hardware, step(PlanRecompute::kNone).model + cores / 2,
                1e-12 * paper.model);
  }
}

TEST(PlanFlops, UtilisationOfTableFive) {
  for (const RecomputeRow& row : recompute_rows()) {
    const PaperFlops flops = paper_flops(row.batch, kPaperSequence, row.layers, row.hidden, kPaperVocab);
    const double model = 100 * mfu(flops.model, row.present_seconds, row.gpus, kA100Flops);
    const double hardware = 100 * mfu(flops.selective, row.present_seconds, row.gpus, kA100Flops);
    // Times are printed in hundredths of a second, which leaves 22B (1.10 s) 0.5% of play.
    const double play = 0.005 / row.present_seconds;
    EXPECT_NEAR(model, row.mfu_percent, 0.05 + play * model) << row.name;
    EXPECT_NEAR(hardware, row.hfu_percent, 0.05 + play * hardware) << row.name;
    EXPECT_NEAR(flops.selective / flops.model, row.hfu_percent / row.mfu_percent, 0.1 / row.mfu_percent)
        << row.name;
    const double gain = row.full_seconds / row.present_seconds;
    EXPECT_NEAR(100 * (gain - 1), row.gain_percent, 0.05 + 100 * gain * play) << row.name;
  }
  const RecomputeRow& row = recompute_rows()[2];
  const PaperFlops flops = paper_flops(kReplicatedBatch, kPaperSequence, row.layers, row.hidden, kPaperVocab);
  EXPECT_NEAR(100 * mfu(flops.model, kReplicatedSeconds, kReplicatedGpus, kA100Flops), kReplicatedMfuPercent,
              0.05);
}

// "2.7% / 1.6% extra FLOPs" for GPT-3 and MT-NLG; both by the papers' count.
TEST(PlanFlops, SelectiveRecomputeCostsWhatThePaperSays) {
  const auto extra = [](int64_t layers, int64_t hidden) {
    const PaperFlops flops = paper_flops(1, kPaperSequence, layers, hidden, 0);
    return 100 * (flops.selective / flops.model - 1);
  };
  EXPECT_DOUBLE_EQ(round_to(extra(96, 12288), 0.1), 2.7);
  EXPECT_DOUBLE_EQ(round_to(extra(105, 20480), 0.1), 1.6);
}

TEST(PlanFlops, RatesOfMtNlg) {
  const std::vector<double> recomputed = {125.7, 120.4, 113.5};  // from eq. 3
  const PlanModel model = mt_nlg_model();
  const double flops =
      step_flops(model, PlanRecompute::kFull, token_batch(kMtNlgBatch, model.sequence), AttentionSpan::kFull)
          .hardware;
  for (size_t i = 0; i < recomputed.size(); ++i) {
    const MtNlgRow& row = mt_nlg_rows()[i];
    EXPECT_NEAR(tflops_per_device(flops, row.seconds, row.gpus), recomputed[i], 0.0501);
    EXPECT_NEAR(recomputed[i], row.tflops, 0.601) << "the paper's own figures are that far from eq. 3";
  }
}

// 8B models, forward, a token.
TEST(PlanFlops, LayersOfTheHybrid) {
  const PlanModel model = hybrid_8b();
  const auto mega = [&](LayerKind kind, AttentionSpan span) {
    return layer_flops(model, kind, token_batch(1, 4096), span) / 4096 * 1e-6;
  };
  const double conv = 2 * 4 * (8192 + 2 * 8 * 128) * 1e-6;
  EXPECT_NEAR(mega(LayerKind::kMamba2, AttentionSpan::kCausal) - conv, 226.5, 0.05);
  const double core = core_flops(model, token_batch(1, 4096), AttentionSpan::kCausal) / 4096 * 1e-6;
  EXPECT_NEAR(core, 33.6, 0.05);
  EXPECT_NEAR(mega(LayerKind::kAttention, AttentionSpan::kCausal) - core, 83.9, 0.05);
  EXPECT_NEAR(mega(LayerKind::kAttention, AttentionSpan::kFull) - 2 * core, 83.9, 0.05);
  EXPECT_NEAR(mega(LayerKind::kMlp, AttentionSpan::kCausal), 268.4, 0.05);
  EXPECT_NEAR(head_flops(model, token_batch(1, 4096)) / 4096 * 1e-9, 2.10, 0.005);
  const TokenBatch batch = token_batch(2, 4096);
  const double forward = forward_flops(model, batch, AttentionSpan::kCausal);
  EXPECT_DOUBLE_EQ(step_flops(model, PlanRecompute::kNone, batch, AttentionSpan::kCausal).model, 3 * forward);
  EXPECT_DOUBLE_EQ(step_flops(model, PlanRecompute::kFull, batch, AttentionSpan::kCausal).hardware,
                   4 * forward - head_flops(model, batch));
  const double selective =
      step_flops(model, PlanRecompute::kSelective, batch, AttentionSpan::kCausal).hardware;
  EXPECT_DOUBLE_EQ(selective, 3 * forward + 4 * 2.0 * 2 * 4096 * 4096 * 4096) << "of four attention layers";
}

MeterModel small_meter() {
  return {.attention_layers = 4,
          .mlp_layers = 4,
          .hidden = 512,
          .heads = 8,
          .kv_groups = 8,
          .head_dim = 64,
          .ffn = 2048,
          .vocab = 32000};
}

MeterModel small_hybrid() {  // M*M-
  MeterModel m = small_meter();
  m.hybrid = true;
  m.attention_layers = 1;
  m.mlp_layers = 1;
  m.mamba_layers = 2;
  m.mamba = {.inner = 1024, .state = 128, .groups = 8, .head_dim = 64, .conv = 4};
  return m;
}

double megatron(const MeterModel& m) {
  return read_meter(m, token_batch(2, 1024)).megatron;
}

// The numbers that Megatron-LM's own function returned.
TEST(PlanFlops, MeterGivesMegatronsNumbers) {
  EXPECT_EQ(megatron(small_meter()), 381715218432.0);

  MeterModel grouped = small_meter();
  grouped.gated_mlp = true;
  grouped.ffn = 1376;
  grouped.kv_groups = 2;
  EXPECT_EQ(megatron(grouped), 363193171968.0);

  MeterModel experts = small_meter();
  experts.mlp_layers = 0;
  experts.expert_layers = 4;
  experts.gated_mlp = true;
  experts.experts = {.experts = 8, .top_k = 2, .ffn = 1024, .shared_ffn = 512};
  EXPECT_EQ(megatron(experts), 471909531648.0);

  EXPECT_EQ(megatron(small_hybrid()), 322323873792.0);

  MeterModel wide = small_hybrid();
  wide.mamba.inner = 32 * 64;  // 32 heads of 64
  EXPECT_EQ(megatron(wide), 322525200384.0);

  MeterModel latent = small_hybrid();  // M+M-
  latent.attention_layers = 0;
  latent.latent_layers = 1;
  latent.latent = {.key_rank = 128, .head_dim = 64, .rope_dim = 32, .value_dim = 64};
  EXPECT_EQ(megatron(latent), 302996520960.0);

  const PlanModel large = paper_gpt("177B", 96, 12288, 96, 131072, 4096);
  EXPECT_EQ(read_meter(meter_model(large), token_batch(1152, 4096)).megatron, 5.107081977438142e18);
}

// 3 x 2 x 4 x channels x tokens, for each of two layers.
constexpr double kSmallConv = 2 * 24.0 * (1024 + 2048) * 2048;

TEST(PlanFlops, CorrectedMeterCountsWhatMegatronForgets) {
  const TokenBatch batch = token_batch(2, 1024);
  const MeterReading plain = read_meter(small_hybrid(), batch);
  EXPECT_EQ(plain.corrected - plain.megatron, kSmallConv);

  // Twice the inner width costs twice the parts that grow with it: z, x, dt, scan, output.
  MeterModel wide = small_hybrid();
  wide.mamba.inner = 2048;
  const double inner_cost = 2 * 512 * (2 * 1024.0 + 16) + 7.0 * 1024 * 128 + 2.0 * 1024 * 512 + 8.0 * 1024;
  EXPECT_EQ(read_meter(wide, batch).corrected - plain.corrected, 2 * 3 * 2048 * inner_cost);

  MeterModel latent = small_hybrid();
  latent.latent_layers = 1;
  latent.latent = {.key_rank = 128, .head_dim = 64, .rope_dim = 32, .value_dim = 64};
  const double weights = 512.0 * 8 * 96 + 128 * (512 + 8 * 128 + 1) + 512 * 32 + 8 * 64 * 512;
  const double core = 3.0 * 2 * 1024 * 1024 * 8 * (96 + 64);
  EXPECT_EQ(read_meter(latent, batch).megatron, plain.megatron);
  EXPECT_EQ(read_meter(latent, batch).corrected - plain.corrected, 6 * 2048 * weights + core);
  latent.latent.query_rank = 64;
  EXPECT_EQ(read_meter(latent, batch).corrected - plain.corrected,
            6 * 2048 * (weights - 512.0 * 8 * 96 + 64 * (512 + 8 * 96 + 1)) + core);
  latent.hybrid = false;
  EXPECT_EQ(read_meter(latent, batch).megatron, read_meter(latent, batch).corrected - kSmallConv);

  MeterModel gate = small_hybrid();
  gate.output_gate = true;
  EXPECT_EQ(read_meter(gate, batch).megatron, plain.megatron);
  EXPECT_EQ(read_meter(gate, batch).corrected - plain.corrected, 6.0 * 2048 * 512 * 512);
}

TEST(PlanFlops, ExpertsInALatentWidth) {
  const TokenBatch batch = token_batch(2, 1024);
  MeterModel m = small_meter();
  m.expert_layers = 1;
  m.experts = {.experts = 8, .top_k = 2, .ffn = 1024, .shared_ffn = 512, .latent = 128};
  const MeterReading reading = read_meter(m, batch);
  const double with = megatron(m) - megatron(small_meter());
  EXPECT_EQ(with, 6.0 * 2048 * (2 * 2 * 1024 * 128 + 2 * 512 * 512 + 2 * 128 * 512));
  EXPECT_EQ(reading.corrected - reading.megatron, 6.0 * 2048 * 512 * 8) << "the router";
}

TEST(PlanFlops, MeterOfAPlannedModel) {
  const PlanModel model = hybrid_8b();
  const TokenBatch batch = token_batch(8, 4096);
  const MeterReading reading = read_meter(meter_model(model), batch);
  const double planned = step_flops(model, PlanRecompute::kNone, batch, AttentionSpan::kCausal).model;
  EXPECT_NEAR(reading.corrected / planned, 1.0, 1e-14);
  EXPECT_LT(reading.megatron, reading.corrected);
  PlanModel experts = model;
  experts.pattern = parse_pattern("M-E");
  EXPECT_THROW(meter_model(experts), Error);
  EXPECT_THROW(forward_flops(experts, batch, AttentionSpan::kCausal), Error);
}

}  // namespace
}  // namespace phalanx
