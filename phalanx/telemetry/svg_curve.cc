#include "phalanx/telemetry/svg_curve.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "phalanx/base/error.h"

namespace phalanx {

std::vector<double> smooth(const std::vector<double>& values, double weight) {
  PHALANX_CHECK(weight >= 0 && weight < 1, "a smoothing weight lies in [0, 1)");
  std::vector<double> out = values;
  double average = 0;
  double mass = 0;  // 1 - weight^n: what the weights of the n values so far sum to
  for (double& value : out) {
    if (!std::isfinite(value)) continue;
    average = weight * average + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    value = average / mass;
  }
  return out;
}

std::vector<Curve> split_at_gaps(const std::vector<PlotPoint>& points) {
  std::vector<Curve> curves;
  bool in_curve = false;
  for (const PlotPoint& point : points) {
    const bool finite = std::isfinite(point.x) && std::isfinite(point.y);
    if (finite && !in_curve) curves.emplace_back();
    if (finite) curves.back().push_back(point);
    in_curve = finite;
  }
  return curves;
}

Curve thin(const Curve& curve) {
  Curve kept;
  for (size_t begin = 0; begin < curve.size();) {
    const double column = std::floor(curve[begin].x);
    size_t end = begin + 1;
    while (end < curve.size() && std::floor(curve[end].x) == column) ++end;
    const auto first = curve.begin() + static_cast<std::ptrdiff_t>(begin);
    const auto last = curve.begin() + static_cast<std::ptrdiff_t>(end);
    const auto by_y = [](const PlotPoint& a, const PlotPoint& b) { return a.y < b.y; };
    const auto [lowest, highest] = std::minmax_element(first, last, by_y);
    auto picks = {first, std::min(lowest, highest), std::max(lowest, highest), last - 1};
    auto previous = curve.end();
    for (const auto& pick : picks) {
      if (pick != previous) kept.push_back(*pick);
      previous = pick;
    }
    begin = end;
  }
  return kept;
}

std::string path_data(const Curve& curve) {
  std::string data;
  for (const PlotPoint& point : curve) {
    fmt::format_to(std::back_inserter(data), "{}{:.1f},{:.1f}", data.empty() ? "M" : "L", point.x, point.y);
  }
  return data;
}

}  // namespace phalanx
