// File: phalanx/telemetry/svg_text.h
//
// Purpose: text in a drawing: how wide it is, how to cut it, how to escape it, and how to place labels side
// by side
//   without overlap.
// Contract: pure functions over UTF-8. Widths are estimates for a common sans-serif, a little too wide rather
// than too
//   narrow, since the reader's font is not known. xml_escape drops what XML 1.0 forbids and replaces bytes
//   that are no UTF-8 by U+FFFD.
// Example: const std::vector<double> y = spread_labels({100, 101}, 15, 0, 400);  // {93, 108}
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace phalanx {

double text_width(std::string_view text, double font_size);

// The text, or its longest start that with an ellipsis is no wider than max_width.
std::string fit_text(std::string_view text, double font_size, double max_width);

std::string xml_escape(std::string_view text);

// Positions at least `gap` apart inside [low, high], in the order of the wanted ones (which need not be
// sorted), with the least sum of squared shifts. A smaller gap is used if they would not fit.
std::vector<double> spread_labels(const std::vector<double>& wanted, double gap, double low, double high);

}  // namespace phalanx
