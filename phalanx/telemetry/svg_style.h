// File: phalanx/telemetry/svg_style.h
//
// Purpose: the look of a plot in one place: sizes, colours for light and dark pages, and the style sheet.
// Contract: classes s0..s7 colour strokes and f0..f7 fills. Colours keep apart in both schemes and for
// readers who
//   cannot tell red from green (they differ in lightness too).
// See: svg.cc, which lays out and draws.
#pragma once

#include <cstddef>
#include <string>

namespace phalanx::svg_style {

constexpr size_t kNumColours = 8;

constexpr double kOuter = 24;      // free border
constexpr double kTitleSize = 17;  // font sizes
constexpr double kTextSize = 12.5;
constexpr double kTickSize = 12;
constexpr double kLineHeight = 20;  // of legend and label rows
constexpr double kLabelGap = 15;    // between baselines of labels that stand below each other
constexpr double kSwatch = 20;      // length of a legend's line

std::string style_sheet();

}  // namespace phalanx::svg_style
