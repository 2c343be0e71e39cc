// File: phalanx/train/report.h
//
// Purpose: where a step's numbers go: metrics.jsonl, TensorBoard, the progress line, the loss plot.
// Contract: owns rates: tokens/s of the run, TFLOP/s a rank (Megatron's formula) and MFU against the matrix-product rate
//   measured on all ranks when the run starts. Everything lands in the run folder; stderr gets the lines.
// Units: see telemetry/metrics.h.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "phalanx/comm/group.h"
#include "phalanx/telemetry/flops.h"
#include "phalanx/telemetry/metrics.h"
#include "phalanx/telemetry/progress.h"
#include "phalanx/telemetry/tensorboard.h"
#include "phalanx/train/run_config.h"

namespace phalanx {

// What the FLOPs of a step are counted from; `model` is finalized.
GptFlopsShape flops_shape(const ModelConfig& model);

// FLOP of forward and backward of so many samples. Hybrids: the plan's count, a state-space scan by its products in chunks of
// 64 rows, the masked half once.
double train_flops(const ModelConfig& config, int64_t samples);

// FLOP/s of a square product in the run's dtype on this device: best of a few, about a tenth of a second.
double measure_gemm_flops(const kernels::Gemm& gemm, at::ScalarType dtype, at::Device device);

// FLOP/s of all ranks together, every one at work at once: ranks that share cores do not count these twice. Collective.
double measure_world_flops(const kernels::Gemm& gemm, at::ScalarType dtype, at::Device device,
                           comm::Group& world);

struct ReportOptions {
  int64_t first_step = 1;
  int64_t last_step = 0;
  // An earlier run's metrics.jsonl in this folder is set aside as metrics.jsonl.1, .2, ..
  bool start_over = false;
  int64_t ranks = 1;
  double peak_flops = 0;  // FLOP/s of all ranks; 0: unknown, MFU is 0
};

class RunReport {
 public:
  RunReport(const RunConfig& config, const ReportOptions& options);

  // Fills the rates from `seconds` and `tokens`, of which `counted` are in the loss, and writes the record everywhere. The
  // others need no logits, so these are not counted as work.
  void step(StepMetrics& metrics, int64_t samples, int64_t counted);
  // Lines for the log that do not tear the progress line: a warning, and a plain one.
  void say(const std::string& text);
  void note(const std::string& text);
  void finish();

  // Draws RUN_DIR/loss.svg from metrics.jsonl.
  static void plot(const std::string& run_dir, const std::vector<std::pair<double, std::string>>& references);

 private:
  const RunConfig& config_;
  int64_t ranks_;
  double peak_flops_;    // a rank's share
  double sample_flops_;  // of a sample, forward and backward
  double logits_flops_;  // of a token, in those
  MetricsWriter metrics_;
  TensorBoardWriter board_;
  ProgressLine line_;
};

}  // namespace phalanx
