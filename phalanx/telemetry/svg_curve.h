// File: phalanx/telemetry/svg_curve.h
//
// Purpose: from a series to what is drawn: its moving average, and a polyline no longer than the plot is
// wide. Contract: pure functions. smooth(): exponential moving average with the start-up bias divided out, as
// TensorBoard
//   draws it; non-finite values stay where they are and do not enter the average. thin(): of the points that
//   fall into one pixel column it keeps the first, the lowest, the highest and the last, so that no spike is
//   lost.
// Example: for (const Curve& curve : split_at_gaps(pixels)) draw(path_data(thin(curve)));
#pragma once

#include <string>
#include <vector>

namespace phalanx {

struct PlotPoint {
  double x = 0;
  double y = 0;
};
using Curve = std::vector<PlotPoint>;  // consecutive finite points

std::vector<double> smooth(const std::vector<double>& values, double weight);

// Pixel coordinates, NaN y where there is a gap, to unbroken curves.
std::vector<Curve> split_at_gaps(const std::vector<PlotPoint>& points);
Curve thin(const Curve& curve);

// The `d` attribute of an SVG path, one decimal.
std::string path_data(const Curve& curve);

}  // namespace phalanx
