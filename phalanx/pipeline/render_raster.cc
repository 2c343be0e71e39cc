#include "phalanx/pipeline/render_raster.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

// Kinds of action that a column tells apart.
constexpr size_t kMessages = 4, kIdle = 5, kKinds = 6;

// F, B, W and BW are the first values of Op.
size_t kind_of(Op op) {
  return is_compute(op) ? static_cast<size_t>(op) : kMessages;
}

struct Share {
  int64_t ticks = 0;    // of one kind in a column
  int64_t largest = 0;  // of one action
  int span = -1;
};
using Column = std::array<Share, kKinds>;

}  // namespace

int64_t timeline_grain(const Timeline& timeline) {
  int64_t grain = timeline.makespan;
  for (const std::vector<TimelineSpan>& spans : timeline.ranks) {
    for (const TimelineSpan& span : spans) grain = std::gcd(std::gcd(grain, span.begin), span.end);
  }
  return std::max<int64_t>(grain, 1);
}

int64_t num_columns(int64_t makespan, int64_t column) {
  PHALANX_CHECK(column >= 1, "a column is at least a tick");
  return makespan / column + (makespan % column != 0 ? 1 : 0);
}

std::vector<int> raster_spans(const std::vector<TimelineSpan>& spans, int64_t makespan, int64_t column,
                              TakeSpan take) {
  std::vector<Column> columns(static_cast<size_t>(num_columns(makespan, column)));
  for (size_t i = 0; i < spans.size(); ++i) {
    if (!take(spans[i])) continue;
    const size_t kind = kind_of(spans[i].action.op);
    for (int64_t at = spans[i].begin; at < spans[i].end;) {
      const int64_t next = std::min(spans[i].end, (at / column + 1) * column);
      Share& share = columns[static_cast<size_t>(at / column)][kind];
      share.ticks += next - at;
      if (next - at > share.largest) {
        share.largest = next - at;
        share.span = static_cast<int>(i);
      }
      at = next;
    }
  }
  std::vector<int> out;
  std::array<int64_t, kKinds> owed{};
  for (size_t c = 0; c < columns.size(); ++c) {
    const int64_t length = std::min(column, makespan - static_cast<int64_t>(c) * column);
    int64_t idle = length;
    for (size_t kind = 0; kind < kIdle; ++kind) idle -= columns[c][kind].ticks;
    columns[c][kIdle].ticks = std::max<int64_t>(idle, 0);
    size_t shown = kKinds;
    for (size_t kind = 0; kind < kKinds; ++kind) {
      owed[kind] += std::min(columns[c][kind].ticks, length);  // messages may overlap
      const bool there = columns[c][kind].ticks > 0;
      if (there && (shown == kKinds || owed[kind] > owed[shown])) shown = kind;
    }
    owed[shown] -= length;
    out.push_back(columns[c][shown].span);
  }
  return out;
}

bool takes_compute(const TimelineSpan& span) {
  return is_compute(span.action.op);
}

bool takes_message(const TimelineSpan& span) {
  return !is_compute(span.action.op);
}

std::vector<int> raster_stash(const std::vector<StashPoint>& points, int64_t makespan, int64_t column) {
  std::vector<int> out(static_cast<size_t>(num_columns(makespan, column)));
  for (size_t i = 0; i < points.size(); ++i) {
    const int64_t end = std::min(makespan, i + 1 < points.size() ? points[i + 1].time : makespan);
    for (int64_t at = points[i].time; at < end; at = (at / column + 1) * column) {
      int& count = out[static_cast<size_t>(at / column)];
      count = std::max(count, points[i].count);
    }
  }
  return out;
}

}  // namespace phalanx
