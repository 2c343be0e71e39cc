// File: phalanx/pipeline/render.h
//
// Purpose: a simulated (or measured) timeline as a picture: text for a terminal, SVG for a page, a Chrome trace.
// Contract: same input, same bytes. Text: one line a rank, one column a tick (scaled down to `width`). SVG: a lane a
//   rank with micro-batch numbers where they fit, chunks in shades, B and W told apart, the stash curve beneath each lane,
//   bubble share, legend; legible on light and dark pages. Trace: process = rank, lanes for compute, weight gradients,
//   messages; a tick is a microsecond.
// Errors: the writers throw Error(kIo).
#pragma once

#include <string>

#include "phalanx/pipeline/simulate.h"

namespace phalanx {

std::string render_text(const Schedule& schedule, const Timeline& timeline, int width = 160);
std::string render_svg(const Schedule& schedule, const Timeline& timeline, const std::string& title);
void write_trace(const std::string& path, const Schedule& schedule, const Timeline& timeline);

}  // namespace phalanx
