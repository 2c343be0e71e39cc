#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <set>

#include "phalanx/base/error.h"
#include "phalanx/pipeline/render.h"
#include "phalanx/pipeline/render_raster.h"
#include "phalanx/telemetry/human.h"

namespace phalanx {
namespace {

constexpr int kSmallestWidth = 40;
constexpr char kIdle = '.';
constexpr char kMessage = '~';

// Digit for F, lower case for B, upper case for W; 0, a and A are one micro-batch, and so on to 9, j and J.
// The second half of BW is upper case, where a column is short enough to show one.
char symbol(const TimelineSpan& span, bool second_half) {
  const auto digit = static_cast<char>(span.action.micro_batch % 10);
  switch (span.action.op) {
    case Op::kForward:
      return static_cast<char>('0' + digit);
    case Op::kBackwardInput:
      return static_cast<char>('a' + digit);
    case Op::kBackwardWeight:
      return static_cast<char>('A' + digit);
    case Op::kBackward:
      return static_cast<char>((second_half ? 'A' : 'a') + digit);
    case Op::kSendForward:
    case Op::kRecvForward:
    case Op::kSendBackward:
    case Op::kRecvBackward:
      return kMessage;
  }
  return kIdle;
}

char chunk_symbol(int chunk) {
  constexpr std::string_view kSymbols = "0123456789abcdefghijklmnopqrstuvwxyz";
  return kSymbols[static_cast<size_t>(chunk) % kSymbols.size()];
}

struct Lane {
  std::string actions;
  std::string chunks;
};

Lane draw_lane(const std::vector<TimelineSpan>& spans, int64_t makespan, int64_t column) {
  const std::vector<int> compute = raster_spans(spans, makespan, column, takes_compute);
  const std::vector<int> messages = raster_spans(spans, makespan, column, takes_message);
  Lane lane;
  for (size_t c = 0; c < compute.size(); ++c) {
    const int span = compute[c];
    if (span < 0) {
      lane.actions += messages[c] < 0 ? kIdle : kMessage;
      lane.chunks += ' ';
    } else {
      const TimelineSpan& drawn = spans[static_cast<size_t>(span)];
      const bool begins = c == 0 || compute[c - 1] != span;
      const int64_t at = static_cast<int64_t>(c) * column;
      lane.actions += symbol(drawn, !begins && 2 * (at - drawn.begin) >= drawn.end - drawn.begin);
      lane.chunks += chunk_symbol(drawn.action.chunk);
    }
  }
  return lane;
}

// A number above every tenth column, as far apart as it needs.
std::string ruler(int64_t columns, int64_t column) {
  std::string line;
  for (int64_t c = 0; c < columns; c += 10) {
    if (static_cast<int64_t>(line.size()) > c) continue;
    line.resize(static_cast<size_t>(c), ' ');
    line += std::to_string(c * column) + ' ';
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

std::string legend(const Schedule& schedule, const std::vector<Lane>& lanes, int64_t column, bool exact) {
  std::set<Op> used;
  for (const ActionList& actions : schedule.ranks) {
    for (const Action& action : actions) used.insert(action.op);
  }
  std::vector<std::string> words;
  if (used.count(Op::kForward) != 0) words.push_back("0-9 F");
  if (used.count(Op::kBackwardInput) != 0) words.push_back("a-j B");
  if (used.count(Op::kBackwardWeight) != 0) words.push_back("A-J W");
  if (used.count(Op::kBackward) != 0) words.push_back("aA-jJ BW");
  std::string text = fmt::format("{} of micro-batch 0-9", fmt::join(words, ", "));
  if (schedule.micro_batches > 10) text += " (last digit)";
  const auto has = [&lanes](char what) {
    return std::any_of(lanes.begin(), lanes.end(),
                       [what](const Lane& lane) { return lane.actions.find(what) != std::string::npos; });
  };
  if (has(kMessage)) text += ", ~ only a message";
  if (has(kIdle)) text += ", . idle";
  text += fmt::format("; a column is {} tick{}", column, column == 1 ? "" : "s");
  if (!exact) text += " and shows one of the actions in it";
  return text;
}

}  // namespace

std::string render_text(const Schedule& schedule, const Timeline& timeline, int width) {
  const size_t pp = timeline.ranks.size();
  PHALANX_CHECK(pp == schedule.ranks.size(), "the timeline is the schedule's");
  std::vector<std::string> ends;
  size_t label = schedule.chunks > 1 ? std::string_view("chunk").size() : 0;
  size_t end = 0;
  for (size_t rank = 0; rank < pp; ++rank) {
    ends.push_back(schedule.forward_only ? "" : fmt::format(" peak {}", schedule.peak_stash[rank]));
    label = std::max(label, fmt::format("rank {}", rank).size());
    end = std::max(end, ends.back().size());
  }
  const auto room =
      std::max<int64_t>(std::max(width, kSmallestWidth) - static_cast<int64_t>(label + end + 3), 1);
  const int64_t grain = timeline_grain(timeline);
  const bool exact = timeline.makespan / grain <= room;
  const int64_t column = exact ? grain : num_columns(timeline.makespan, room);

  std::vector<Lane> lanes;
  for (const std::vector<TimelineSpan>& spans : timeline.ranks) {
    lanes.push_back(draw_lane(spans, timeline.makespan, column));
  }
  std::string out = fmt::format(
      "{}: {} rank{} x {} chunk{}, {} micro-batch{}{}; {} ticks, bubble {}\n", schedule.kind, pp,
      pp == 1 ? "" : "s", schedule.chunks, schedule.chunks == 1 ? "" : "s", schedule.micro_batches,
      schedule.micro_batches == 1 ? "" : "es", schedule.forward_only ? ", forward only" : "",
      timeline.makespan, human_percent(timeline.bubble()));
  const auto line = [&out, label](const std::string& name, const std::string& text) {
    std::string whole = fmt::format("{:<{}}  {}", name, label, text);
    whole.erase(whole.find_last_not_of(' ') + 1);
    out += whole + '\n';
  };
  line("", ruler(num_columns(timeline.makespan, column), column));
  for (size_t rank = 0; rank < pp; ++rank) {
    out +=
        fmt::format("{:<{}} |{}|{}\n", fmt::format("rank {}", rank), label, lanes[rank].actions, ends[rank]);
    if (schedule.chunks > 1) line("chunk", lanes[rank].chunks);
  }
  return out + legend(schedule, lanes, column, exact) + '\n';
}

}  // namespace phalanx
