#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>
#include <string_view>
#include <utility>

#include "phalanx/base/error.h"
#include "phalanx/pipeline/render.h"
#include "phalanx/pipeline/render_raster.h"
#include "phalanx/pipeline/render_svg_lane.h"
#include "phalanx/pipeline/render_svg_style.h"
#include "phalanx/telemetry/human.h"
#include "phalanx/telemetry/svg_axis.h"
#include "phalanx/telemetry/svg_style.h"
#include "phalanx/telemetry/svg_text.h"

namespace phalanx {
namespace {

using namespace svg_style;

constexpr double kWidest = 1400;     // of the plot
constexpr double kNarrowest = 720;   // of the picture
constexpr double kWantedBlock = 20;  // of the shortest action
constexpr double kWidestTick = 60;
constexpr size_t kDetailedUpTo =
    6000;  // blocks; more are drawn as runs, a path for all of a lane that look alike
constexpr size_t kMaxLanes = 128;
constexpr size_t kFineLanes = 64;  // up to here a column of a run may be less than a pixel
constexpr double kBold = 1.08;
constexpr double kLegendSwatch = 14;
constexpr int kLegendTones = 8;
constexpr double kTwoLines = 34;  // lanes this far apart have labels of two lines
constexpr double kLongestStages = 130;

class SchedulePicture {
 public:
  SchedulePicture(const Schedule& schedule, const Timeline& timeline, const std::string& title)
      : schedule_(schedule), timeline_(timeline), title_(title) {}

  std::string draw() {
    choose_lanes();
    measure();
    header();
    legend();
    axis();
    for (size_t lane = 0; lane < lanes_.size(); ++lane) {
      lane_labels(lanes_[lane], lane_top(lane));
      out_ += svg_lane(schedule_, timeline_, lanes_[lane], frame_, lane_top(lane));
    }
    const double height = bottom_ + 18 + kLineHeight + kOuter;
    return fmt::format(
               "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" "
               "height=\"{1:.0f}\" role=\"img\" aria-label=\"{2}\">\n<style>{3}{4}</style>\n{5}"
               "<rect class=\"bg\" width=\"{0:.0f}\" height=\"{1:.0f}\"/>\n",
               width_, height, xml_escape(title_), svg_style::style_sheet(),
               schedule_style::style_sheet(frame_.num_tones), schedule_style::pattern_defs()) +
           out_ + "</svg>\n";
  }

 private:
  template <typename... Args>
  void emit(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
  }
  void text(double x, double y, std::string_view css, std::string_view words) {
    emit("<text class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", css, x, y, xml_escape(words));
  }
  double lane_top(size_t lane) const { return top_ + static_cast<double>(lane) * frame_.pitch(); }

  std::string stages_of(size_t rank) const {
    if (schedule_.chunks == 1) return "";
    const std::string all = fmt::format("stage {}", fmt::join(schedule_.placement[rank], ", "));
    return fit_text(all, kTickSize, kLongestStages);
  }

  void choose_lanes();
  void measure();
  void header();
  void legend();
  std::vector<std::string> facts() const;
  void swatch(Op op, double x, double y);
  void axis();
  void lane_labels(size_t rank, double top);

