#include "phalanx/pipeline/render_svg_style.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "phalanx/base/error.h"

namespace phalanx::schedule_style {
namespace {

struct Rgb {
  double red, green, blue;
};

struct Tones {
  Op op;
  char letter;
  Rgb darkest, middle, lightest;
  double height;  // of compact blocks
};

// One tone is the middle one; several go from the darkest to the lightest.
constexpr std::array<Tones, 4> kTones = {{
    {Op::kForward, 'f', {24, 72, 168}, {47, 109, 217}, {160, 202, 255}, 1.0},
    {Op::kBackwardInput, 'b', {222, 168, 0}, {250, 202, 60}, {255, 234, 158}, 0.72},
    {Op::kBackwardWeight, 'w', {33, 122, 62}, {112, 198, 134}, {164, 222, 176}, 0.46},
    {Op::kBackward, 'd', {178, 66, 12}, {240, 138, 60}, {255, 205, 162}, 1.0},
}};

const Tones& tones(Op op) {
  const auto found = std::find_if(kTones.begin(), kTones.end(), [op](const Tones& t) { return t.op == op; });
  PHALANX_CHECK(found != kTones.end(), "only computation is drawn as a block");
  return *found;
}

Rgb colour(Op op, int tone, int num_tones) {
  const Tones& from = tones(op);
  if (num_tones == 1) return from.middle;
  const double share = static_cast<double>(tone) / (num_tones - 1);
  const auto mix = [share](double a, double b) { return std::round(a + share * (b - a)); };
  return {mix(from.darkest.red, from.lightest.red), mix(from.darkest.green, from.lightest.green),
          mix(from.darkest.blue, from.lightest.blue)};
}

std::string page_rules(std::string_view track, std::string_view stash, std::string_view message) {
  return fmt::format(".track{{fill:{}}}.stash{{stroke:{};fill:{}}}.msg{{stroke:{}}}", track, stash, stash,
                     message);
}

}  // namespace

LaneSizes lane_sizes(size_t num_lanes) {
  if (num_lanes <= 8) return {};
  if (num_lanes <= 16) return {.block = 18, .messages = 4, .stash = 17, .gap = 9};
  if (num_lanes <= 32) return {.block = 12, .messages = 3, .stash = 11, .gap = 6};
  return {.block = 8, .messages = 2, .stash = 8, .gap = 4};
}

int tone_of(int chunk, int chunks) {
  if (chunks <= kMaxTones) return chunk;
  return static_cast<int>(int64_t{chunk} * kMaxTones / chunks);
}

std::string block_class(Op op, int tone) {
  return fmt::format("k{}{}", tones(op).letter, tone);
}

// White where it stands out more than black: relative luminance as the Web Content Accessibility Guidelines define it.
bool is_dark(Op op, int tone, int num_tones) {
  const auto linear = [](double byte) {
    const double c = byte / 255;
    return c <= 0.04045 ? c / 12.92 : std::pow((c + 0.055) / 1.055, 2.4);
  };
  const Rgb c = colour(op, tone, num_tones);
  const double luminance = 0.2126 * linear(c.red) + 0.7152 * linear(c.green) + 0.0722 * linear(c.blue);
  return 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05;
}

std::vector<double> bars(Op op, double height) {
  if (op == Op::kBackwardInput) return {height - kBar / 2};
  if (op == Op::kBackward) return {kBar / 2, height - kBar / 2};
  return {};
}

double compact_height(Op op) {
  return tones(op).height;
}

std::string style_sheet(int num_tones) {
  std::string css =
      ".blk,.key{fill:currentColor}.msg{fill:none}.run{fill:none;stroke:currentColor}"
      ".bar{fill:none;stroke-width:2.5;stroke:#1b1f24;stroke-opacity:.5}.hatch{fill:url(#schedule-hatch)}"
      ".num{text-anchor:middle;font-weight:500}.ink{fill:#000000}.paper{fill:#ffffff}"
      ".stash{stroke-width:12;fill-opacity:.16}";
  for (const Tones& kind : kTones) {
    for (int tone = 0; tone < num_tones; ++tone) {
      const Rgb c = colour(kind.op, tone, num_tones);
      css += fmt::format(".{}{{color:#{:02x}{:02x}{:02x}}}", block_class(kind.op, tone),
                         static_cast<int>(c.red), static_cast<int>(c.green), static_cast<int>(c.blue));
    }
  }
  return css + page_rules("#e4e8ed", "#57606a", "#8c959f") + "@media (prefers-color-scheme:dark){" +
         page_rules("#1c232c", "#9aa5b1", "#6e7a87") + "}";
}

std::string pattern_defs() {
  return "<defs><pattern id=\"schedule-hatch\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" "
         "patternTransform=\"rotate(45)\"><rect width=\"1.3\" height=\"5\" fill=\"#14181d\" fill-opacity=\".24\"/>"
         "</pattern></defs>\n";
}

}  // namespace phalanx::schedule_style
