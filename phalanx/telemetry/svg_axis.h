// File: phalanx/telemetry/svg_axis.h
//
// Purpose: one axis of a plot: the range that the data need, where the ticks stand and what they say.
// Contract: pure functions. Ticks are multiples of 1, 2 or 5 times a power of ten inside the range; on a log
// axis they
//   are 1, 2, 5 times powers of ten, or every n-th power when there are many. All labels of an axis have one
//   form.
// Example: const Axis axis = make_axis(low, high, {.max_ticks = 6}); axis.ticks[0].label
#pragma once

#include <string>
#include <vector>

namespace phalanx {

struct Tick {
  double value = 0;
  std::string label;
};

struct AxisOptions {
  int max_ticks = 6;
  bool log = false;
  bool integers = false;  // no ticks between whole numbers
  double padding = 0.04;  // share of the range added at each end
};

struct Axis {
  double low = 0;
  double high = 1;
  bool log = false;
  std::vector<Tick> ticks;

  // 0 at low, 1 at high.
  double position(double value) const;
};

// low <= high, the extremes of the data; positive on a log axis. Equal extremes get a range around them.
Axis make_axis(double low, double high, const AxisOptions& options);

// Labels for multiples of `step`: "2,000", "0.25", "1.5M"; in powers of ten where that is shorter.
std::vector<std::string> tick_labels(const std::vector<double>& values, double step);

// One value as a label says it: "2.300", "0.00060"; four significant digits or three decimals.
std::string value_label(double value);

// "1.5×10⁻⁴", and just "10⁻⁴" when the mantissa is 1 and no decimals are asked for.
std::string scientific_label(double value, int decimals);

}  // namespace phalanx
