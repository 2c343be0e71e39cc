// File: phalanx/pipeline/render_svg_style.h
//
// Purpose: the look of a drawn schedule: sizes by number of lanes, and colours by kind of action and chunk.
// Contract: F is blue, B yellow, W green, BW orange; a chunk is a tone of that, chunk 0 the darkest. Blocks look the same
//   on light and dark pages; page, track and text change (telemetry/svg_style.h). Without colour: B has a bar at its
//   foot, BW one at its head too, W is hatched; where blocks are too small for that B and W are lower than F and BW.
// Units: pixels.
#pragma once

#include <string>
#include <vector>

#include "phalanx/pipeline/schedule.h"

namespace phalanx::schedule_style {

inline constexpr int kMaxTones = 16;
inline constexpr double kBar = 2.5;  // thickness

struct LaneSizes {
  double block = 22;
  double messages = 4;
  double stash = 24;
  double gap = 13;  // to the next lane
};
LaneSizes lane_sizes(size_t num_lanes);

// Which of the tones a chunk has. More chunks than tones share them.
int tone_of(int chunk, int chunks);

// The class that colours a block, "kf3", and whether numbers on it are white.
std::string block_class(Op op, int tone);
bool is_dark(Op op, int tone, int num_tones);

// Where the middle lines of the bars of a block lie, from its top.
std::vector<double> bars(Op op, double height);

// The share of the lane's height that a block without patterns has.
double compact_height(Op op);

// The rules for `num_tones` tones, on top of those of svg_style, and the hatching as <defs>.
std::string style_sheet(int num_tones);
std::string pattern_defs();

}  // namespace phalanx::schedule_style
