// File: phalanx/plan/search_svg_parts.h
//
// Purpose: the parts of the picture of a search, from top to bottom on one sheet, and what they draw with.
// Contract: a part starts at sheet.y and leaves sheet.y below itself. Style: svg_style.h and search_style().
// Units: pixels.
#pragma once

#include <fmt/format.h>

#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "phalanx/plan/search.h"
#include "phalanx/plan/search_svg_points.h"
#include "phalanx/telemetry/svg_style.h"
#include "phalanx/telemetry/svg_text.h"

namespace phalanx {

inline constexpr double kBold = 1.08;  // bold runs wider

struct Sheet {
  double width = 1000;
  double y = svg_style::kOuter;
  std::string out;

  double left() const { return svg_style::kOuter; }
  double right() const { return width - svg_style::kOuter; }

  template <typename... Args>
  void emit(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
  }
  void text(double x, double y_of_text, std::string_view css, std::string_view words) {
    emit("<text class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", css, x, y_of_text, xml_escape(words));
  }
  void line(std::string_view css, double x1, double y1, double x2, double y2) {
    emit("<path class=\"{}\" d=\"M{:.1f},{:.1f}L{:.1f},{:.1f}\"/>\n", css, x1, y1, x2, y2);
  }
};

// Entries from left to right, in as many rows as they need. `draw` gets the swatch's left end and the row's middle.
class LegendRow {
 public:
  explicit LegendRow(Sheet& sheet) : sheet_(sheet), x_(sheet.left()) {}

  template <typename Draw>
  void entry(std::string_view words, double swatch, const Draw& draw) {
    const double width = swatch + kAfterSwatch + text_width(words, svg_style::kTextSize);
    if (x_ > sheet_.left() && x_ + width > sheet_.right()) {
      x_ = sheet_.left();
      sheet_.y += svg_style::kLineHeight;
    }
    draw(x_, sheet_.y + 8);
    sheet_.text(x_ + swatch + kAfterSwatch, sheet_.y + 12.3, "text", words);
    x_ += width + kBetween;
  }
  void end() { sheet_.y += svg_style::kLineHeight + 4; }

 private:
  static constexpr double kAfterSwatch = 6;
  static constexpr double kBetween = 18;
  Sheet& sheet_;
  double x_;
};

std::string search_style();  // the rules, and the hatching as <defs>
std::string search_defs();

void draw_scatter(Sheet& sheet, const SearchResult& result, const DotChoice& choice, int64_t tokens_per_step);
void draw_time_bars(Sheet& sheet, const DotChoice& choice);

}  // namespace phalanx
