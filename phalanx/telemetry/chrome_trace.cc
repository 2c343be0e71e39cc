#include "phalanx/telemetry/chrome_trace.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "phalanx/base/clock.h"
#include "phalanx/base/json.h"

namespace phalanx {
namespace {

// Quoted; bytes that are no UTF-8 become U+FFFD.
std::string quoted(std::string_view text) {
  return Json(std::string(text)).dump(-1, ' ', false, Json::error_handler_t::replace);
}

struct ValueText {
  std::string operator()(int64_t value) const { return std::to_string(value); }
  std::string operator()(std::string_view value) const { return quoted(value); }
  std::string operator()(double value) const {
    if (std::isfinite(value)) return Json(value).dump();
    return std::isnan(value) ? "\"NaN\"" : (value > 0 ? "\"Infinity\"" : "\"-Infinity\"");
  }
};

std::string args_text(std::span<const TraceArg> args) {
  std::string text;
  for (const TraceArg& arg : args) {
    if (!text.empty()) text += ",";
    text += quoted(arg.key) + ":" + std::visit(ValueText{}, arg.value);
  }
  return "{" + text + "}";
}

}  // namespace

ChromeTraceWriter::ChromeTraceWriter(const std::string& path, std::function<double()> clock)
    : clock_(clock ? std::move(clock) : monotonic_seconds), file_(path, OpenMode::kReplace) {
  start_ = last_flush_ = clock_();
  file_.append("[");
}

ChromeTraceWriter::~ChromeTraceWriter() {
  try {
    close();
  } catch (const Error&) {  // whoever wants to know calls close()
  }
}

double ChromeTraceWriter::now_us() const {
  return (clock_() - start_) * 1e6;
}

void ChromeTraceWriter::metadata(TraceTrack track, std::string_view kind, const std::string& args) {
  write_event(fmt::format(R"({{"ph":"M","name":"{}","pid":{},"tid":{},"args":{}}})", kind, track.pid,
                          track.tid, args));
}

void ChromeTraceWriter::name_process(int pid, std::string_view name) {
  metadata({pid, 0}, "process_name", fmt::format(R"({{"name":{}}})", quoted(name)));
  metadata({pid, 0}, "process_sort_index", fmt::format(R"({{"sort_index":{}}})", pid));
}

void ChromeTraceWriter::name_thread(TraceTrack track, std::string_view name) {
  metadata(track, "thread_name", fmt::format(R"({{"name":{}}})", quoted(name)));
  metadata(track, "thread_sort_index", fmt::format(R"({{"sort_index":{}}})", track.tid));
}

void ChromeTraceWriter::complete(TraceTrack track, std::string_view name, std::string_view category,
                                 double begin_us, double end_us, std::span<const TraceArg> args) {
  const std::string tail = args.empty() ? "" : ",\"args\":" + args_text(args);
  write_event(fmt::format(R"({{"ph":"X","name":{},"cat":{},"pid":{},"tid":{},"ts":{:.3f},"dur":{:.3f}{}}})",
                          quoted(name), quoted(category), track.pid, track.tid, begin_us, end_us - begin_us,
                          tail));
}

void ChromeTraceWriter::instant(TraceTrack track, std::string_view name, std::string_view category) {
  write_event(fmt::format(R"({{"ph":"i","s":"t","name":{},"cat":{},"pid":{},"tid":{},"ts":{:.3f}}})",
                          quoted(name), quoted(category), track.pid, track.tid, now_us()));
}

void ChromeTraceWriter::counter(int pid, std::string_view name, double value) {
  write_event(fmt::format(R"({{"ph":"C","name":{},"pid":{},"tid":0,"ts":{:.3f},"args":{{"value":{}}}}})",
                          quoted(name), pid, now_us(), ValueText{}(value)));
}

// The separator goes before an event, so that the file is a valid array but for its bracket at any time.
void ChromeTraceWriter::write_event(const std::string& event) {
  const std::lock_guard lock(mutex_);
  PHALANX_CHECK(file_.is_open(), "trace event after close: " + file_.path());
  if (failure_) return;
  pending_ += first_ ? "\n" : ",\n";
  pending_ += event;
  first_ = false;
  if (pending_.size() >= kFlushBytes || clock_() - last_flush_ >= kFlushSeconds) flush_locked();
}

void ChromeTraceWriter::flush_locked() {
  if (failure_) return;
  try {
    file_.append(pending_);
  } catch (const Error& error) {
    failure_ = error;
    pending_.clear();
    throw;
  }
  pending_.clear();
  last_flush_ = clock_();
}

void ChromeTraceWriter::flush() {
  const std::lock_guard lock(mutex_);
  flush_locked();
}

void ChromeTraceWriter::close() {
  const std::lock_guard lock(mutex_);
  if (!file_.is_open()) return;
  pending_ += "\n]\n";
  flush_locked();
  file_.close();
  if (failure_) throw *failure_;
}

TraceSpan::TraceSpan(ChromeTraceWriter* writer, TraceTrack track, std::string_view name,
                     std::string_view category, std::initializer_list<TraceArg> args)
    : writer_(writer), track_(track), name_(name), category_(category) {
  if (writer_ == nullptr) return;
  args_.assign(args.begin(), args.end());
  begin_us_ = writer_->now_us();
}

TraceSpan::~TraceSpan() {
  if (writer_ == nullptr) return;
  try {
    writer_->complete(track_, name_, category_, begin_us_, writer_->now_us(), args_);
  } catch (const Error&) {  // kept by the writer; close() throws it again
  }
}

}  // namespace phalanx
