// File: phalanx/telemetry/progress.h
//
// Purpose: what a person sees while waiting: one line, rewritten in place, for training (ProgressLine) and
// for any other
//   long job (ProgressBar).
// Contract: on a terminal the line appears once the job has run for two seconds and is redrawn at most ten
// times a
//   second; it never exceeds the terminal's width. Without a terminal nothing is drawn: training then logs
//   log_line(metrics) where log_due(step) says so. clear() removes the line before other text is printed;
//   finish() leaves the last state on the screen. All text goes to the sink; the clock is seconds that never
//   jump back.
// Example:
//   ProgressLine line({.total_steps = 2000, .terminal = stderr_terminal()}, sink, monotonic_seconds);
//   for (...) { line.update(metrics); if (line.log_due(metrics.step)) log_info(line.log_line(metrics)); }
//   line.finish();
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "phalanx/telemetry/metrics.h"
#include "phalanx/telemetry/rate_window.h"
#include "phalanx/telemetry/terminal.h"

namespace phalanx {

using TextSink = std::function<void(std::string_view)>;
using Clock = std::function<double()>;  // seconds

// One line of a terminal that is drawn over and over.
class LiveLine {
 public:
  static constexpr double kShowAfter = 2.0;    // seconds: shorter jobs show nothing
  static constexpr double kRedrawEvery = 0.1;  // seconds

  LiveLine(Terminal terminal, TextSink sink, Clock clock);
  bool due() const;                  // whether a draw now would be shown
  void draw(std::string_view text);  // replaces the line
  void clear();                      // removes the line; the next draw shows it again
  void finish(
      std::string_view text);  // last state, then a new line; nothing if the job was too short to show

 private:
  void put(std::string_view text);
  Terminal terminal_;
  TextSink sink_;
  Clock clock_;
  double start_ = 0;
  double last_draw_ = 0;
  bool drawn_ = false;    // a draw happened at some time
  bool visible_ = false;  // the line is on the screen now
};

struct ProgressLineOptions {
  int64_t total_steps = 0;
  int64_t first_step = 1;     // after a resume: the first step of this process
  int64_t log_interval = 10;  // steps between plain log lines
  Terminal terminal;
};

class ProgressLine {
 public:
  ProgressLine(ProgressLineOptions options, TextSink sink, Clock clock);
  void update(const StepMetrics& metrics);
  void clear() { line_.clear(); }
  void finish();

  // First and last step of this process, and every log_interval-th step.
  bool log_due(int64_t step) const;
  std::string log_line(const StepMetrics& metrics) const;
  double seconds_left() const { return rate_.seconds_left(static_cast<double>(options_.total_steps)); }

 private:
  std::string text(const StepMetrics& metrics) const;
  ProgressLineOptions options_;
  Clock clock_;
  LiveLine line_;
  RateWindow rate_;
  StepMetrics last_;
  bool updated_ = false;
};

enum class ProgressUnit { kItems, kBytes };

struct ProgressBarOptions {
  std::string title;  // "tokenizing"
  double total = 0;   // 0 when not known: then neither bar nor time left
  ProgressUnit unit = ProgressUnit::kItems;
  Terminal terminal;
};

class ProgressBar {
 public:
  ProgressBar(ProgressBarOptions options, TextSink sink, Clock clock);
  void update(double done);
  void clear() { line_.clear(); }
  void finish();

 private:
  std::string text() const;
  ProgressBarOptions options_;
  Clock clock_;
  LiveLine line_;
  RateWindow rate_;
  double start_ = 0;
  double done_ = 0;
  bool finished_ = false;
};

}  // namespace phalanx
