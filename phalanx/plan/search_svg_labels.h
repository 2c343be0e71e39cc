// File: phalanx/plan/search_svg_labels.h
//
// Purpose: where the names of a few points of a crowded plot stand.
// Contract: pure. No label lies on another, on a named point or on another's leader, or reaches out of the frame; one
//   that finds no such place is not shown. Within that, the sum of costs is as small as a bounded search finds it: a
//   label stands near its point, and its text and leader cover few points and lines. y grows downwards.
// Units: pixels.
#pragma once

#include <vector>

#include "phalanx/telemetry/svg_curve.h"

namespace phalanx {

struct LabelBox {
  double left = 0;
  double top = 0;
  double right = 0;
  double bottom = 0;
};
bool overlap(const LabelBox& a, const LabelBox& b);

struct LabelWish {
  PlotPoint point;
  double width = 0;
};

struct PlacedLabel {
  bool shown = false;
  double left = 0;
  double baseline = 0;
  bool has_leader = false;  // from the point, straight down or up, to leader_y
  double leader_y = 0;
};

struct LabelScene {
  LabelBox frame;
  std::vector<PlotPoint> points;  // better not covered
  Curve line;                     // the same, of horizontal and vertical pieces
};

LabelBox label_box(const PlacedLabel& label, double width);
std::vector<PlacedLabel> place_labels(const std::vector<LabelWish>& wishes, const LabelScene& scene);

}  // namespace phalanx
