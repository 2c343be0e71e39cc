#include "phalanx/plan/counts.h"

#include <cmath>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/arch/parameter_table.h"
#include "phalanx/arch/presets.h"
#include "phalanx/base/error.h"
#include "phalanx/plan/published.h"

namespace phalanx {
namespace {

ModelConfig finalized(ModelConfig config) {
  finalize(config);
  validate(config);
  return config;
}

// The table prints one decimal of 1e9.
TEST(Counts, EquationTwoGivesTheParametersOfTableOne) {
  for (const WeakScalingRow& row : weak_scaling_rows()) {
    const int64_t count = paper_parameters(row.layers, row.hidden, kPaperVocab, kPaperSequence);
    EXPECT_DOUBLE_EQ(std::round(static_cast<double>(count) * 1e-8) / 10, row.params_billion);
    // The equation lacks the final norm; nothing else.
    EXPECT_EQ(count_parameters(model_of(row)).total(), count + 2 * row.hidden);
  }
}

TEST(Counts, ParametersOfTheOtherTables) {
  for (const ZeroRow& row : zero_rows()) {
    const PlanModel model = model_of(row);
    const int64_t count =
        paper_parameters(model.count(LayerKind::kMlp), model.hidden, kPaperVocab, kPaperSequence);
    EXPECT_DOUBLE_EQ(std::round(static_cast<double>(count) * 1e-8) / 10, row.params_billion);
    const PlanLayout layout = layout_of(row);
    EXPECT_EQ(layout.world(), row.gpus);
    EXPECT_EQ(layout.tp * layout.pp, row.model_parallel);
  }
  for (const FigureConfig& figure : figure_configs()) {
    if (figure.layers == 0) continue;  // swept
    const int64_t count = paper_parameters(figure.layers, figure.hidden, kPaperVocab, kPaperSequence);
    // Figures name their models by round numbers: 1B is 1.02, 91B 91.4, 145B 145.6.
    EXPECT_NEAR(static_cast<double>(count) * 1e-9 / figure.params_billion, 1.0, 0.025) << figure.figure;
    EXPECT_EQ(figure.hidden % figure.heads, 0);
    for (const FigureCurve& curve : figure.curves) EXPECT_EQ(curve.batches.size(), curve.tflops.size());
  }
}

TEST(Counts, EquationTwoByHand) {
  // l = 2, h = 8: 2 (12 x 64 + 13 x 8) + (100 + 16) x 8.
  EXPECT_EQ(paper_parameters(2, 8, 100, 16), 2 * (768 + 104) + 928);
}

TEST(Counts, EqualTheParameterTableOfEveryPreset) {
  for (const std::string& name : preset_names()) {
    const ModelConfig config = finalized(*find_preset(name));
    const Pattern pattern = parse_pattern(config.pattern);
    if (!std::all_of(pattern.layers.begin(), pattern.layers.end(), is_plannable)) continue;  // Mamba-1
    const ParameterTable table = make_parameter_table(config);
    EXPECT_EQ(count_parameters(plan_model(config, name)).total(), table.num_parameters()) << name;
  }
}

// Every switch that adds or removes a tensor.
TEST(Counts, EqualTheParameterTableOverTheSwitches) {
  for (int bits = 0; bits < 256; ++bits) {
    ModelConfig config;
    config.pattern = (bits & 1) != 0 ? "**-|-*" : "(*-)x2";
    config.hidden_size = 24;
    config.num_attention_heads = 4;
    config.num_query_groups = (bits & 2) != 0 ? 2 : 0;
    config.kv_channels = (bits & 4) != 0 ? 10 : 0;
    config.vocab_size = 50;
    config.seq_length = 12;
    config.normalization = (bits & 8) != 0 ? NormKind::kRmsNorm : NormKind::kLayerNorm;
    config.qk_norm = (bits & 16) != 0;
    config.activation = (bits & 32) != 0 ? ActivationKind::kSwiglu : ActivationKind::kGelu;
    config.position_embedding = (bits & 64) != 0 ? PositionKind::kRope : PositionKind::kLearnedAbsolute;
    config.rotary_percent = 1.0;
    config.tied_embeddings = (bits & 128) != 0;
    for (const auto& [bias, qkv_bias] :
         {std::pair{true, false}, std::pair{false, true}, std::pair{false, false}}) {
      config.bias = bias;
      config.qkv_bias = qkv_bias;
      const ModelConfig full = finalized(config);
      EXPECT_EQ(count_parameters(plan_model(full, "x")).total(), make_parameter_table(full).num_parameters())
          << bits;
    }
  }
}

TEST(Counts, EqualTheParameterTableOfHybrids) {
  for (int bits = 0; bits < 16; ++bits) {
    ModelConfig config;
    config.pattern = (bits & 1) != 0 ? "M-*M" : "MM|M";
    config.hidden_size = 24;
    config.num_attention_heads = 4;
    config.vocab_size = 50;
    config.seq_length = 12;
    config.mamba_head_dim = (bits & 2) != 0 ? 6 : 12;
    config.mamba_num_heads = (bits & 4) != 0 ? 6 : 0;
    config.mamba_num_groups = (bits & 8) != 0 ? 1 : 2;
    config.mamba_state_dim = 7;
    config.mamba_conv_kernel = 3;
    const ModelConfig full = finalized(config);
    EXPECT_EQ(count_parameters(plan_model(full, "x")).total(), make_parameter_table(full).num_parameters())
        << bits;
  }
}

// The presets are the models that the paper's figures are computed from.
TEST(Counts, PublishedModelsAreTheirPresets) {
  for (const PlanModel& published : {hybrid_8b(), mamba2_8b(), transformer_8b()}) {
    const ModelConfig config = finalized(*find_preset(published.name));
    EXPECT_EQ(count_parameters(published).total(), make_parameter_table(config).num_parameters())
        << published.name;
    const PlanModel planned = plan_model(config, published.name);
    EXPECT_EQ(planned.pattern, published.pattern) << published.name;
    if (planned.count(LayerKind::kMamba2) > 0) {
      EXPECT_EQ(planned.mamba, published.mamba) << published.name;
    }
  }
}

TEST(Counts, LayersOfTheEightBillionModels) {
  const PlanModel hybrid = hybrid_8b();
  EXPECT_EQ(layer_parameters(hybrid, LayerKind::kMamba2), 109640064);
  EXPECT_EQ(layer_parameters(hybrid, LayerKind::kAttention), 41947136);
  EXPECT_EQ(layer_parameters(hybrid, LayerKind::kMlp), 134221824);
  PlanModel all_heads = hybrid;
  all_heads.kv_groups = all_heads.heads;
  EXPECT_EQ(layer_parameters(all_heads, LayerKind::kAttention), 67112960);
  // To the printed thousandth of 1e9.
  EXPECT_NEAR(static_cast<double>(count_parameters(hybrid).total()) * 1e-9, 8.655, 0.0005);
  EXPECT_NEAR(static_cast<double>(count_parameters(mamba2_8b()).total()) * 1e-9, 8.237, 0.0005);
  EXPECT_NEAR(static_cast<double>(count_parameters(transformer_8b()).total()) * 1e-9, 8.540, 0.0005);
  PlanModel grouped = transformer_8b();
  grouped.kv_groups = 8;
  EXPECT_NEAR(static_cast<double>(count_parameters(grouped).total()) * 1e-9, 7.735, 0.0005);
}

int64_t sum(const std::vector<int64_t>& values) {
  return std::accumulate(values.begin(), values.end(), int64_t{0});
}

// What tensor-parallel ranks store more than once, over all layers: norms and biases of rows; positions; final norm.
int64_t replicated(const PlanModel& model) {
  const int64_t norm = (model.norm_bias ? 2 : 1) * model.hidden;
  const int64_t layers = static_cast<int64_t>(model.pattern.layers.size());
  const int64_t row_biases =
      model.bias ? (model.count(LayerKind::kAttention) + model.count(LayerKind::kMlp)) : 0;
  return norm * (layers + 1) + row_biases * model.hidden + model.positions * model.hidden;
}

TEST(Counts, RanksTogetherStoreTheModel) {
  for (const PlanModel& model : {paper_gpt("gpt", 8, 64, 8, 512, 128), hybrid_8b(), transformer_8b()}) {
    const int64_t logical = count_parameters(model).total();
    for (const int64_t tp : {1, 2, 8}) {
      for (const PlanLayout& layout :
           {PlanLayout{.tp = tp}, PlanLayout{.tp = tp, .pp = 4}, PlanLayout{.tp = tp, .pp = 2, .chunks = 4},
            PlanLayout{.tp = tp, .pp = 2, .chunks = 2, .schedule = "zb-v"}}) {
        // A V puts both ends on rank 0, where one copy serves.
        const bool copy = model.tied && layout.pp > 1 && layout.schedule != "zb-v";
        const int64_t extra = copy ? model.vocab * model.hidden : 0;
        EXPECT_EQ(sum(rank_parameters(model, layout)) * tp, logical + extra + (tp - 1) * replicated(model))
            << model.name << " " << to_string(layout);
      }
    }
  }
}

TEST(Counts, FewerKeyHeadsThanRanksAreReplicas) {
  PlanModel model = hybrid_8b();
  const int64_t eight = layer_parameters(model, LayerKind::kAttention, 8);
  const int64_t sixteen = layer_parameters(model, LayerKind::kAttention, 16);
  const int64_t query_and_out = 2 * 4096 * 4096;
  const int64_t key_and_value = 2 * 128 * 4096;  // of one group
  EXPECT_EQ(eight, query_and_out / 8 + key_and_value + 4096);
  EXPECT_EQ(sixteen, query_and_out / 16 + key_and_value + 4096);
  // A rank of 16 holds B and C of one whole group.
  EXPECT_EQ(layer_parameters(model, LayerKind::kMamba2, 16),
            4096 * (2 * 512 + 2 * 128 + 8) + (512 + 256) * 5 + 3 * 8 + 512 + 512 * 4096 + 4096);
}

TEST(Counts, StagesOfAGpt) {
  const PlanModel model = paper_gpt("gpt", 4, 8, 2, 100, 16);
  const std::vector<StageParameters> stages = stage_parameters(model, {.pp = 2});
  const int64_t pair = 12 * 64 + 13 * 8;
  ASSERT_EQ(stages.size(), 2U);
  EXPECT_EQ(stages[0].embedding, 116 * 8);
  EXPECT_EQ(stages[0].layers, 2 * pair);
  EXPECT_EQ(stages[0].head, 0);
  EXPECT_EQ(stages[1].embedding, 0);
  EXPECT_EQ(stages[1].layers, 2 * pair);
  EXPECT_EQ(stages[1].head, 2 * 8 + 100 * 8);
  EXPECT_EQ(stages[0].largest_layer, 8 * 64 + 4 * 8 + 8 + 2 * 8);  // the MLP with its norm
  EXPECT_EQ(stage_parameters(model, {})[0].head, 2 * 8) << "one rank stores a tied embedding once";
}

TEST(Counts, PaddingIsStoredAndNotCounted) {
  const ModelConfig config = finalized(*find_preset("gpt2"));
  const PlanModel model = plan_model(config, "gpt2");
  EXPECT_EQ(model.vocab, 50304);
  EXPECT_EQ(rank_parameters(model, {})[0] - count_parameters(model).total(), (50304 - 50257) * 768);
}

TEST(Counts, AnExpertLayerIsAnError) {
  PlanModel model = hybrid_8b();
  model.pattern = parse_pattern("M-M-E");
  EXPECT_THROW(count_parameters(model), Error);
  EXPECT_THROW(stage_parameters(model, {}), Error);
}

}  // namespace
}  // namespace phalanx
