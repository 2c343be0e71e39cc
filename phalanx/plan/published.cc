#include "phalanx/plan/published.h"

#include <cmath>

#include <fmt/format.h>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

constexpr auto kWeakScaling = std::to_array<WeakScalingRow>({
    {1.7, 24, 2304, 24, 1, 1, 32, 512, 137, 44, 4.4, 16, 1},
    {3.6, 32, 3072, 30, 2, 1, 64, 512, 138, 44, 8.8, 16, 1},
    {7.5, 32, 4096, 36, 4, 1, 128, 512, 142, 46, 18.2, 16, 1},
    {18.4, 48, 6144, 40, 8, 1, 256, 1024, 135, 43, 34.6, 8, 1},
    {39.1, 64, 8192, 48, 8, 2, 512, 1536, 138, 44, 70.8, 4, 1},
    {76.1, 80, 10240, 60, 8, 4, 1024, 1792, 140, 45, 143.8, 2, 3},
    {145.6, 96, 12288, 80, 8, 8, 1536, 2304, 148, 47, 227.1, 2, 2},
    {310.1, 128, 16384, 96, 8, 16, 1920, 2160, 155, 50, 297.4, 1, 2},
    {529.6, 128, 20480, 105, 8, 35, 2520, 2520, 163, 52, 410.2, 1, 3},
    {1008.0, 160, 25600, 128, 8, 64, 3072, 3072, 163, 52, 502.0, 1, 1},
});

constexpr auto kZero = std::to_array<ZeroRow>({
    {true, 174.6, 1, 1536, 384, 4, 144, 90},
    {true, 174.6, 1, 1536, 768, 2, 88, 74},
    {true, 174.6, 1, 1536, 1536, 1, 44, 74},
    {true, 529.6, 1, 2560, 640, 4, 138, 169},
    {true, 529.6, 1, 2240, 1120, 2, 98, 137},
    {true, 529.6, 1, 2240, 2240, 1, 48, 140},
    {false, 174.6, 96, 1536, 384, 1, 153, 84},
    {false, 174.6, 96, 1536, 768, 1, 149, 43},
    {false, 174.6, 96, 1536, 1536, 1, 141, 23},
    {false, 529.6, 280, 2240, 560, 1, 171, 156},
    {false, 529.6, 280, 2240, 1120, 1, 167, 80},
    {false, 529.6, 280, 2240, 2240, 1, 159, 42},
});

constexpr auto kRecompute = std::to_array<RecomputeRow>({
    {"22B", 64, 6144, 48, 8, 1, 1, 8, 4, 4, 1.42, 1.10, 29.0, 41.5, 43.7},
    {"175B", 96, 12288, 96, 8, 8, 3, 64, 64, 1, 18.13, 13.75, 31.8, 51.4, 52.8},
    {"530B", 128, 20480, 105, 8, 35, 3, 280, 280, 1, 49.05, 37.83, 29.7, 56.0, 57.0},
    {"1T", 160, 25600, 128, 8, 64, 1, 512, 512, 1, 94.42, 71.49, 32.1, 56.3, 57.0},
});

constexpr auto kLayerTimes = std::to_array<LayerTimeRow>({
    {"baseline, no recompute", false, PlanRecompute::kNone, 7.7, 11.9, 19.6, 0},
    {"sequence parallel", true, PlanRecompute::kNone, 7.2, 11.8, 19.0, -3},
    {"baseline with recompute", false, PlanRecompute::kFull, 7.7, 19.5, 27.2, 39},
    {"selective recompute", false, PlanRecompute::kSelective, 7.7, 13.2, 20.9, 7},
    {"selective + sequence", true, PlanRecompute::kSelective, 7.2, 13.1, 20.3, 4},
});

constexpr auto kMtNlg = std::to_array<MtNlgRow>({{2240, 60.1, 126}, {2800, 50.2, 121}, {3360, 44.4, 113}});

std::string billions(double params) {
  return fmt::format("{}B", params);
}

std::string_view schedule_of(int64_t chunks) {
  return chunks > 1 ? "interleaved" : "1f1b";
}

