#include "phalanx/plan/stash_bytes.h"

#include <cmath>
#include <map>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/plan/published.h"

namespace phalanx {
namespace {

constexpr double kMiB = 1024.0 * 1024.0;

std::map<std::string, int64_t> by_label(const std::vector<ByteItem>& items) {
  std::map<std::string, int64_t> labels;
  for (const ByteItem& item : items) labels[std::string(item.label)] += item.bytes;
  return labels;
}

int64_t layer_bytes(const PlanModel& model, const PlanLayout& layout, LayerKind kind,
                    StashAccount account = StashAccount::kPaper, const ByteSizes& bytes = {}) {
  return total_bytes(layer_stash(model, layout, kind, layout.recompute, account, bytes));
}

// A transformer layer.
int64_t pair_bytes(const PlanModel& model, const PlanLayout& layout,
                   StashAccount account = StashAccount::kPaper, const ByteSizes& bytes = {}) {
  if (layout.recompute == PlanRecompute::kFull) return checkpoint_bytes(model, layout, account, bytes);
  return layer_bytes(model, layout, LayerKind::kAttention, account, bytes) +
         layer_bytes(model, layout, LayerKind::kMlp, account, bytes);
}

struct Cell {
  double mib;
  double percent;  // of the tensor-parallel baseline; 0: not printed
};

// MiB a layer: none, TP, TP + SP, TP + selective, TP + SP + selective, full.
TEST(StashBytes, AllCellsOfTheActivationTable) {
  const std::vector<std::vector<Cell>> table = {
      {{6752, 0}, {1264, 0}, {844, 67}, {624, 49}, {204, 16}, {96, 8}},
      {{2736, 0}, {552, 0}, {342, 62}, {312, 57}, {102, 18}, {48, 9}},
      {{3920, 0}, {840, 0}, {490, 58}, {520, 62}, {170, 20}, {80, 10}},
      {{4900, 0}, {1050, 0}, {612.5, 58}, {650, 62}, {212.5, 20}, {100, 10}},
  };
  for (size_t i = 0; i < table.size(); ++i) {
    const RecomputeRow& row = recompute_rows()[i];
    const PlanModel model = model_of(row);
    const auto layout = [&](int64_t tp, bool sp, PlanRecompute policy) {
      return PlanLayout{
          .tp = tp, .sequence_parallel = sp, .micro_batch = row.micro_batch, .recompute = policy};
    };
    const std::vector<PlanLayout> columns = {
        layout(1, false, PlanRecompute::kNone),     layout(8, false, PlanRecompute::kNone),
        layout(8, true, PlanRecompute::kNone),      layout(8, false, PlanRecompute::kSelective),
        layout(8, true, PlanRecompute::kSelective), layout(8, false, PlanRecompute::kFull)};
    const auto baseline = static_cast<double>(pair_bytes(model, columns[1]));
    for (size_t c = 0; c < columns.size(); ++c) {
      const auto bytes = static_cast<double>(pair_bytes(model, columns[c]));
      EXPECT_EQ(bytes / kMiB, table[i][c].mib) << row.name << " column " << c;
      if (table[i][c].percent > 0) {
        EXPECT_EQ(std::round(100 * bytes / baseline), table[i][c].percent) << row.name << " column " << c;
      }
    }
    EXPECT_EQ(pair_bytes(model, layout(8, true, PlanRecompute::kFull)), pair_bytes(model, columns[5]));
  }
}

// The terms of section 4.1, one by one: s b h = 1 here is 64 x 32 elements, a s / h = 128.
TEST(StashBytes, TermsOfAnAttentionAndAnMlpLayer) {
  const PlanModel model = paper_gpt("small", 1, 32, 64 / 2, 100, 128);
  const int64_t sbh = 128 * 2 * 32;
  const int64_t scores = 32 * 128 * 128 * 2;  // a s^2 b
  const PlanLayout layout{.micro_batch = 2};
  const auto attention =
      by_label(layer_stash(model, layout, LayerKind::kAttention, PlanRecompute::kNone, StashAccount::kPaper));
  const std::map<std::string, int64_t> want = {
      {"norm input", 2 * sbh},    {"qkv input", 2 * sbh},
      {"query and key", 4 * sbh}, {"softmax output", 2 * scores},
      {"softmax mask", scores},   {"softmax dropout output", 2 * scores},
      {"value", 2 * sbh},         {"projection input", 2 * sbh},
      {"dropout mask", sbh}};
  EXPECT_EQ(attention, want);
  const auto mlp =
      by_label(layer_stash(model, layout, LayerKind::kMlp, PlanRecompute::kNone, StashAccount::kPaper));
  const std::map<std::string, int64_t> want_mlp = {{"norm input", 2 * sbh},
                                                   {"up input", 2 * sbh},
                                                   {"activation input", 8 * sbh},
                                                   {"down input", 8 * sbh},
                                                   {"dropout mask", sbh}};
  EXPECT_EQ(mlp, want_mlp);
  EXPECT_EQ(pair_bytes(model, layout), 34 * sbh + 5 * scores);
}

TEST(StashBytes, WithoutDropoutThereIsNoMaskAndOneSoftmax) {
  PlanModel model = paper_gpt("small", 1, 32, 4, 100, 128);
  model.dropout = false;
  const int64_t sbh = 128 * 32;
  EXPECT_EQ(pair_bytes(model, {}), 32 * sbh + 2 * 4 * 128 * 128);
  EXPECT_EQ(embedding_stash(model, {}, StashAccount::kPaper), 0);
}

// Megatron-LM's own estimate: s b h (18 + 4 f / h) / t with sequence parallelism and selective recompute.
TEST(StashBytes, AnyMlpWidthIsAsMegatronEstimates) {
  PlanModel model = paper_gpt("small", 1, 64, 8, 128, 128);
  const PlanLayout layout{.tp = 8, .sequence_parallel = true, .recompute = PlanRecompute::kSelective};
  for (const int64_t ffn : {64, 256, 640}) {
    model.ffn = ffn;
    EXPECT_EQ(pair_bytes(model, layout), 128 * (18 * 64 + 4 * ffn) / 8);
  }
}

TEST(StashBytes, GroupedHeadsAndGatedMlps) {
  PlanModel model = paper_gpt("small", 1, 64, 8, 128, 128);
  model.kv_groups = 2;
  model.gated_mlp = true;
  model.ffn = 96;
  model.dropout = false;
  PlanLayout layout{.recompute = PlanRecompute::kSelective};
  // In: 2 x 2 h; q 64, k and v 16 each, projection 64. MLP: 2 x 2 h, gate and up 2 f, down f.
  EXPECT_EQ(layer_bytes(model, layout, LayerKind::kAttention), 128 * (4 * 64 + 2 * (64 + 2 * 16 + 64)));
  EXPECT_EQ(layer_bytes(model, layout, LayerKind::kMlp), 128 * (4 * 64 + 2 * 3 * 96));
  layout.tp = 4;  // a rank holds one of two groups, its neighbour the same one
  EXPECT_EQ(layer_bytes(model, layout, LayerKind::kAttention), 128 * (4 * 64 + 2 * (16 + 2 * 8 + 16)));
}

TEST(StashBytes, ContextParallelismDividesTheSequenceButNotTheKeys) {
  const PlanModel model = paper_gpt("small", 1, 64, 8, 128, 128);
  for (const StashAccount account : {StashAccount::kPaper, StashAccount::kPhalanx}) {
    const int64_t whole = pair_bytes(model, {}, account);
    EXPECT_EQ(pair_bytes(model, {.cp = 2}, account) * 2, whole);
  }
}

// The same numbers as nn/block_test.cc, which counts what the modules push.
TEST(StashBytes, PhalanxCountsWhatItsModulesPush) {
  const int64_t T = 14, H = 12, A = 4, G = 2, D = 8, F = 10;
  PlanModel model = paper_gpt("deep", 1, H, A, 128, T);
  model.kv_groups = G;
  model.head_dim = D;
  model.ffn = F;
  for (const auto& [element, statistic] : {std::pair{8, 8}, std::pair{4, 4}, std::pair{2, 4}}) {
    for (const bool qk_norm : {false, true}) {
      model.qk_norm = qk_norm;
      const ByteSizes bytes{.activation = element, .statistic = statistic};
      const int64_t statistics = 2 * T + T * A + (qk_norm ? 2 * T * (A + G) : 0);
      EXPECT_EQ(layer_bytes(model, {}, LayerKind::kAttention, StashAccount::kPhalanx, bytes),
                element * (T * H + T * (A + 2 * G) * D + T * A * D) + statistic * statistics);
      EXPECT_EQ(layer_bytes(model, {}, LayerKind::kMlp, StashAccount::kPhalanx, bytes),
                element * (T * H + T * F) + statistic * 2 * T);
    }
  }
  const auto labels = [&](LayerKind kind) {
    return by_label(layer_stash(model, {}, kind, PlanRecompute::kNone, StashAccount::kPhalanx));
  };
  using Labels = std::map<std::string, int64_t>;
  EXPECT_EQ(labels(LayerKind::kMlp), (Labels{{"norm input", 2 * T * H},
                                             {"norm mean", 4 * T},
                                             {"norm rstd", 4 * T},
                                             {"mlp pre-activation", 2 * T * F}}));
  const int64_t qkv = 2 * T * (A + 2 * G) * D;
  const int64_t normed = 4 * T * (1 + A + G);  // rows of the layer's norm, of q's and of k's
  EXPECT_EQ(labels(LayerKind::kAttention), (Labels{{"norm input", 2 * T * H + qkv},
                                                   {"norm mean", normed},
                                                   {"norm rstd", normed},
                                                   {"attention output", 2 * T * A * D},
                                                   {"attention lse", 4 * T * A}}));
  model.qk_norm = false;
  EXPECT_EQ(labels(LayerKind::kAttention).at("attention qkv"), qkv);
  model.norm_bias = false;  // RMSNorm has no mean
  EXPECT_EQ(layer_bytes(model, {}, LayerKind::kMlp, StashAccount::kPhalanx), 2 * (T * H + T * F) + 4 * T);
}

TEST(StashBytes, PhalanxKeepsLessAndSelectiveChangesNothing) {
  for (const RecomputeRow& row : recompute_rows()) {
    const PlanModel model = model_of(row);
    PlanLayout layout = layout_of(row);
    const int64_t selective = pair_bytes(model, layout, StashAccount::kPhalanx);
    EXPECT_LT(selective, pair_bytes(model, layout));
    layout.recompute = PlanRecompute::kNone;
    EXPECT_EQ(pair_bytes(model, layout, StashAccount::kPhalanx), selective);
  }
}

TEST(StashBytes, ACheckpointIsOneInput) {
  const PlanModel model = paper_gpt("small", 4, 64, 8, 128, 128);
  const int64_t whole = 2 * 128 * 64;
  PlanLayout layout{.tp = 8, .recompute = PlanRecompute::kFull};
  EXPECT_TRUE(layer_stash(model, layout, LayerKind::kMlp, layout.recompute, StashAccount::kPaper).empty());
  EXPECT_EQ(checkpoint_bytes(model, layout, StashAccount::kPaper), whole);
  EXPECT_EQ(checkpoint_bytes(model, layout, StashAccount::kPhalanx), whole);
  layout.sequence_parallel = true;
  EXPECT_EQ(checkpoint_bytes(model, layout, StashAccount::kPaper), whole);
  EXPECT_EQ(checkpoint_bytes(model, layout, StashAccount::kPhalanx), whole / 8);
  layout.shard_checkpoints = true;
  EXPECT_EQ(checkpoint_bytes(model, layout, StashAccount::kPaper), whole / 8);
}

TEST(StashBytes, UnitsArePairsOrSingleLayers) {
  EXPECT_EQ(count_units(parse_pattern("(*-)x4"), {0, 8}), 4);
  EXPECT_EQ(count_units(parse_pattern("M-M-M--M-M*-"), {0, 12}), 11);
  EXPECT_EQ(count_units(parse_pattern("*-*-"), {1, 4}), 2) << "a pair that is cut is two units";
}

// The formula of the header: T 8 tokens of the 8B sizes on 2 ranks.
TEST(StashBytes, MambaLayer) {
  PlanModel model = hybrid_8b();
  model.sequence = 512;
  const PlanLayout layout{.tp = 2};
  const int64_t T = 512, D = 4096, d = 4096, H = 64, G = 4, N = 128;
  const int64_t projected = T * (2 * d + 2 * G * N + H);
  const auto bytes = [&](PlanRecompute policy, StashAccount account) {
    return total_bytes(layer_stash(model, layout, LayerKind::kMamba2, policy, account));
  };
  const int64_t memory_efficient = 2 * (2 * T * D + projected + T * d);
  EXPECT_EQ(bytes(PlanRecompute::kSelective, StashAccount::kPaper), memory_efficient);
  const int64_t rebuilt = 2 * T * (d + 2 * G * N) + 4 * T * 2 * H + 4 * 4 * d * N + 2 * T * d;
  EXPECT_EQ(bytes(PlanRecompute::kNone, StashAccount::kPaper), memory_efficient + rebuilt);
  for (const PlanRecompute policy : {PlanRecompute::kNone, PlanRecompute::kSelective}) {
    const auto halves = [&](int64_t cp) {
      return cp * total_bytes(layer_stash(model, {.tp = 2, .cp = cp}, LayerKind::kMamba2, policy,
                                          StashAccount::kPaper));
    };
    EXPECT_EQ(halves(2), halves(1));
  }
  const int64_t ours = 2 * (T * D + projected + T * d) + 4 * T + 4 * T * G;
  EXPECT_EQ(bytes(PlanRecompute::kNone, StashAccount::kPhalanx), ours);
  EXPECT_EQ(bytes(PlanRecompute::kSelective, StashAccount::kPhalanx), ours);
}

}  // namespace
}  // namespace phalanx
