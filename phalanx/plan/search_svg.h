// File: phalanx/plan/search_svg.h
//
// Purpose: a layout search as one self-contained SVG: what memory buys in time, and where the time of the best goes.
// Contract: above, a point a layout: memory of a GPU against seconds a step (right: tokens/s a GPU), colour and shape
//   by schedule, filled when simulated and hollow when estimated; the Pareto front as a step line, named layouts along
//   it, the capacity as a dashed line and the nearest misfits, without times, right of it. Below, the first layouts as
//   bars of time_parts. Layouts alike in time, memory and schedule are drawn once; none that is much slower than the
//   fastest; and at most kMaxDots, the front and then the first of the ranking, so the size is bounded. The subtitle
//   says how many are left out. What has no positive time or memory is no point. Labels never overlap. Same input, same
//   bytes. Legible on light and dark pages and without colour.
// Units: pixels. `tokens_per_step` of all GPUs together; 0: no right axis.
// Example: write_file_atomic("plan.svg", search_svg(result, cluster, "1T on 3072 GPUs", batch * sequence));
#pragma once

#include <cstdint>
#include <string>

#include "phalanx/plan/cluster.h"
#include "phalanx/plan/search.h"

namespace phalanx {

std::string search_svg(const SearchResult& result, const Cluster& cluster, const std::string& title,
                       int64_t tokens_per_step);

}  // namespace phalanx
