// File: phalanx/telemetry/chrome_trace.h
//
// Purpose: a timeline for chrome://tracing and Perfetto, written while the run lives.
// Contract: the file is a JSON array of events, one a line; both viewers accept a missing closing bracket, so
// a killed
//   run leaves a readable trace, short of at most kFlushSeconds of events. close() (or the destructor, which
//   ignores errors) completes the array. After a failed write the trace is given up, not the run: the call
//   throws once, later events are dropped, close() throws the same error again. Thread-safe. Times come from
//   `clock` (seconds that never jump back), counted from the writer's construction, in microseconds; so is
//   every `_us` argument.
// Convention: pid is the global rank, tid a thread or stream (0 main, 7 compute, 20 communication).
// Errors: Error(kIo) with the path.
// Example:
//   ChromeTraceWriter trace(run_dir + "/trace.json");
//   trace.name_process(0, "rank 0");
//   { TraceSpan span(&trace, {.pid = 0, .tid = 7}, "forward", "compute", {{"micro_batch", int64_t{3}}});
//   work(); }
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "phalanx/base/error.h"
#include "phalanx/telemetry/append_file.h"

namespace phalanx {

struct TraceTrack {
  int pid = 0;
  int tid = 0;
};

struct TraceArg {
  std::string_view key;
  std::variant<int64_t, double, std::string_view> value;
};

class ChromeTraceWriter {
 public:
  static constexpr double kFlushSeconds = 1.0;
  static constexpr size_t kFlushBytes = 1 << 18;

  // An empty clock is monotonic_seconds. Replaces an earlier file of that name.
  explicit ChromeTraceWriter(const std::string& path, std::function<double()> clock = {});
  ~ChromeTraceWriter();
  ChromeTraceWriter(const ChromeTraceWriter&) = delete;
  ChromeTraceWriter& operator=(const ChromeTraceWriter&) = delete;

  double now_us() const;
  void name_process(int pid, std::string_view name);  // viewers list processes in order of pid
  void name_thread(TraceTrack track, std::string_view name);
  void complete(TraceTrack track, std::string_view name, std::string_view category, double begin_us,
                double end_us, std::span<const TraceArg> args = {});
  void instant(TraceTrack track, std::string_view name, std::string_view category);
  void counter(int pid, std::string_view name, double value);
  void flush();
  void close();

 private:
  void metadata(TraceTrack track, std::string_view kind, const std::string& args);
  void write_event(const std::string& event);
  void flush_locked();

  mutable std::mutex mutex_;
  std::function<double()> clock_;
  AppendFile file_;
  std::string pending_;
  double start_ = 0;
  double last_flush_ = 0;
  bool first_ = true;
  std::optional<Error> failure_;
};

// A complete event from construction to destruction. With a null writer it does nothing. Names must outlive
// it. An I/O failure inside the destructor is left to close() to report: an exception may be on its way
// already.
class TraceSpan {
 public:
  TraceSpan(ChromeTraceWriter* writer, TraceTrack track, std::string_view name, std::string_view category,
            std::initializer_list<TraceArg> args = {});
  ~TraceSpan();
  TraceSpan(const TraceSpan&) = delete;
  TraceSpan& operator=(const TraceSpan&) = delete;

 private:
  ChromeTraceWriter* writer_;
  TraceTrack track_;
  std::string_view name_;
  std::string_view category_;
  std::vector<TraceArg> args_;
  double begin_us_ = 0;
};

}  // namespace phalanx