  const Schedule& schedule_;
  const Timeline& timeline_;
  std::string title_;
  std::vector<size_t> lanes_;  // the ranks that are drawn
  std::set<Op> used_;
  LaneFrame frame_;
  bool exact_ = true;
  double top_ = kOuter, bottom_ = 0, width_ = 0;
  std::string out_;
};

// All ranks, or the first, the last and evenly between.
void SchedulePicture::choose_lanes() {
  const size_t pp = timeline_.ranks.size();
  const size_t drawn = std::min(pp, kMaxLanes);
  for (size_t i = 0; i < drawn; ++i) lanes_.push_back(drawn == 1 ? 0 : i * (pp - 1) / (drawn - 1));
  size_t num_blocks = 0;
  for (const size_t rank : lanes_) {
    for (const TimelineSpan& span : timeline_.ranks[rank]) {
      used_.insert(span.action.op);
      if (takes_compute(span)) ++num_blocks;
      if (takes_message(span) && span.end > span.begin) frame_.has_messages = true;
    }
    if (!schedule_.forward_only) frame_.max_peak = std::max(frame_.max_peak, schedule_.peak_stash[rank]);
  }
  frame_.detailed = num_blocks <= kDetailedUpTo;
}

void SchedulePicture::measure() {
  frame_.num_tones = schedule_style::tone_of(schedule_.chunks - 1, schedule_.chunks) + 1;
  frame_.sizes = schedule_style::lane_sizes(lanes_.size());

  int64_t shortest = std::max<int64_t>(timeline_.makespan, 1);
  for (const size_t rank : lanes_) {
    for (const TimelineSpan& span : timeline_.ranks[rank]) {
      if (takes_compute(span) && span.end > span.begin) shortest = std::min(shortest, span.end - span.begin);
    }
  }
  const auto makespan = static_cast<double>(std::max<int64_t>(timeline_.makespan, 1));
  const double wanted = makespan * kWantedBlock / static_cast<double>(shortest);
  const double floor = std::min(kNarrowest - 220, makespan * kWidestTick);
  const double plot = std::clamp(wanted, floor, kWidest);
  frame_.scale = plot / makespan;

  double left_label = 0, right_label = 0;
  for (const size_t rank : lanes_) {
    left_label = std::max(left_label, kBold * text_width(fmt::format("rank {}", rank), kTextSize));
    if (frame_.pitch() >= kTwoLines)
      left_label = std::max(left_label, text_width(stages_of(rank), kTickSize));
  }
  right_label = text_width(
      frame_.pitch() >= kTwoLines ? "100.0% idle" : fmt::format("100.0% idle, peak {}", frame_.max_peak),
      kTickSize);
  frame_.left = kOuter + left_label + 10;
  frame_.right = frame_.left + plot;
  width_ = std::ceil(std::max(frame_.right + 10 + right_label + kOuter, kNarrowest));

  const double narrowest = lanes_.size() <= kFineLanes ? 0.7 : 1.25;
  const int64_t grain = timeline_grain(timeline_);
  const bool coarse = static_cast<double>(grain) * frame_.scale < narrowest;
  exact_ = frame_.detailed || !coarse;
  frame_.column = coarse ? static_cast<int64_t>(std::ceil(narrowest / frame_.scale)) : grain;
}

// What the picture is of, piece by piece.
std::vector<std::string> SchedulePicture::facts() const {
  const auto counted = [](int64_t n, std::string_view what, std::string_view more = "s") {
    return fmt::format("{} {}{}", n, what, n == 1 ? "" : more);
  };
  std::vector<std::string> pieces = {
      fmt::format("{}{}", schedule_.kind, schedule_.forward_only ? ", forward only" : ""),
      fmt::format("p = {}", counted(schedule_.pp, "rank")),
      fmt::format("v = {}", counted(schedule_.chunks, "chunk")),
      fmt::format("m = {}", counted(schedule_.micro_batches, "micro-batch", "es")),
      counted(timeline_.makespan, "tick"),
      fmt::format("bubble {} ({} idle / {} busy)", human_percent(timeline_.bubble()),
                  timeline_.makespan - timeline_.max_busy(), timeline_.max_busy())};
  if (lanes_.size() < timeline_.ranks.size()) {
    pieces.push_back(fmt::format("{} of {} ranks drawn", lanes_.size(), timeline_.ranks.size()));
  }
  if (!exact_)
    pieces.push_back(fmt::format("a column is {}: one of the actions in it, in proportion",
                                 counted(frame_.column, "tick")));
  return pieces;
}

void SchedulePicture::header() {
  const double room = width_ - 2 * kOuter;
  if (!title_.empty()) {
    text(kOuter, top_ + 12, "title", fit_text(title_, kBold * kTitleSize, room));
    top_ += 26;
  }
  std::string line;
  const auto flush = [&] {
    text(kOuter, top_ + 9, "note", fit_text(line, kTextSize, room));
    top_ += kLineHeight;
  };
  for (const std::string& piece : facts()) {
    const std::string longer = line.empty() ? piece : fmt::format("{}  \u00b7  {}", line, piece);
    if (!line.empty() && text_width(longer, kTextSize) > room) {
      flush();
      line = piece;
    } else {
      line = longer;
    }
  }
  flush();
  top_ += 4;
}

// A block as its lane shows it, in its darkest and its lightest tone.
void SchedulePicture::swatch(Op op, double x, double y) {
  const double height = frame_.detailed ? kLegendSwatch : kLegendSwatch * schedule_style::compact_height(op);
  const double top = y + (kLegendSwatch - height) / 2;
  const int halves = frame_.num_tones > 1 ? 2 : 1;
  for (int half = 0; half < halves; ++half) {
    const std::string css = schedule_style::block_class(op, half * (frame_.num_tones - 1));
    const double width = kSwatch / halves;
    emit("<rect class=\"key {}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"/>\n", css,
         x + half * width, top, width, height);
  }
  if (!frame_.detailed) return;
  if (op == Op::kBackwardWeight) {
    emit("<rect class=\"hatch\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"/>\n", x, top,
         kSwatch, height);
  }
  for (const double bar : schedule_style::bars(op, height)) {
    emit("<path class=\"bar\" d=\"M{:.1f},{:.1f}h{:.1f}\"/>\n", x, top + bar, kSwatch);
  }
}

void SchedulePicture::legend() {
  constexpr double kAfterSwatch = 7, kBetween = 20;
  double x = kOuter;
  const auto entry = [&](std::string_view words, double swatch_width, const auto& draw) {
    const double width = swatch_width + kAfterSwatch + text_width(words, kTextSize);
    if (x > kOuter && x + width > width_ - kOuter) {
      x = kOuter;
      top_ += kLineHeight;
    }
    draw(x, top_);
    text(x + swatch_width + kAfterSwatch, top_ + 11.5, "text", words);
    x += width + kBetween;
  };
  constexpr std::pair<Op, std::string_view> kWords[] = {{Op::kForward, "F forward"},
                                                        {Op::kBackwardInput, "B gradient of the input"},
                                                        {Op::kBackwardWeight, "W gradient of the weights"},
                                                        {Op::kBackward, "BW backward"}};
  for (const auto& [op, words] : kWords) {
    if (used_.count(op) != 0)
      entry(words, kSwatch, [this, op = op](double at, double y) { swatch(op, at, y); });
  }
  if (schedule_.chunks > 1) {
    const int shown = std::min(frame_.num_tones, kLegendTones);
    entry(fmt::format("chunks 0 to {}", schedule_.chunks - 1), shown * kLegendSwatch,
          [&](double at, double y) {
            for (int i = 0; i < shown; ++i) {
              const int tone = i * (frame_.num_tones - 1) / (shown - 1);
              emit("<rect class=\"key {}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{}\" height=\"{}\"/>\n",
                   schedule_style::block_class(Op::kForward, tone), at + i * kLegendSwatch, y,
                   kLegendSwatch - 1, kLegendSwatch);
            }
          });
  }
  entry("idle", kSwatch, [this](double at, double y) {
    emit("<rect class=\"track\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{}\" height=\"{}\"/>\n", at, y, kSwatch,
         kLegendSwatch);
  });
  if (frame_.has_messages) {
    entry("a message on its way", kSwatch, [this](double at, double y) {
      emit("<path class=\"msg\" stroke-width=\"{:.1f}\" d=\"M{:.1f},{:.1f}h{}\"/>\n", frame_.sizes.messages,
           at, y + kLegendSwatch / 2, kSwatch);
    });
  }
  if (frame_.max_peak > 0) {
    entry("stashed activations, peak in chunk-micro-batches", kSwatch, [this](double at, double y) {
      emit(
          "<path class=\"stash\" transform=\"translate({:.1f},{:.1f})scale(.1)\" d=\"M0,0v-60h80v-60h70v60h50v60\"/>\n",
          at, y + 13);
    });
  }
  top_ += kLineHeight + 12;
}

void SchedulePicture::axis() {
  bottom_ = lane_top(lanes_.size()) - frame_.sizes.gap + 6;
  Axis axis;
  for (int ticks = 14; ticks >= 2; --ticks) {
    axis = make_axis(0, static_cast<double>(std::max<int64_t>(timeline_.makespan, 1)),
                     {.max_ticks = ticks, .integers = true, .padding = 0});
    double widest = 0;
    for (const Tick& tick : axis.ticks) widest = std::max(widest, text_width(tick.label, kTickSize));
    if ((widest + 22) * static_cast<double>(axis.ticks.size()) <= frame_.right - frame_.left) break;
  }
  for (const Tick& tick : axis.ticks) {
    const double x = frame_.left + tick.value * frame_.scale;
    emit(
        "<path class=\"grid\" d=\"M{0:.1f},{1:.1f}V{2:.1f}\"/><path class=\"axis\" d=\"M{0:.1f},{2:.1f}v4\"/>\n",
        x, top_ - 5, bottom_);
    text(x, bottom_ + 18, "tick mid", tick.label);
  }
  emit("<path class=\"axis\" d=\"M{:.1f},{:.1f}H{:.1f}\"/>\n", frame_.left, bottom_, frame_.right);
  text((frame_.left + frame_.right) / 2, bottom_ + 18 + kLineHeight, "note mid", "time in ticks");
}

void SchedulePicture::lane_labels(size_t rank, double top) {
  const bool two_lines = frame_.pitch() >= kTwoLines;
  const double y = top + frame_.sizes.block / 2 + 4.3;
  const double span = two_lines || frame_.max_peak == 0 ? y : y + 3;
  text(frame_.left - 10, span, "text end strong", fmt::format("rank {}", rank));
  if (two_lines && schedule_.chunks > 1) {
    text(frame_.left - 10, y + 17, "tick end", stages_of(rank));
  }
  const double idle = timeline_.makespan == 0 ? 0
                                              : static_cast<double>(timeline_.idle(static_cast<int>(rank))) /
                                                    static_cast<double>(timeline_.makespan);
  const std::string idle_words = human_percent(idle) + " idle";
  if (frame_.max_peak == 0) {
    text(frame_.right + 10, span, "tick", idle_words);
  } else if (two_lines) {
    text(frame_.right + 10, y, "tick", idle_words);
    text(frame_.right + 10, top + frame_.pitch() - frame_.sizes.gap - 2, "tick",
         fmt::format("peak {}", schedule_.peak_stash[rank]));
  } else {
    text(frame_.right + 10, span, "tick", fmt::format("{}, peak {}", idle_words, schedule_.peak_stash[rank]));
  }
}

}  // namespace

std::string render_svg(const Schedule& schedule, const Timeline& timeline, const std::string& title) {
  PHALANX_CHECK(timeline.ranks.size() == schedule.ranks.size() && !timeline.ranks.empty(),
                "the timeline is the schedule's");
  return SchedulePicture(schedule, timeline, title).draw();
}

}  // namespace phalanx
