#include "phalanx/train/timeline.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/pipeline/render.h"

namespace phalanx {
namespace {

struct Mean {
  int64_t sum = 0;
  int64_t count = 0;
  int64_t value() const { return count == 0 ? 0 : std::max<int64_t>(sum / count, 1); }
  void add(int64_t ticks) {
    sum += ticks;
    ++count;
  }
};

struct StageMeans {
  Mean forward, backward, input, weight;
};

// The number behind `key="` in the first tag.
double attribute(const std::string& svg, const std::string& key) {
  const size_t at = svg.find(" " + key + "=\"");
  PHALANX_CHECK(at != std::string::npos, "a picture says how large it is");
  return std::stod(svg.substr(at + key.size() + 3));
}

// Two pictures, one above the other.
std::string stacked(const std::string& above, const std::string& below) {
  const double width = std::max(attribute(above, "width"), attribute(below, "width"));
  const double height = attribute(above, "height");
  std::string second = below.substr(below.find("<svg"));
  second.insert(4, fmt::format(" y=\"{}\"", height));
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\">\n{}\n{}\n</svg>\n", width,
      height + attribute(below, "height"), above.substr(above.find("<svg")), second);
}

}  // namespace

Timeline measured_timeline(const std::vector<RankSpans>& ranks) {
  Timeline timeline;
  double first = ranks.front().started;
  for (const RankSpans& rank : ranks) first = std::min(first, rank.started);
  for (const RankSpans& rank : ranks) {
    const int64_t offset = std::llround((rank.started - first) * 1e9);
    std::vector<TimelineSpan> spans = rank.spans;
    int64_t busy = 0;
    for (TimelineSpan& span : spans) {
      span.begin += offset;
      span.end += offset;
      if (is_compute(span.action.op)) busy += span.end - span.begin;
      timeline.makespan = std::max(timeline.makespan, span.end);
    }
    timeline.busy.push_back(busy);
    timeline.ranks.push_back(std::move(spans));
  }
  return timeline;
}

SimulateOptions measured_costs(const Schedule& schedule, const Timeline& measured) {
  std::vector<StageMeans> means(static_cast<size_t>(schedule.num_stages()));
  for (size_t rank = 0; rank < measured.ranks.size(); ++rank) {
    for (const TimelineSpan& span : measured.ranks[rank]) {
      if (!is_compute(span.action.op)) continue;
      StageMeans& stage =
          means[static_cast<size_t>(schedule.placement[rank][static_cast<size_t>(span.action.chunk)])];
      Mean& mean = span.action.op == Op::kForward         ? stage.forward
                   : span.action.op == Op::kBackward      ? stage.backward
                   : span.action.op == Op::kBackwardInput ? stage.input
                                                          : stage.weight;
      mean.add(span.end - span.begin);
    }
  }
  SimulateOptions options;
  for (const StageMeans& stage : means) {
    const int64_t whole = stage.backward.value();
    options.stages.push_back(
        {.forward = std::max<int64_t>(stage.forward.value(), 1),
         .backward_input = std::max<int64_t>(whole > 0 ? whole / 2 : stage.input.value(), 1),
         .backward_weight = std::max<int64_t>(whole > 0 ? whole - whole / 2 : stage.weight.value(), 1)});
  }
  return options;
}

void write_timelines(const std::string& folder, int64_t step, const Schedule& schedule,
                     const std::vector<RankSpans>& ranks) {
  const Timeline measured = measured_timeline(ranks);
  const Timeline planned = simulate(schedule, measured_costs(schedule, measured));
  const std::string name = fmt::format("{}/timeline_step_{}", folder, step);
  write_file_atomic(
      name + ".svg",
      stacked(render_svg(schedule, measured, fmt::format("Step {} as it ran, {}", step, schedule.kind)),
              render_svg(schedule, planned, "The same schedule with these costs and no waiting")));
  write_trace(name + ".json", schedule, measured);
}

}  // namespace phalanx
