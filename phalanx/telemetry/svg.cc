#include "phalanx/telemetry/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <string_view>
#include <utility>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/telemetry/svg_axis.h"
#include "phalanx/telemetry/svg_curve.h"
#include "phalanx/telemetry/svg_style.h"
#include "phalanx/telemetry/svg_text.h"

namespace phalanx {
namespace {

using namespace svg_style;

constexpr double kLargest = 1e100;   // beyond it, either way, a value is no measurement
constexpr size_t kMarkersUpTo = 40;  // points of a series that are drawn as dots too
constexpr size_t kMaxCrosses = 200;
constexpr double kBold = 1.08;  // bold runs wider

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void add(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
};

// A series as it will be drawn: what cannot be drawn is NaN.
struct Prepared {
  std::vector<double> x;
  std::vector<double> raw;
  std::vector<double> line;           // smoothed, or raw again
  std::vector<double> not_finite_at;  // x of NaN and infinite values
};

double drawable(double value, bool log) {
  if (!std::isfinite(value) || std::abs(value) > kLargest) return std::numeric_limits<double>::quiet_NaN();
  if (std::abs(value) < 1 / kLargest) value = 0;
  return log && value <= 0 ? std::numeric_limits<double>::quiet_NaN() : value;
}

struct RightLabel {
  double value;
  std::string name;  // with a space behind it, or empty
  std::string number;
  std::string css;
  double width() const { return text_width(name, kTextSize) + kBold * text_width(number, kTextSize); }
};

class Plotter {
 public:
  explicit Plotter(const LinePlot& plot) : plot_(plot) {}

  std::string draw() {
    prepare();
    header();
    lay_out_axes();
    if (x_range_.empty() || y_range_.empty()) {
      text(plot_.width / 2.0, plot_.height / 2.0, "note mid", "no data yet");
    } else {
      grid();
      references();
      curves();
      right_labels();
    }
    out_ += "</svg>\n";
    return std::move(out_);
  }

 private:
  template <typename... Args>
  void emit(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
  }

  void text(double x, double y, std::string_view css, std::string_view words) {
    emit("<text class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", css, x, y, xml_escape(words));
  }

  void line(std::string_view css, double x1, double y1, double x2, double y2) {
    emit("<path class=\"{}\" d=\"M{:.1f},{:.1f}L{:.1f},{:.1f}\"/>\n", css, x1, y1, x2, y2);
  }

  double px(double x) const { return left_ + x_axis_.position(x) * (right_ - left_); }
  double py(double y) const { return bottom_ - y_axis_.position(y) * (bottom_ - top_); }

  void prepare();
  void header();
  void legend();
  void lay_out_axes();
  void collect_right_labels();
  void grid();
  void references();
  void curves();
  void one_curve(const Prepared& series, const std::vector<double>& values, std::string_view css,
                 size_t colour, bool markers);
  void right_labels();

