#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "phalanx/plan/search_svg_labels.h"
#include "phalanx/plan/search_svg_parts.h"
#include "phalanx/telemetry/human.h"
#include "phalanx/telemetry/svg_axis.h"

namespace phalanx {
namespace {

using namespace svg_style;

constexpr std::string_view kRate = "tokens/s a GPU";
constexpr std::string_view kBest = "best:";
constexpr double kHeight = 450;
constexpr double kMisfitColumn = 92;
constexpr double kNoMisfits = 12;
constexpr double kMisfitRow = 19;
constexpr double kLabelBand = 17;     // of the height, for each name, below the fastest point
constexpr double kLeastRatio = 1.05;  // of the slowest to the fastest on the axis
constexpr double kWidestName = 0.7;   // of the plot
constexpr double kRadius = 3.6;
constexpr double kLogBelow =
    0.25;  // where all need less than this share of the capacity, memory is on a log axis

// A closed path about the origin's area, a bit wider than `r` where the shape has corners.
std::string shape_path(size_t shape, double x, double y, double r) {
  const double wide = 1.25 * r;
  switch (shape) {
    case 0:  // circle
      return fmt::format("M{0:.1f},{1:.1f}a{2:.1f},{2:.1f} 0 1 0 {3:.1f},0a{2:.1f},{2:.1f} 0 1 0 -{3:.1f},0z",
                         x - r, y, r, 2 * r);
    case 1:  // triangle
      return fmt::format("M{:.1f},{:.1f}l{:.1f},{:.1f}h-{:.1f}z", x, y - wide, wide, 2 * r + 0.4, 2 * wide);
    case 2:  // square
      return fmt::format("M{:.1f},{:.1f}h{:.1f}v{:.1f}h-{:.1f}z", x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r,
                         1.8 * r);
    case 3:  // diamond
      return fmt::format("M{0:.1f},{1:.1f}l{2:.1f},{2:.1f}l-{2:.1f},{2:.1f}l-{2:.1f},-{2:.1f}z", x, y - wide,
                         wide);
    case 4:  // triangle that stands on its tip
      return fmt::format("M{:.1f},{:.1f}l{:.1f},-{:.1f}h-{:.1f}z", x, y + wide, wide, 2 * r + 0.4, 2 * wide);
    case 5:  // hourglass
      return fmt::format("M{:.1f},{:.1f}h{:.1f}l-{:.1f},{:.1f}h{:.1f}z", x - r, y - r, 2 * r, 2 * r, 2 * r,
                         2 * r);
    case 6:  // plus
      return fmt::format(
          "M{0:.1f},{1:.1f}h{2:.1f}v{2:.1f}h{2:.1f}v{2:.1f}h-{2:.1f}v{2:.1f}h-{2:.1f}v-{2:.1f}h-{2:.1f}v-"
          "{2:.1f}h{2:.1f}z",
          x - 0.4 * r, y - 1.2 * r, 0.8 * r);
    default:  // bar
      return fmt::format("M{:.1f},{:.1f}h{:.1f}v{:.1f}h-{:.1f}z", x - 1.3 * r, y - 0.5 * r, 2.6 * r, r,
                         2.6 * r);
  }
}

std::string cross_path(double x, double y, double r) {
  return fmt::format("M{0:.1f},{1:.1f}l{2:.1f},{2:.1f}m-{2:.1f},0l{2:.1f},-{2:.1f}", x - r, y - r, 2 * r);
}

class Scatter {
 public:
  Scatter(Sheet& sheet, const SearchResult& result, const DotChoice& choice, int64_t tokens_per_step)
      : sheet_(sheet), result_(result), choice_(choice), tokens_(static_cast<double>(tokens_per_step)) {
    if (!choice.dots.empty()) tokens_ /= static_cast<double>(choice.dots[0].candidate->layout.world());
  }

