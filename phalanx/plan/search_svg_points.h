// File: phalanx/plan/search_svg_points.h
//
// Purpose: what of a search is drawn: which layouts become points, which lie on the front, which are named and how.
// Contract: pure, deterministic. Pointers are into the result that was handed in.
// Units: seconds, bytes.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "phalanx/plan/search.h"

namespace phalanx {

inline constexpr size_t kMaxDots = 2000;
inline constexpr size_t kMaxFrontDots = 1000;
inline constexpr double kSlowestDrawn = 4;  // times the fastest
inline constexpr size_t kNamedFrontDots = 5;
inline constexpr size_t kScheduleClasses = 8;

struct Dot {
  const Candidate* candidate = nullptr;
  size_t rank = 0;   // 1: the first of the ranking
  size_t alike = 0;  // others of the same time, memory and class
  bool front = false;

  double seconds() const { return candidate->time.seconds; }
  int64_t memory() const { return candidate->memory; }
};

struct DotChoice {
  std::vector<Dot> dots;      // by rank
  std::vector<size_t> front;  // of dots: least memory first; each next one needs more and is faster
  size_t left_out = 0;        // too slow or too many: neither drawn nor like one that is
};
DotChoice choose_dots(const SearchResult& result);

// The first of dots and up to kNamedFrontDots of the front, as far apart as can be; places in dots.
std::vector<size_t> named_dots(const DotChoice& choice);

// Colour and shape: one for each schedule known by name, then no pipeline, then any other.
size_t schedule_class(const PlanLayout& layout);
std::string schedule_class_name(size_t schedule_class);

// "tp 8 sp, pp 16 x 4, dp 24, zb-v, b 1, full recompute, ZeRO 1"
std::string short_layout(const PlanLayout& layout);

std::string seconds_text(double seconds);  // three digits, "63.5 s"

}  // namespace phalanx
