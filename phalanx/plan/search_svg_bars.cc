#include <algorithm>
#include <array>
#include <string_view>

#include "phalanx/plan/search_svg_parts.h"
#include "phalanx/telemetry/svg_axis.h"

namespace phalanx {
namespace {

using namespace svg_style;

constexpr size_t kBars = 8;
constexpr double kBar = 15;
constexpr double kRow = 43;
constexpr double kLayoutShare = 0.55;  // of a line of text, at most
constexpr double kLeastShare = 1e-4;   // of a step, for a part to be explained

enum class Fill { kSolid, kHatched, kIdle };

// Computation is solid, communication hatched, idle time empty: told apart without colour.
struct PartLook {
  std::string_view name;  // of time_parts
  size_t colour = 7;
  double opacity = 1;
  Fill fill = Fill::kSolid;
};
constexpr PartLook kLooks[] = {{"matrix products", 0, 1, Fill::kSolid},
                               {"attention and scans", 0, 0.75, Fill::kSolid},
                               {"norms, activations", 0, 0.5, Fill::kSolid},
                               {"recomputation", 3, 1, Fill::kSolid},
                               {"tensor-parallel communication", 1, 1, Fill::kHatched},
                               {"context-parallel communication", 1, 0.6, Fill::kHatched},
                               {"gathering weights", 5, 1, Fill::kHatched},
                               {"pipeline messages", 4, 1, Fill::kHatched},
                               {"bubble", 7, 1, Fill::kIdle},
                               {"data-parallel communication", 2, 1, Fill::kHatched},
                               {"tied embeddings", 2, 0.6, Fill::kHatched},
                               {"optimizer", 6, 1, Fill::kSolid},
                               {"other", 7, 1, Fill::kSolid}};

const PartLook& look_of(std::string_view name) {
  for (const PartLook& look : kLooks) {
    if (look.name == name) return look;
  }
  return kLooks[std::size(kLooks) - 1];
}

void draw_box(Sheet& sheet, const PartLook& look, double x, double y, double width, double height) {
  const std::string place =
      fmt::format("x=\"{:.2f}\" y=\"{:.1f}\" width=\"{:.2f}\" height=\"{:.1f}\"", x, y, width, height);
  if (look.fill == Fill::kIdle) {
    sheet.emit("<rect class=\"idle axis\" x=\"{:.2f}\" y=\"{:.1f}\" width=\"{:.2f}\" height=\"{:.1f}\"/>",
               x + 0.5, y + 0.5, std::max(width - 1, 0.1), height - 1);
    return;
  }
  const std::string faint = look.opacity < 1 ? fmt::format(" fill-opacity=\"{}\"", look.opacity) : "";
  sheet.emit("<rect class=\"f{}\"{} {}/>", look.colour, faint, place);
  if (look.fill == Fill::kHatched) sheet.emit("<rect class=\"over\" {}/>", place);
}

class TimeBars {
 public:
  TimeBars(Sheet& sheet, const DotChoice& choice) : sheet_(sheet) {
    for (const Dot& dot : choice.dots) {
      if (dots_.size() == kBars || dot.rank > choice.dots[0].rank + 10 * kBars) break;
      dots_.push_back(dot);
    }
    for (const Dot& dot : dots_) {
      double sum = 0;
      for (const TimePart& part : time_parts(dot.candidate->time)) sum += std::max(part.seconds, 0.0);
      longest_ = std::max({longest_, dot.seconds(), sum});
    }
  }

  void draw() {
    if (dots_.empty()) return;
    sheet_.text(
        sheet_.left(), sheet_.y + 12, "text strong",
        dots_.size() == 1 ? "Where the time goes" : "Where the time goes, and what costs most over the best");
    sheet_.text(sheet_.right(), sheet_.y + 12, "note end", "pp x chunks; b: micro-batch");
    sheet_.y += kLineHeight + 2;
    legend();
    sheet_.y += 4;
    for (const Dot& dot : dots_) {
      bar(dot);
      sheet_.y += kRow;
    }
    axis();
  }

