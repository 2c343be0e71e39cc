// File: phalanx/plan/published.h
//
// Purpose: the configurations and measurements of the papers as data, for the planner to be checked against.
// Contract: only numbers that stand in the source; a curve that was read off a figure is marked approximate. 0: not
//   stated. `layout_of` fills in what a table leaves open with what its paper says of all its runs: full recompute
//   and 1F1B, or the interleaved schedule where the table interleaves.
// Units: parameters in 1e9; rates in TFLOP/s a GPU of an A100 (312 TFLOP/s); seconds an iteration.
// Source: each table names its own.
// Example: for (const WeakScalingRow& row : weak_scaling_rows()) price(model_of(row), layout_of(row));
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "phalanx/plan/plan_layout.h"
#include "phalanx/plan/plan_model.h"

namespace phalanx {

inline constexpr int64_t kPaperVocab = 51200;
inline constexpr int64_t kPaperSequence = 2048;
inline constexpr double kA100Flops = 312e12;

// Full recompute, so the rates count it (eq. 3).
inline constexpr std::string_view kWeakScalingSource =
    "Narayanan et al. 2021 (arXiv 2104.04473), table 1; micro-batch and chunks from Megatron-LM, "
    "examples/academic_paper_scripts/sc21";
struct WeakScalingRow {
  double params_billion = 0;
  int64_t heads = 0;
  int64_t hidden = 0;
  int64_t layers = 0;
  int64_t tp = 1;
  int64_t pp = 1;
  int64_t gpus = 0;
  int64_t batch = 0;
  double tflops = 0;
  double percent_of_peak = 0;
  double petaflops = 0;  // all GPUs
  int64_t micro_batch = 1;
  int64_t chunks = 1;
};
std::span<const WeakScalingRow> weak_scaling_rows();
PlanModel model_of(const WeakScalingRow& row);
PlanLayout layout_of(const WeakScalingRow& row);

inline constexpr std::string_view kZeroSource =
    "Narayanan et al. 2021 (arXiv 2104.04473), table 2; 300B tokens; a batch of 2560 because "
    "530B did not fit on 560 GPUs";
struct ZeroRow {
  bool zero3 = false;  // else tensor and pipeline parallel
  double params_billion = 0;
  int64_t model_parallel = 1;
  int64_t batch = 0;
  int64_t gpus = 0;
  int64_t micro_batch = 1;
  double tflops = 0;
  double days = 0;
};
std::span<const ZeroRow> zero_rows();
PlanModel model_of(const ZeroRow& row);
PlanLayout layout_of(const ZeroRow& row);  // tp 8, the GPUs of a node; chunks are not stated: 1

inline constexpr std::string_view kRecomputeSource =
    "Korthikanti et al. 2022 (arXiv 2205.05198), tables 3 and 5; no data parallelism";
struct RecomputeRow {
  std::string_view name;
  int64_t heads = 0;
  int64_t hidden = 0;
  int64_t layers = 0;
  int64_t tp = 1;
  int64_t pp = 1;
  int64_t chunks = 1;
  int64_t gpus = 0;
  int64_t batch = 0;
  int64_t micro_batch = 1;
  double full_seconds = 0;     // full recompute
  double present_seconds = 0;  // selective recompute and sequence parallelism
  double gain_percent = 0;
  double mfu_percent = 0;
  double hfu_percent = 0;
};
std::span<const RecomputeRow> recompute_rows();
PlanModel model_of(const RecomputeRow& row);
PlanLayout layout_of(const RecomputeRow& row);  // the present work

// 530B on 8 replicas, 280 sequences each: time and MFU beside those of one replica in table 5.
inline constexpr std::string_view kReplicatedSource =
    "Korthikanti et al. 2022, text to table 5 (530B on 2240 GPUs)";
inline constexpr int64_t kReplicatedGpus = 2240;
inline constexpr int64_t kReplicatedBatch = 2240;
inline constexpr double kReplicatedSeconds = 39.15;
inline constexpr double kReplicatedMfuPercent = 54.2;

inline constexpr std::string_view kLayerTimeSource = "Korthikanti et al. 2022, table 4: one layer of 22B, ms";
struct LayerTimeRow {
  std::string_view name;
  bool sequence_parallel = false;
  PlanRecompute recompute = PlanRecompute::kNone;
  double forward_ms = 0;
  double backward_ms = 0;
  double combined_ms = 0;
  double overhead_percent = 0;
};
std::span<const LayerTimeRow> layer_time_rows();

inline constexpr std::string_view kMtNlgSource =
    "Smith et al. 2022 (arXiv 2201.11990): 530B, tp 8, pp 35, batch 1920, bf16, full recompute";
inline constexpr int64_t kMtNlgBatch = 1920;
inline constexpr int64_t kMtNlgStateBytes = 20;  // a parameter: weights, gradients, Adam
struct MtNlgRow {
  int64_t gpus = 0;
  double seconds = 0;
  double tflops = 0;
};
std::span<const MtNlgRow> mt_nlg_rows();
PlanModel mt_nlg_model();
PlanLayout layout_of(const MtNlgRow& row);

// Batches and rates that belong together; rates approximate.
struct FigureCurve {
  std::string_view name;
  std::vector<int64_t> batches;
  std::vector<double> tflops;
};

// A figure of Narayanan et al. 2021: what is fixed, and in `swept` what is not.
struct FigureConfig {
  int figure = 0;
  double params_billion = 0;
  int64_t layers = 0;
  int64_t hidden = 0;
  int64_t heads = 0;
  int64_t gpus = 0;
  int64_t tp = 0;
  int64_t pp = 0;
  int64_t chunks = 0;
  int64_t micro_batch = 0;
  std::vector<int64_t> batches;
  std::string_view swept;
  std::vector<FigureCurve> curves;
};
inline constexpr std::string_view kFigureSource =
    "Narayanan et al. 2021 (arXiv 2104.04473), figures 7 to 18; curves read off the figures";
std::vector<FigureConfig> figure_configs();

// Waleffe et al. 2024 (arXiv 2406.07887): Mamba-2-Hybrid of 24 M, 4 *, 28 -; 56 M; Transformer with as many key
// heads as query heads. 256 000 tokens, sequences of 4096.
PlanModel hybrid_8b();
PlanModel mamba2_8b();
PlanModel transformer_8b();

}  // namespace phalanx
