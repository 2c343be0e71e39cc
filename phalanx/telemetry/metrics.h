// File: phalanx/telemetry/metrics.h
//
// Purpose: metrics.jsonl, the record of a run: one JSON object a step. TensorBoard and plots are derived from
// it. Contract: doubles are written in the shortest form that reads back bit-equal. JSON has no NaN or
// infinity: they are
//   the strings "NaN", "Infinity" and "-Infinity" (float() in Python and Number() in JavaScript take them
//   back). Keys and their order are those of visit_metrics; optional fields are left out when unset. Readers
//   ignore unknown keys. A line reaches the system as it is appended and the disk every `sync_every` lines
//   and on close. A resumed run appends to the same file: the last record of a step counts. An unfinished
//   last line (no newline) is what a kill leaves behind: readers skip it, a writer that opens the file
//   removes it.
// Units: seconds, tokens and bytes of one step; tflops per device (1e12 FLOP/s); mfu is a fraction, 0 to 1.
// Errors: kIo for the file itself; kBadInput "PATH:LINE: ..." for a line that is no record.
// Example:
//   MetricsWriter writer(run_dir + "/metrics.jsonl");
//   writer.append({.step = 1, .loss = 10.8, .seconds = 0.2});
//   for (const StepMetrics& m : read_metrics(run_dir + "/metrics.jsonl")) use(m);
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "phalanx/telemetry/append_file.h"

namespace phalanx {

struct StepMetrics {
  int64_t step = 0;      // 1 for the first optimizer step
  double loss = 0;       // mean over the unmasked labels of the step, natural log
  double grad_norm = 0;  // before clipping
  double lr = 0;
  int64_t tokens = 0;
  double tokens_per_s = 0;
  double tflops = 0;
  double mfu = 0;
  double seconds = 0;
  int64_t stash_bytes = 0;
  double exposed_comm_s = 0;
  std::optional<double> valid_loss;
  std::optional<double> valid_bpb;  // bits per byte
  std::optional<bool> skipped;      // this step's update was not applied
  std::optional<double> loss_scale;
  std::optional<int64_t> consumed_samples;  // since the start of training
  std::optional<double> data_stall;         // share of `seconds` that the step waited for data

  bool operator==(const StepMetrics&) const = default;
};

// The one list of keys. Visitor: v(const char* key, field).
template <typename Metrics, typename Visitor>
void visit_metrics(Metrics& m, Visitor&& v) {
  v("step", m.step);
  v("loss", m.loss);
  v("grad_norm", m.grad_norm);
  v("lr", m.lr);
  v("tokens", m.tokens);
  v("tokens_per_s", m.tokens_per_s);
  v("tflops", m.tflops);
  v("mfu", m.mfu);
  v("seconds", m.seconds);
  v("stash_bytes", m.stash_bytes);
  v("exposed_comm_s", m.exposed_comm_s);
  v("valid_loss", m.valid_loss);
  v("valid_bpb", m.valid_bpb);
  v("skipped", m.skipped);
  v("loss_scale", m.loss_scale);
  v("consumed_samples", m.consumed_samples);
  v("data_stall", m.data_stall);
}

// One line without its newline, and back. `where` (path and line) opens the error text.
std::string metrics_to_json(const StepMetrics& metrics);
StepMetrics metrics_from_json(std::string_view line, const std::string& where);

class MetricsWriter {
 public:
  static constexpr int kDefaultSyncEvery = 50;  // lines; a lost tail costs a plot's last minute, not training

  explicit MetricsWriter(const std::string& path, int sync_every = kDefaultSyncEvery);
  void append(const StepMetrics& metrics);
  void close();
  const std::string& path() const { return file_.path(); }

 private:
  AppendFile file_;
  int sync_every_;
  int unsynced_ = 0;
};

// One record a step, the last one written, in ascending order of step.
std::vector<StepMetrics> read_metrics(const std::string& path);

}  // namespace phalanx
