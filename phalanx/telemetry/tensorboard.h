// File: phalanx/telemetry/tensorboard.h
//
// Purpose: scalars for TensorBoard, written directly: an event file is a few protobuf messages in TFRecord
// frames, not
//   worth a protobuf library.
// Contract: one writer makes one new file `events.out.tfevents.SECONDS.HOST.PID.N` in the folder (made if
// missing).
//   TensorBoard reads the files of a folder by name, so SECONDS is later than that of every file already
//   there. A resumed run gives `first_step`: TensorBoard then drops the points of earlier files at that step
//   and after. All tags of a folder share one step axis. Values are stored as float; NaN and infinity are
//   allowed. An event reaches the system as it is written; flush() brings it to the disk.
// Errors: Error(kIo) with the path.
// Example:
//   TensorBoardWriter board(run_dir + "/tensorboard", {.first_step = resumed_step + 1});
//   board.scalars(step, {{"loss", 3.2}, {"lr", 6e-4}});
//   board.metrics(step_metrics);   // every numeric field, tags as in metrics.jsonl
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "phalanx/telemetry/append_file.h"
#include "phalanx/telemetry/metrics.h"

namespace phalanx {

struct TensorBoardScalar {
  std::string_view tag;
  double value = 0;
};

struct TensorBoardOptions {
  std::optional<int64_t> first_step;   // set on a resume: the first step that will be written again
  std::function<double()> wall_clock;  // seconds since 1970; empty means the system's clock
};

// The payloads, protobuf message `Event`.
std::string file_version_event(double wall_time);
std::string session_start_event(double wall_time, int64_t first_step);
std::string scalar_event(double wall_time, int64_t step, std::span<const TensorBoardScalar> scalars);

class TensorBoardWriter {
 public:
  explicit TensorBoardWriter(const std::string& folder, TensorBoardOptions options = {});
  void scalars(int64_t step, std::span<const TensorBoardScalar> scalars);
  void scalars(int64_t step, std::initializer_list<TensorBoardScalar> scalars);
  void metrics(const StepMetrics& metrics);
  void flush();
  void close();
  const std::string& path() const { return file_->path(); }

 private:
  std::function<double()> wall_clock_;
  std::unique_ptr<AppendFile> file_;
};

}  // namespace phalanx
