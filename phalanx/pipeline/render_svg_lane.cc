#include "phalanx/pipeline/render_svg_lane.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <utility>

#include "phalanx/pipeline/render_raster.h"
#include "phalanx/telemetry/svg_text.h"

namespace phalanx {
namespace {

constexpr double kLargestNumber = 11.5, kSmallestNumber = 6.5;  // font sizes

class LaneDrawer {
 public:
  LaneDrawer(const Schedule& schedule, const Timeline& timeline, const LaneFrame& frame)
      : schedule_(schedule), timeline_(timeline), frame_(frame) {}

  std::string draw(size_t rank, double top) {
    const std::vector<TimelineSpan>& spans = timeline_.ranks[rank];
    emit("<rect class=\"track\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"/>\n",
         frame_.left, top, frame_.right - frame_.left, frame_.sizes.block);
    if (frame_.detailed) {
      blocks(spans, top);
    } else {
      runs(spans, top);
    }
    double below = top + frame_.sizes.block + 1;
    if (frame_.has_messages) {
      messages(spans, below);
      below += frame_.sizes.messages + 1;
    }
    if (frame_.max_peak > 0) stash(rank, below + 2);
    return std::move(out_);
  }

 private:
  template <typename... Args>
  void emit(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
  }
  std::string css_of(const Action& action) const {
    return schedule_style::block_class(action.op, schedule_style::tone_of(action.chunk, schedule_.chunks));
  }

  void blocks(const std::vector<TimelineSpan>& spans, double top);
  void number(const TimelineSpan& span, double top);
  void runs(const std::vector<TimelineSpan>& spans, double top);
  void messages(const std::vector<TimelineSpan>& spans, double top);
  void stroke(const std::string& css, double thickness, double middle, const std::string& path);
  void stash(size_t rank, double top);