 private:
  double scale() const { return (sheet_.right() - sheet_.left()) / longest_; }
  void legend();
  void bar(const Dot& dot);
  void axis();
  std::string verdict(const Dot& dot) const;

  Sheet& sheet_;
  std::vector<Dot> dots_;
  double longest_ = 0;
};

void TimeBars::legend() {
  LegendRow row(sheet_);
  const std::vector<TimePart> parts = time_parts(dots_[0].candidate->time);
  for (size_t i = 0; i < parts.size(); ++i) {
    const bool used = std::any_of(dots_.begin(), dots_.end(), [&](const Dot& dot) {
      return time_parts(dot.candidate->time)[i].seconds > kLeastShare * dot.seconds();
    });
    if (!used) continue;
    row.entry(parts[i].name, 16, [&](double x, double y) {
      draw_box(sheet_, look_of(parts[i].name), x, y - 6, 16, 12);
      sheet_.emit("\n");
    });
  }
  row.end();
}

std::string TimeBars::verdict(const Dot& dot) const {
  std::string words = seconds_text(dot.seconds());
  if (dot.rank != dots_[0].rank) {
    const double percent = 100 * (dot.seconds() / dots_[0].seconds() - 1);
    const std::string why = why_slower(dot.candidate->time, dots_[0].candidate->time);
    words += fmt::format(", {}{:.1f} %{}{}", percent < 0 ? "\u2212" : "+", std::abs(percent),
                         why.empty() ? "" : ": ", why);
  }
  return words + (dot.candidate->time.simulated ? "" : ", estimated");
}

void TimeBars::bar(const Dot& dot) {
  const double baseline = sheet_.y + 12;
  const double room = sheet_.right() - sheet_.left() - 20;
  const std::string layout = fit_text(fmt::format("{}. {}", dot.rank, short_layout(dot.candidate->layout)),
                                      kTextSize, kLayoutShare * room);
  sheet_.text(sheet_.left(), baseline, "text", layout);
  sheet_.text(sheet_.right(), baseline, "note end",
              fit_text(verdict(dot), kTextSize, room - text_width(layout, kTextSize)));
  const double top = sheet_.y + 18;
  double x = sheet_.left();
  for (const TimePart& part : time_parts(dot.candidate->time)) {
    const double width = part.seconds * scale();
    if (!(width > 0)) continue;
    const std::string share = fmt::format("{:.1f} %", 100 * part.seconds / dot.seconds());
    sheet_.emit("<g><title>{}: {}, {}</title>", xml_escape(part.name), seconds_text(part.seconds), share);
    const PartLook& look = look_of(part.name);
    // A gap of half a pixel tells neighbours apart, unless it would hide one.
    draw_box(sheet_, look, x, top, width > 2 ? width - 0.5 : width, kBar);
    if (text_width(share, 11) + 8 < width && look.fill == Fill::kSolid && look.opacity == 1) {
      sheet_.text(x + width / 2, top + 11.3, "inseg mid", share);
    }
    sheet_.emit("</g>\n");
    x += width;
  }
}

void TimeBars::axis() {
  const Axis axis = make_axis(0, longest_, {.max_ticks = 10, .padding = 0});
  const double y = sheet_.y - 6;
  sheet_.line("axis", sheet_.left(), y, sheet_.right(), y);
  for (const Tick& tick : axis.ticks) {
    const double x = sheet_.left() + tick.value * scale();
    sheet_.line("axis", x, y, x, y + 4);
    const bool first = tick.value == 0;
    const bool last = x + text_width(tick.label, kTickSize) / 2 > sheet_.right();
    sheet_.text(x, y + 18, first ? "tick" : last ? "tick end" : "tick mid", tick.label);
  }
  sheet_.text((sheet_.left() + sheet_.right()) / 2, y + 18 + kLineHeight, "note mid", "seconds a step");
  sheet_.y = y + 18 + kLineHeight + 4;
}

}  // namespace

void draw_time_bars(Sheet& sheet, const DotChoice& choice) {
  TimeBars(sheet, choice).draw();
}

}  // namespace phalanx
