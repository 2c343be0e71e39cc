#include "phalanx/telemetry/svg_style.h"

#include <fmt/format.h>

#include <array>
#include <string_view>

namespace phalanx::svg_style {
namespace {

struct Scheme {
  std::string_view background, text, muted, grid, axis, warning;
  std::array<std::string_view, kNumColours> colours;
};

constexpr Scheme kLight = {
    .background = "#ffffff",
    .text = "#1b1f24",
    .muted = "#57606a",
    .grid = "#e9ecef",
    .axis = "#8c959f",
    .warning = "#cf222e",
    .colours = {"#1f6feb", "#d9480f", "#0b8a6a", "#8250df", "#b08800", "#bf3989", "#0e7490", "#6e7781"},
};

constexpr Scheme kDark = {
    .background = "#0f141a",
    .text = "#e6edf3",
    .muted = "#9aa5b1",
    .grid = "#232a33",
    .axis = "#56606b",
    .warning = "#ff7b72",
    .colours = {"#6cb0ff", "#ff9a5c", "#4fd1a5", "#c3a6ff", "#e3c04b", "#ff8ac4", "#5fd3e8", "#b1bac4"},
};

std::string colour_rules(const Scheme& scheme) {
  std::string css = fmt::format(
      ".bg{{fill:{}}}.title{{fill:{}}}.text{{fill:{}}}.tick,.note{{fill:{}}}.grid{{stroke:{}}}.axis{{stroke:{"
      "}}}"
      ".ref,.leader{{stroke:{}}}.bad{{stroke:{}}}",
      scheme.background, scheme.text, scheme.text, scheme.muted, scheme.grid, scheme.axis, scheme.muted,
      scheme.warning);
  for (size_t i = 0; i < kNumColours; ++i) {
    css += fmt::format(".s{0}{{stroke:{1}}}.f{0}{{fill:{1}}}", i, scheme.colours[i]);
  }
  return css;
}

}  // namespace

std::string style_sheet() {
  return "text{font-family:Inter,'Helvetica Neue',Helvetica,Arial,'Liberation Sans','DejaVu "
         "Sans',sans-serif}" +
         fmt::format(".title{{font-size:{}px;font-weight:600}}.text,.note{{font-size:{}px}}", kTitleSize,
                     kTextSize) +
         fmt::format(".tick{{font-size:{}px;font-variant-numeric:tabular-nums}}", kTickSize) +
         ".mid{text-anchor:middle}.end{text-anchor:end}.strong{font-weight:600}"
         ".grid,.axis,.leader{stroke-width:1;fill:none}.leader{stroke-opacity:.6}"
         ".ref{stroke-width:1.2;stroke-dasharray:5 4;fill:none}.bad{stroke-width:1.4;fill:none}"
         ".curve,.raw{fill:none;stroke-linejoin:round;stroke-linecap:round}"
         ".curve{stroke-width:2}.raw{stroke-width:1.1;stroke-opacity:.32}.faint{fill-opacity:.4}" +
         colour_rules(kLight) + "@media (prefers-color-scheme:dark){" + colour_rules(kDark) + "}";
}

}  // namespace phalanx::svg_style