  const Schedule& schedule_;
  const Timeline& timeline_;
  const LaneFrame& frame_;
  std::string out_;
};

// Every action as a block of its own, with its number where it fits; what tells kinds apart goes over all at once.
void LaneDrawer::blocks(const std::vector<TimelineSpan>& spans, double top) {
  std::string hatch, bar;
  for (const TimelineSpan& span : spans) {
    if (!takes_compute(span) || span.end == span.begin) continue;
    const double full = static_cast<double>(span.end - span.begin) * frame_.scale;
    const double width = std::max(full - std::min(1.0, 0.2 * full), 0.3);
    const double x = frame_.px(span.begin);
    emit(
        "<rect class=\"blk {}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"><title>{}: {} to {}</title>"
        "</rect>\n",
        css_of(span.action), x, top, width, frame_.sizes.block, to_string(span.action), span.begin, span.end);
    const Op op = span.action.op;
    if (op == Op::kBackwardWeight) {
      hatch += fmt::format("M{:.1f},{:.1f}h{:.1f}v{:.1f}h-{:.1f}z", x, top, width, frame_.sizes.block, width);
    }
    for (const double y : schedule_style::bars(op, frame_.sizes.block)) {
      bar += fmt::format("M{:.1f},{:.1f}h{:.1f}", x, top + y, width);
    }
  }
  if (!hatch.empty()) emit("<path class=\"hatch\" d=\"{}\"/>\n", hatch);
  if (!bar.empty()) emit("<path class=\"bar\" d=\"{}\"/>\n", bar);
  for (const TimelineSpan& span : spans) {
    if (takes_compute(span)) number(span, top);
  }
}

void LaneDrawer::number(const TimelineSpan& span, double top) {
  // One size for blocks of one width, whatever the number: that of the widest.
  const double width = static_cast<double>(span.end - span.begin) * frame_.scale;
  const double widest = text_width(std::to_string(schedule_.micro_batches - 1), 1);
  const double size = std::min({kLargestNumber, frame_.sizes.block - 3, (width - 3) / widest});
  if (size < kSmallestNumber) return;
  const int tone = schedule_style::tone_of(span.action.chunk, schedule_.chunks);
  const bool dark = schedule_style::is_dark(span.action.op, tone, frame_.num_tones);
  emit("<text class=\"num {}\" font-size=\"{:.1f}\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n",
       dark ? "paper" : "ink", size, frame_.px(span.begin) + (width - 1) / 2,
       top + frame_.sizes.block / 2 + 0.36 * size, span.action.micro_batch);
}

// All of a lane that look alike as one dashed stroke, in columns.
void LaneDrawer::runs(const std::vector<TimelineSpan>& spans, double top) {
  struct Run {
    std::string path;
    int64_t end = 0;
    Op op = Op::kForward;
  };
  std::map<std::string, Run> all;
  const std::vector<int> columns = raster_spans(spans, timeline_.makespan, frame_.column, takes_compute);
  const auto look = [&](size_t c) {
    return columns[c] < 0 ? std::string() : css_of(spans[static_cast<size_t>(columns[c])].action);
  };
  for (size_t begin = 0; begin < columns.size();) {
    const std::string css = look(begin);
    size_t end = begin + 1;
    while (end < columns.size() && look(end) == css) ++end;
    if (!css.empty()) {
      Run& run = all[css];
      run.op = spans[static_cast<size_t>(columns[begin])].action.op;
      run.path += fmt::format("m{},0h{}", static_cast<int64_t>(begin) - run.end, end - begin);
      run.end = static_cast<int64_t>(end);
    }
    begin = end;
  }
  for (const auto& [css, run] : all) {
    stroke("run " + css, frame_.sizes.block * schedule_style::compact_height(run.op),
           top + frame_.sizes.block / 2, run.path);
  }
}

// A dashed line whose path counts columns.
void LaneDrawer::stroke(const std::string& css, double thickness, double middle, const std::string& path) {
  emit(
      "<path class=\"{}\" stroke-width=\"{:.1f}\" transform=\"translate({:.1f},{:.2f})scale({:.6g},1)\" d=\"M0,0{}\"/>\n",
      css, thickness, frame_.left, middle, frame_.scale * static_cast<double>(frame_.column), path);
}

// Messages that overlap in time are one bar.
void LaneDrawer::messages(const std::vector<TimelineSpan>& spans, double top) {
  const std::vector<int> columns = raster_spans(spans, timeline_.makespan, frame_.column, takes_message);
  std::string path;
  size_t end = 0;
  for (size_t begin = 0; begin < columns.size(); ++begin) {
    if (columns[begin] < 0) continue;
    path += fmt::format("m{},0h", begin - end);
    for (end = begin; end < columns.size() && columns[end] >= 0;) ++end;
    path += std::to_string(end - begin);
    begin = end;
  }
  if (!path.empty()) stroke("msg", frame_.sizes.messages, top + frame_.sizes.messages / 2, path);
}

void LaneDrawer::stash(size_t rank, double top) {
  std::vector<StashPoint> points = stash_curve(timeline_, static_cast<int>(rank));
  if (!frame_.detailed) {
    const std::vector<int> highest = raster_stash(points, timeline_.makespan, frame_.column);
    points.clear();
    for (size_t c = 0; c < highest.size(); ++c) {
      if (points.empty() || points.back().count != highest[c]) {
        points.push_back({static_cast<int64_t>(c) * frame_.column, highest[c]});
      }
    }
  }
  // Tenths of a pixel, so that whole numbers do and rounding does not add up.
  const auto tenths = [](double v) { return static_cast<int64_t>(std::llround(10 * v)); };
  int64_t x = 0, y = 0;
  std::string path = "M0,0";
  const auto go = [&](int64_t to_x, int64_t to_y) {
    if (to_x != x) path += fmt::format("h{}", to_x - x);
    if (to_y != y) path += fmt::format("v{}", to_y - y);
    x = to_x;
    y = to_y;
  };
  for (const StashPoint& point : points) {
    go(tenths(static_cast<double>(point.time) * frame_.scale),
       -tenths(frame_.sizes.stash * point.count / frame_.max_peak));
  }
  go(tenths(frame_.right - frame_.left), 0);
  emit("<path class=\"stash\" transform=\"translate({:.1f},{:.1f})scale(.1)\" d=\"{}\"/>\n", frame_.left,
       top + frame_.sizes.stash, path);
}

}  // namespace

std::string svg_lane(const Schedule& schedule, const Timeline& timeline, size_t rank, const LaneFrame& frame,
                     double top) {
  return LaneDrawer(schedule, timeline, frame).draw(rank, top);
}

}  // namespace phalanx
