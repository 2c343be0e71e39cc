// File: phalanx/pipeline/render_svg_lane.h
//
// Purpose: what stands in one rank's lane of a drawn schedule: its blocks, the messages and the stash curve beneath.
// Contract: pure; SVG elements as text. Detailed: a <rect class="blk .."> for every action that takes time, with a
//   <title> for the pointer and its micro-batch number where it fits. Else: a path for all that look alike, in columns of
//   `column` ticks, so that the size is bounded by the width of the picture and not by the number of actions.
// Units: pixels, but for `column`.
#pragma once

#include <cstdint>
#include <string>

#include "phalanx/pipeline/render_svg_style.h"
#include "phalanx/pipeline/simulate.h"

namespace phalanx {

struct LaneFrame {
  schedule_style::LaneSizes sizes;
  double left = 0;
  double right = 0;
  double scale = 1;  // pixels a tick
  int num_tones = 1;
  int max_peak = 0;           // of all lanes, so that stash curves compare; 0: no curve
  bool has_messages = false;  // any lane, so that lanes are alike
  bool detailed = true;
  int64_t column = 1;

  double px(int64_t time) const { return left + static_cast<double>(time) * scale; }
  double pitch() const {
    return sizes.block + (has_messages ? sizes.messages + 1 : 0) + (max_peak > 0 ? sizes.stash + 3 : 0) +
           sizes.gap;
  }
};

std::string svg_lane(const Schedule& schedule, const Timeline& timeline, size_t rank, const LaneFrame& frame,
                     double top);

}  // namespace phalanx