constexpr int64_t kNodeGpus = 8;

PlanModel waleffe(std::string name, std::string_view pattern, int64_t kv_groups) {
  PlanModel model;
  model.name = std::move(name);
  model.pattern = parse_pattern(pattern);
  model.hidden = 4096;
  model.heads = 32;
  model.kv_groups = kv_groups;
  model.head_dim = 128;
  model.ffn = 4 * model.hidden;
  model.vocab = 256000;
  model.sequence = 4096;
  model.bias = false;
  model.norm_bias = false;
  model.tied = false;
  model.dropout = false;
  model.mamba = {.inner = 8192, .state = 128, .groups = 8, .head_dim = 64, .conv = 4};
  return model;
}

}  // namespace

std::span<const WeakScalingRow> weak_scaling_rows() {
  return kWeakScaling;
}

PlanModel model_of(const WeakScalingRow& row) {
  return paper_gpt(billions(row.params_billion), row.layers, row.hidden, row.heads);
}

PlanLayout layout_of(const WeakScalingRow& row) {
  return {.tp = row.tp,
          .pp = row.pp,
          .chunks = row.chunks,
          .dp = row.gpus / (row.tp * row.pp),
          .schedule = std::string(schedule_of(row.chunks)),
          .micro_batch = row.micro_batch,
          .global_batch = row.batch,
          .recompute = PlanRecompute::kFull};
}

std::span<const ZeroRow> zero_rows() {
  return kZero;
}

PlanModel model_of(const ZeroRow& row) {
  const bool gpt3 = row.params_billion < 200;
  return gpt3 ? paper_gpt(billions(row.params_billion), 96, 12288, 96)
              : paper_gpt(billions(row.params_billion), 105, 20480, 128);
}

PlanLayout layout_of(const ZeroRow& row) {
  const int64_t tp = row.zero3 ? 1 : kNodeGpus;
  return {.tp = tp,
          .pp = row.model_parallel / tp,
          .dp = row.gpus / row.model_parallel,
          .micro_batch = row.micro_batch,
          .global_batch = row.batch,
          .recompute = PlanRecompute::kFull,
          .zero = row.zero3 ? 3 : 0};
}

std::span<const RecomputeRow> recompute_rows() {
  return kRecompute;
}

PlanModel model_of(const RecomputeRow& row) {
  return paper_gpt(std::string(row.name), row.layers, row.hidden, row.heads);
}

PlanLayout layout_of(const RecomputeRow& row) {
  return {.tp = row.tp,
          .sequence_parallel = true,
          .pp = row.pp,
          .chunks = row.chunks,
          .schedule = std::string(schedule_of(row.chunks)),
          .micro_batch = row.micro_batch,
          .global_batch = row.batch,
          .recompute = PlanRecompute::kSelective};
}

std::span<const LayerTimeRow> layer_time_rows() {
  return kLayerTimes;
}

std::span<const MtNlgRow> mt_nlg_rows() {
  return kMtNlg;
}

PlanModel mt_nlg_model() {
  return paper_gpt("MT-NLG", 105, 20480, 128);
}

PlanLayout layout_of(const MtNlgRow& row) {
  constexpr int64_t kPipeline = 35;
  return {.tp = kNodeGpus,
          .pp = kPipeline,
          .dp = row.gpus / (kNodeGpus * kPipeline),
          .micro_batch = 1,
          .global_batch = kMtNlgBatch,
          .recompute = PlanRecompute::kFull,
          .scatter_gather = false,
          .zero = 1};
}

PlanModel hybrid_8b() {
  return waleffe("mamba2-hybrid-8b", "M-M-M--M-M*-M-M-M-M--M*-M-M-M-M-M*--M-M-M-M-M*-M--M-M-M-", 8);
}

PlanModel mamba2_8b() {
  return waleffe("mamba2-8b", "(M)x56", 8);
}

PlanModel transformer_8b() {
  PlanModel model = waleffe("transformer-8b", "(*-)x32", 32);
  model.norm_bias = true;  // LayerNorm-1p
  return model;
}

}  // namespace phalanx