  void draw() {
    legend();
    measure();
    axes();
    front();
    for (size_t i = choice_.dots.size(); i-- > 0;) {  // the best on top
      if (!choice_.dots[i].candidate->time.simulated) dot(choice_.dots[i]);
    }
    for (size_t i = choice_.dots.size(); i-- > 0;) {
      if (choice_.dots[i].candidate->time.simulated) dot(choice_.dots[i]);
    }
    misfits();
    labels();
    sheet_.y = bottom_ + 18 + kLineHeight + 16;
  }

 private:
  double px(int64_t memory) const {
    return left_ + x_axis_.position(static_cast<double>(memory) / 1e9) * (capacity_x_ - left_);
  }
  double py(double seconds) const { return bottom_ - y_axis_.position(seconds) * (bottom_ - top_); }

  void legend();
  void measure();
  void choose_x_axis();
  void choose_y_axis();
  void axes();
  void capacity_line();
  void right_axis();
  void front();
  Curve front_curve() const;
  void dot(const Dot& dot);
  void labels();
  void misfits();

  Sheet& sheet_;
  const SearchResult& result_;
  const DotChoice& choice_;
  double tokens_ = 0;  // of a GPU, a step
  std::vector<size_t> named_;
  double left_ = 0, right_ = 0, top_ = 0, bottom_ = 0, capacity_x_ = 0;
  Axis x_axis_, y_axis_, rate_axis_;
};

void Scatter::legend() {
  std::array<bool, kScheduleClasses> used{};
  bool solid = false, hollow = false;
  for (const Dot& dot : choice_.dots) {
    used[schedule_class(dot.candidate->layout)] = true;
    (dot.candidate->time.simulated ? solid : hollow) = true;
  }
  LegendRow row(sheet_);
  const auto marker = [&](size_t shape, std::string_view css) {
    return [this, shape, css](double x, double y) {
      sheet_.emit("<path class=\"{}\" d=\"{}\"/>\n", css, shape_path(shape, x + 5, y, 1.2 * kRadius));
    };
  };
  for (size_t i = 0; i < kScheduleClasses; ++i) {
    if (used[i]) row.entry(schedule_class_name(i), 10, marker(i, fmt::format("f{}", i)));
  }
  if (solid) row.entry("simulated", 10, marker(0, "tick sim"));
  if (hollow) row.entry("estimated", 10, marker(0, "est ink"));
  if (!choice_.front.empty()) {
    row.entry("least memory for its time", kSwatch,
              [this](double x, double y) { sheet_.line("front", x, y, x + kSwatch, y); });
  }
  row.end();
}

void Scatter::measure() {
  named_ = named_dots(choice_);
  sheet_.y += kLineHeight;
  top_ = sheet_.y + 4;
  bottom_ = top_ + kHeight;
  choose_y_axis();
  double widest = 0, widest_rate = 0;
  for (const Tick& tick : y_axis_.ticks) widest = std::max(widest, text_width(tick.label, kTickSize));
  for (const Tick& tick : rate_axis_.ticks)
    widest_rate = std::max(widest_rate, text_width(tick.label, kTickSize));
  left_ = sheet_.left() + widest + 8;
  right_ = sheet_.right() - (widest_rate > 0 ? widest_rate + 10 : 0);
  capacity_x_ = right_ - (result_.misfits.empty() ? kNoMisfits : kMisfitColumn);
  choose_x_axis();
}

// Log, so that equal shares look alike, with a band for names below the fastest.
void Scatter::choose_y_axis() {
  if (choice_.dots.empty()) return;
  double low = std::numeric_limits<double>::infinity(), high = 0;
  for (const Dot& dot : choice_.dots) {
    low = std::min(low, dot.seconds());
    high = std::max(high, dot.seconds());
  }
  if (high < kLeastRatio * low) {
    low /= std::sqrt(kLeastRatio);
    high = kLeastRatio * low;
  }
  const double share = kLabelBand * static_cast<double>(named_.size()) / kHeight;
  low /= std::pow(high / low, share / (1 - share));
  y_axis_ = make_axis(low, high, {.max_ticks = 9, .log = true, .padding = 0.03});
  if (tokens_ > 0) {
    rate_axis_ =
        make_axis(tokens_ / y_axis_.high, tokens_ / y_axis_.low, {.max_ticks = 9, .log = true, .padding = 0});
  }
}

void Scatter::choose_x_axis() {
  std::vector<int64_t> needs;
  for (const Dot& dot : choice_.dots) needs.push_back(dot.memory());
  std::sort(needs.begin(), needs.end());
  const int64_t end = std::max({int64_t{1}, result_.capacity, needs.empty() ? 0 : needs.back()});
  const bool log = !needs.empty() && static_cast<double>(needs[needs.size() / 2]) <
                                         kLogBelow * static_cast<double>(result_.capacity);
  const double low = log ? 0.8 * static_cast<double>(needs.front()) / 1e9 : 0;
  x_axis_ = make_axis(low, static_cast<double>(end) / 1e9, {.max_ticks = 10, .log = log, .padding = 0});
}

void Scatter::axes() {
  sheet_.text(sheet_.left(), top_ - 10, "note", "seconds a step (log scale)");
  for (const Tick& tick : y_axis_.ticks) {
    if (choice_.dots.empty()) break;
    sheet_.line("grid", left_, py(tick.value), capacity_x_, py(tick.value));
    sheet_.text(left_ - 8, py(tick.value) + 4, "tick end", tick.label);
  }
  right_axis();
  sheet_.line("axis", left_, bottom_, capacity_x_, bottom_);
  for (const Tick& tick : x_axis_.ticks) {
    const double x = px(std::llround(tick.value * 1e9));
    sheet_.line("axis", x, bottom_, x, bottom_ + 4);
    sheet_.text(x, bottom_ + 18, "tick mid", tick.label);
  }
  sheet_.text((left_ + capacity_x_) / 2, bottom_ + 18 + kLineHeight, "note mid",
              x_axis_.log ? "memory of a GPU, GB (log scale)" : "memory of a GPU, GB");
  capacity_line();
  if (choice_.dots.empty()) {
    sheet_.text((left_ + capacity_x_) / 2, (top_ + bottom_) / 2, "note mid", "no layout that fits");
  }
}

void Scatter::capacity_line() {
  if (result_.capacity <= 0) return;
  const double x = px(result_.capacity);
  sheet_.line("ref", x, top_ - 6, x, bottom_);
  const std::string words = fmt::format("capacity {}", human_bytes(static_cast<double>(result_.capacity)));
  const double taken = rate_axis_.ticks.empty() ? 0 : text_width(kRate, kTextSize) + 12;
  sheet_.text(std::min(x, sheet_.right() - taken), top_ - 10, "note end", words);
}

void Scatter::right_axis() {
  if (rate_axis_.ticks.empty()) return;
  sheet_.line("axis", right_, top_, right_, bottom_);
  for (const Tick& tick : rate_axis_.ticks) {
    const double y = py(tokens_ / tick.value);
    sheet_.line("axis", right_, y, right_ + 4, y);
    sheet_.text(sheet_.right(), y + 4, "tick end", tick.label);
  }
  sheet_.text(sheet_.right(), top_ - 10, "note end", kRate);
}

// Where what is slower and larger ends: from the top down and right to the capacity.
Curve Scatter::front_curve() const {
  Curve curve;
  double y = top_;
  for (const size_t i : choice_.front) {
    const double x = px(choice_.dots[i].memory());
    curve.push_back({x, y});
    y = py(choice_.dots[i].seconds());
    curve.push_back({x, y});
  }
  if (!curve.empty())
    curve.push_back({px(std::max(result_.capacity, choice_.dots[choice_.front.back()].memory())), y});
  return curve;
}

void Scatter::front() {
  if (!choice_.front.empty()) sheet_.emit("<path class=\"front\" d=\"{}\"/>\n", path_data(front_curve()));
}

void Scatter::dot(const Dot& dot) {
  const Candidate& candidate = *dot.candidate;
  const size_t shape = schedule_class(candidate.layout);
  const double x = px(candidate.memory), y = py(candidate.time.seconds);
  std::string words =
      fmt::format("{}. {}\n{}, {}", dot.rank, to_string(candidate.layout),
                  seconds_text(candidate.time.seconds), human_bytes(static_cast<double>(candidate.memory)));
  if (tokens_ > 0) words += fmt::format(", {} tokens/s a GPU", human_count(tokens_ / candidate.time.seconds));
  words += candidate.time.simulated ? ", simulated" : ", estimated";
  if (dot.alike > 0) words += fmt::format("; {} more like it", dot.alike);
  sheet_.emit("<path class=\"{}\" d=\"{}\"><title>{}</title></path>\n",
              candidate.time.simulated ? fmt::format("sim f{}", shape) : fmt::format("est s{}", shape),
              shape_path(shape, x, y, dot.front ? 1.2 * kRadius : kRadius), xml_escape(words));
}

void Scatter::labels() {
  LabelScene scene{.frame = {left_, top_, capacity_x_, bottom_}, .points = {}, .line = front_curve()};
  for (const Dot& dot : choice_.dots) scene.points.push_back({px(dot.memory()), py(dot.seconds())});
  std::vector<std::string> words;
  std::vector<LabelWish> wishes;
  for (const size_t i : named_) {
    const Dot& dot = choice_.dots[i];
    words.push_back(
        fit_text(short_layout(dot.candidate->layout), kTextSize, kWidestName * (capacity_x_ - left_)));
    const double before = i == 0 ? kBold * text_width(kBest, kTextSize) + text_width(" ", kTextSize) : 0;
    wishes.push_back({scene.points[i], before + text_width(words.back(), kTextSize)});
  }
  const std::vector<PlacedLabel> placed = place_labels(wishes, scene);
  for (size_t i = 0; i < placed.size(); ++i) {
    const PlotPoint& point = wishes[i].point;
    sheet_.emit("<circle class=\"ring\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:.1f}\"/>\n", point.x, point.y, 7.0);
    if (!placed[i].shown) continue;
    if (placed[i].has_leader) {
      const double from = placed[i].leader_y > point.y ? point.y + 7 : point.y - 7;
      sheet_.line("leader", point.x, from, point.x, placed[i].leader_y);
    }
    const std::string best = i == 0 ? fmt::format("<tspan class=\"strong\">{}</tspan> ", kBest) : "";
    sheet_.emit("<text class=\"text halo\" x=\"{:.1f}\" y=\"{:.1f}\">{}{}</text>\n", placed[i].left,
                placed[i].baseline, best, xml_escape(words[i]));
  }
}

// Their times are not known, so they stand in a column.
void Scatter::misfits() {
  if (result_.misfits.empty()) return;
  sheet_.emit("<rect class=\"misfit\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"/>\n",
              capacity_x_ + 1, top_, kMisfitColumn - 2, kHeight);
  sheet_.text(capacity_x_ + kMisfitColumn / 2, top_ + 17, "tick mid", "do not fit");
  const size_t rows = std::min(result_.misfits.size(), kMaxMisfits);
  for (size_t i = 0; i < rows; ++i) {
    const Candidate& candidate = result_.misfits[i];
    const double y = top_ + 38 + kMisfitRow * static_cast<double>(i);
    const std::string need = human_bytes(static_cast<double>(candidate.memory));
    sheet_.emit(
        "<g><title>{}</title><path class=\"bad\" d=\"{}\"/>",
        xml_escape(fmt::format("{}\n{} a GPU, {} too much", to_string(candidate.layout), need,
                               human_bytes(static_cast<double>(candidate.memory - result_.capacity)))),
        cross_path(capacity_x_ + 14, y, 3.5));
    sheet_.text(capacity_x_ + 24, y + 4, "tick", need);
    sheet_.emit("</g>\n");
  }
}

}  // namespace

void draw_scatter(Sheet& sheet, const SearchResult& result, const DotChoice& choice,
                  int64_t tokens_per_step) {
  Scatter(sheet, result, choice, tokens_per_step).draw();
}

}  // namespace phalanx
