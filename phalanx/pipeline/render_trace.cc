#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/pipeline/render.h"
#include "phalanx/telemetry/chrome_trace.h"

namespace phalanx {
namespace {

constexpr int kComputeTrack = 7;
constexpr int kWeightTrack = 8;
constexpr int kMessageTrack = 20;  // and the numbers after it, where messages run at the same time
constexpr double kTickSeconds = 1e-6;

std::string span_name(const Action& action) {
  return fmt::format("{} {}", op_name(action.op), action.micro_batch);
}

// The first message track that is free again.
size_t free_track(std::vector<int64_t>& busy_until, const TimelineSpan& span) {
  const auto free = std::find_if(busy_until.begin(), busy_until.end(),
                                 [&span](int64_t until) { return until <= span.begin; });
  const auto track = static_cast<size_t>(free - busy_until.begin());
  if (free == busy_until.end()) busy_until.push_back(0);
  busy_until[track] = span.end;
  return track;
}

void write_rank(ChromeTraceWriter& trace, const Schedule& schedule, const std::vector<TimelineSpan>& spans,
                int rank) {
  std::vector<int64_t> busy_until;
  bool has_weight = false;
  for (const TimelineSpan& span : spans) {
    const Action& action = span.action;
    const int stage = schedule.placement[static_cast<size_t>(rank)][static_cast<size_t>(action.chunk)];
    const std::array<TraceArg, 4> args = {
        TraceArg{"micro_batch", int64_t{action.micro_batch}}, TraceArg{"chunk", int64_t{action.chunk}},
        TraceArg{"stage", int64_t{stage}}, TraceArg{"peer", int64_t{action.peer}}};
    TraceTrack track{.pid = rank, .tid = kComputeTrack};
    if (action.op == Op::kBackwardWeight) track.tid = kWeightTrack;
    if (!is_compute(action.op)) track.tid = kMessageTrack + static_cast<int>(free_track(busy_until, span));
    has_weight = has_weight || track.tid == kWeightTrack;
    trace.complete(track, span_name(action), is_compute(action.op) ? "compute" : "message",
                   static_cast<double>(span.begin), static_cast<double>(span.end),
                   std::span(args).first(is_compute(action.op) ? 3 : 4));
  }
  trace.name_thread({rank, kComputeTrack}, "compute");
  if (has_weight) trace.name_thread({rank, kWeightTrack}, "weight gradients");
  for (size_t i = 0; i < busy_until.size(); ++i) {
    trace.name_thread({rank, kMessageTrack + static_cast<int>(i)},
                      i == 0 ? std::string("messages") : fmt::format("messages {}", i + 1));
  }
}

void write_events(const std::string& path, const Schedule& schedule, const Timeline& timeline) {
  double now = 0;
  ChromeTraceWriter trace(path, [&now] { return now; });
  for (size_t r = 0; r < timeline.ranks.size(); ++r) {
    const int rank = static_cast<int>(r);
    trace.name_process(rank, fmt::format("rank {}", rank));
    write_rank(trace, schedule, timeline.ranks[r], rank);
    if (schedule.forward_only) continue;
    for (const StashPoint& point : stash_curve(timeline, rank)) {
      now = static_cast<double>(point.time) * kTickSeconds;
      trace.counter(rank, "stash", point.count);
    }
    now = 0;
  }
  trace.close();
}

}  // namespace

void write_trace(const std::string& path, const Schedule& schedule, const Timeline& timeline) {
  // The trace writer builds its file in place, as a living run wants it; this one appears whole or not at all.
  const std::string temporary = fmt::format("{}.tmp.{}", path, ::getpid());
  try {
    write_events(temporary, schedule, timeline);
    std::filesystem::rename(temporary, path);
  } catch (const Error& error) {
    ::unlink(temporary.c_str());
    ErrorParts parts = error.parts();
    parts.where = path;
    throw Error(error.kind(), parts);
  } catch (const std::filesystem::filesystem_error& error) {
    ::unlink(temporary.c_str());
    throw Error(ErrorKind::kIo, {.where = path,
                                 .got = "rename failed: " + error.code().message(),
                                 .needed = "a name for a file",
                                 .fix = "choose another one"});
  }
  sync_directory(std::filesystem::path(path).parent_path().string());
}

}  // namespace phalanx