  const LinePlot& plot_;
  std::vector<Prepared> series_;
  std::vector<RightLabel> labels_;
  Range x_range_, y_range_;
  bool x_integers_ = true;
  double left_ = kOuter, right_ = 0, top_ = kOuter, bottom_ = 0;
  Axis x_axis_, y_axis_;
  std::string out_;
};

void Plotter::prepare() {
  for (const PlotSeries& series : plot_.series) {
    PHALANX_CHECK(series.x.size() == series.y.size(), "a series has one y for each x: " + series.name);
    Prepared ready;
    for (size_t i = 0; i < series.x.size(); ++i) {
      const double x = drawable(series.x[i], plot_.log_x);
      ready.x.push_back(x);
      ready.raw.push_back(drawable(series.y[i], plot_.log_y));
      x_range_.add(x);
      if (std::isfinite(x) && x != std::floor(x)) x_integers_ = false;
      if (std::isfinite(x) && !std::isfinite(series.y[i])) ready.not_finite_at.push_back(x);
    }
    ready.line = smooth(ready.raw, series.smoothing);
    for (const double y : ready.raw) y_range_.add(y);
    series_.push_back(std::move(ready));
  }
  // References alone are no data, but with data they must be inside.
  if (!y_range_.empty()) {
    for (const ReferenceLine& reference : plot_.references)
      y_range_.add(drawable(reference.value, plot_.log_y));
  }
}

void Plotter::header() {
  emit(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" "
      "role=\"img\" "
      "aria-label=\"{2}\">\n<style>{3}</style>\n<rect class=\"bg\" width=\"{0}\" height=\"{1}\"/>\n",
      plot_.width, plot_.height, xml_escape(plot_.title), style_sheet());
  const double room = plot_.width - 2 * kOuter;
  if (!plot_.title.empty()) {
    text(kOuter, top_ + 12, "title", fit_text(plot_.title, kBold * kTitleSize, room));
    top_ += 24;
  }
  if (!plot_.subtitle.empty()) {
    text(kOuter, top_ + 9, "note", fit_text(plot_.subtitle, kTextSize, room));
    top_ += kLineHeight;
  }
  legend();
  if (!plot_.y_label.empty()) {
    text(kOuter, top_ + 12, "note", fit_text(plot_.y_label, kTextSize, room));
    top_ += kLineHeight;
  }
  top_ += 8;
}

// Names in rows from the left, in the order of the series.
void Plotter::legend() {
  constexpr double kAfterSwatch = 7;
  constexpr double kBetween = 22;
  double x = kOuter;
  bool any = false;
  for (size_t i = 0; i < plot_.series.size(); ++i) {
    if (plot_.series[i].name.empty()) continue;
    const double room = plot_.width - 2 * kOuter - kSwatch - kAfterSwatch;
    const std::string name = fit_text(plot_.series[i].name, kTextSize, room);
    const double width = kSwatch + kAfterSwatch + text_width(name, kTextSize);
    if (any && x + width > plot_.width - kOuter) {
      x = kOuter;
      top_ += kLineHeight;
    }
    line(fmt::format("curve s{}", i % kNumColours), x, top_ + 8, x + kSwatch, top_ + 8);
    text(x + kSwatch + kAfterSwatch, top_ + 12.5, "text", name);
    x += width + kBetween;
    any = true;
  }
  if (any) top_ += kLineHeight + 4;
}

void Plotter::lay_out_axes() {
  bottom_ = plot_.height - kOuter - 18 - (plot_.x_label.empty() ? 0 : kLineHeight + 2);
  bottom_ = std::max(bottom_, top_ + 40);
  right_ = plot_.width - kOuter;
  if (x_range_.empty() || y_range_.empty()) return;

  const int y_ticks = std::clamp(static_cast<int>((bottom_ - top_) / 42), 2, 8);
  y_axis_ =
      make_axis(y_range_.low, y_range_.high, {.max_ticks = y_ticks, .log = plot_.log_y, .padding = 0.05});
  double widest = 0;
  for (const Tick& tick : y_axis_.ticks) widest = std::max(widest, text_width(tick.label, kTickSize));
  left_ = kOuter + widest + 8;

  collect_right_labels();
  double widest_label = 0;
  for (const RightLabel& label : labels_) widest_label = std::max(widest_label, label.width());
  if (!labels_.empty()) right_ -= widest_label + 13;
  right_ = std::max(right_, left_ + 40);

  // As many ticks as leave air between their labels.
  for (int ticks = 10; ticks >= 2; --ticks) {
    x_axis_ = make_axis(x_range_.low, x_range_.high,
                        {.max_ticks = ticks, .log = plot_.log_x, .integers = x_integers_, .padding = 0.015});
    double widest_x = 0;
    for (const Tick& tick : x_axis_.ticks) widest_x = std::max(widest_x, text_width(tick.label, kTickSize));
    const double slot = (right_ - left_) / std::max<double>(1, static_cast<double>(x_axis_.ticks.size()));
    if (widest_x + 24 <= slot) break;
  }
}

// The last value of each curve and the name of each reference line, to the right of the plot.
void Plotter::collect_right_labels() {
  const double room = 0.35 * plot_.width;
  for (size_t i = 0; i < series_.size(); ++i) {
    const std::vector<double>& values = series_[i].line;
    const auto last = std::find_if(values.rbegin(), values.rend(), [](double v) { return std::isfinite(v); });
    if (last == values.rend()) continue;
    // What the axis cannot tell from 0 is 0.
    const double shown = std::abs(*last) < 1e-6 * (y_range_.high - y_range_.low) && !plot_.log_y ? 0 : *last;
    labels_.push_back({*last, "", value_label(shown), fmt::format("f{}", i % kNumColours)});
  }
  for (const ReferenceLine& reference : plot_.references) {
    const double value = drawable(reference.value, plot_.log_y);
    if (!std::isfinite(value)) continue;
    std::string name = fit_text(reference.label, kTextSize, room);
    if (!name.empty()) name += ' ';
    labels_.push_back({value, name, value_label(value), "note"});
  }
}

void Plotter::grid() {
  for (const Tick& tick : y_axis_.ticks) {
    line("grid", left_, py(tick.value), right_, py(tick.value));
    text(left_ - 8, py(tick.value) + 4, "tick end", tick.label);
  }
  line("axis", left_, bottom_, right_, bottom_);
  for (const Tick& tick : x_axis_.ticks) {
    line("axis", px(tick.value), bottom_, px(tick.value), bottom_ + 4);
    text(px(tick.value), bottom_ + 18, "tick mid", tick.label);
  }
  if (!plot_.x_label.empty()) {
    const std::string label = fit_text(plot_.x_label, kTextSize, right_ - left_);
    text((left_ + right_) / 2, bottom_ + 18 + kLineHeight, "note mid", label);
  }
}

void Plotter::references() {
  for (const ReferenceLine& reference : plot_.references) {
    const double value = drawable(reference.value, plot_.log_y);
    if (std::isfinite(value)) line("ref", left_, py(value), right_, py(value));
  }
}

void Plotter::curves() {
  // All raw curves lie under all averages.
  for (size_t i = 0; i < series_.size(); ++i) {
    if (plot_.series[i].smoothing > 0) one_curve(series_[i], series_[i].raw, "raw", i % kNumColours, true);
  }
  for (size_t i = 0; i < series_.size(); ++i) {
    one_curve(series_[i], series_[i].line, "curve", i % kNumColours, plot_.series[i].smoothing == 0);
  }
  size_t crosses = 0;
  for (const Prepared& series : series_) {
    for (const double x : series.not_finite_at) {
      if (++crosses > kMaxCrosses) return;
      emit("<path class=\"bad\" d=\"M{0:.1f},{2:.1f}L{1:.1f},{3:.1f}M{0:.1f},{3:.1f}L{1:.1f},{2:.1f}\"/>\n",
           px(x) - 3, px(x) + 3, bottom_ - 3, bottom_ + 3);
    }
  }
}

void Plotter::one_curve(const Prepared& series, const std::vector<double>& values, std::string_view css,
                        size_t colour, bool markers) {
  std::vector<PlotPoint> points;
  for (size_t i = 0; i < values.size(); ++i) points.push_back({px(series.x[i]), py(values[i])});
  const bool few = markers && points.size() <= kMarkersUpTo;
  const std::string_view faint = css == "raw" ? " faint" : "";
  for (const Curve& curve : split_at_gaps(points)) {
    if (curve.size() > 1) emit("<path class=\"{} s{}\" d=\"{}\"/>\n", css, colour, path_data(thin(curve)));
    // A lone point between gaps has no line: it needs a dot to be seen.
    if (!few && curve.size() > 1) continue;
    for (const PlotPoint& point : curve) {
      emit("<circle class=\"f{}{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\"/>\n", colour, faint, point.x,
           point.y, few ? 3 : 2);
    }
  }
}

void Plotter::right_labels() {
  std::vector<double> wanted;
  for (const RightLabel& label : labels_) wanted.push_back(py(label.value));
  const std::vector<double> placed = spread_labels(wanted, kLabelGap, top_, bottom_ - 4);
  for (size_t i = 0; i < labels_.size(); ++i) {
    const RightLabel& label = labels_[i];
    // A short leader beside a number would read as a minus sign.
    if (std::abs(placed[i] - wanted[i]) > 5) line("leader", right_ + 2, wanted[i], right_ + 9, placed[i]);
    emit("<text class=\"text {}\" x=\"{:.1f}\" y=\"{:.1f}\">{}<tspan class=\"strong\">{}</tspan></text>\n",
         label.css, right_ + 10, placed[i] + 4, xml_escape(label.name), xml_escape(label.number));
  }
}

}  // namespace

std::string render_svg(const LinePlot& plot) {
  PHALANX_CHECK(plot.width >= 200 && plot.height >= 150,
                "a plot smaller than 200 x 150 pixels has no room for itself");
  return Plotter(plot).draw();
}

void write_svg(const std::string& path, const LinePlot& plot) {
  write_file_atomic(path, render_svg(plot));
}

}  // namespace phalanx
