// File: phalanx/telemetry/svg.h
//
// Purpose: a line plot as one self-contained SVG file: loss curves and the like.
// Contract: a value that is NaN, infinite, or (on a log axis) not positive is a gap in its curve, and so is a point
//   with such an x; NaN and infinity are also marked by a small cross on the x axis. With `smoothing` the raw curve
//   is drawn faint under its exponential moving average. Reference lines are dashed, labelled on the right. Labels
//   never overlap; what is too long is cut with an ellipsis. The file size is bounded by the plot's width, not by the
//   number of points. The background is drawn, so the plot is legible on any page; where the viewer prefers dark
//   colours it turns dark itself. Same input, same bytes. A plot without data says so.
// Units: pixels.
// Errors: write_svg throws Error(kIo). x and y of a series must be equally long (PHALANX_CHECK).
// Example:
//   LinePlot plot{.title = "Training loss", .x_label = "step", .y_label = "nats per token"};
//   plot.series.push_back({.name = "train", .x = steps, .y = losses, .smoothing = 0.9});
//   plot.references.push_back({.value = 3.5, .label = "bigram model"});
//   write_svg(run_dir + "/loss.svg", plot);
#pragma once

#include <string>
#include <vector>

namespace phalanx {

struct PlotSeries {
  std::string name;  // for the legend; may be empty
  std::vector<double> x;
  std::vector<double> y;
  double smoothing = 0;  // weight of the past in the moving average, in [0, 1); 0 draws the values alone
};

struct ReferenceLine {
  double value = 0;
  std::string label;
};

struct LinePlot {
  std::string title;
  std::string subtitle;
  std::string x_label;
  std::string y_label;
  std::vector<PlotSeries> series;
  std::vector<ReferenceLine> references;
  bool log_x = false;
  bool log_y = false;
  int width = 880;
  int height = 500;
};

std::string render_svg(const LinePlot& plot);
void write_svg(const std::string& path, const LinePlot& plot);

}  // namespace phalanx
