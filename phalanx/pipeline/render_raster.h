// File: phalanx/pipeline/render_raster.h
//
// Purpose: one rank's timeline cut into columns of equal length, for drawings that are coarser than a tick.
// Contract: pure functions. Where a column is `grain` ticks, or a divisor of it, nothing is lost. A longer column shows one
//   of the kinds of action in it (or idleness), chosen so that over many columns each kind has its share of the time:
//   what was owed to a kind is carried on to the next column. By the largest kind alone a steady state of one F and one
//   BW twice as long would be BW throughout. Of the actions of that kind it is the one that fills most of the column.
// Units: ticks.
#pragma once

#include <cstdint>
#include <vector>

#include "phalanx/pipeline/simulate.h"

namespace phalanx {

// The largest number that divides where every span begins and ends, at least 1.
int64_t timeline_grain(const Timeline& timeline);

int64_t num_columns(int64_t makespan, int64_t column);

// For every column the index in `spans` of what it shows, or -1. Spans that `take` refuses count as nothing.
using TakeSpan = bool (*)(const TimelineSpan&);
std::vector<int> raster_spans(const std::vector<TimelineSpan>& spans, int64_t makespan, int64_t column,
                              TakeSpan take);

bool takes_compute(const TimelineSpan& span);
bool takes_message(const TimelineSpan& span);

// The largest count within every column.
std::vector<int> raster_stash(const std::vector<StashPoint>& points, int64_t makespan, int64_t column);

}  // namespace phalanx
