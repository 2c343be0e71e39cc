#include "phalanx/plan/search_svg_points.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <tuple>

#include "phalanx/pipeline/generate.h"

namespace phalanx {
namespace {

constexpr size_t kNoPipeline = kScheduleClasses - 2;
constexpr size_t kOther = kScheduleClasses - 1;
constexpr double kApart = 0.035;  // of named points, as a share of the picture

bool drawable(const Candidate& candidate) {
  return std::isfinite(candidate.time.seconds) && candidate.time.seconds > 0 && candidate.memory > 0;
}

double slowest_drawn(const SearchResult& result) {
  double fastest = std::numeric_limits<double>::infinity();
  for (const Candidate& candidate : result.ranked) {
    if (drawable(candidate)) fastest = std::min(fastest, candidate.time.seconds);
  }
  return kSlowestDrawn * fastest;
}

// By rank, those alike as one; counts those that are too slow.
std::vector<Dot> distinct_dots(const SearchResult& result, size_t& too_slow) {
  const double slowest = slowest_drawn(result);
  std::vector<Dot> dots;
  std::map<std::tuple<double, int64_t, size_t>, size_t> seen;
  for (size_t i = 0; i < result.ranked.size(); ++i) {
    const Candidate& candidate = result.ranked[i];
    if (!drawable(candidate)) continue;
    if (candidate.time.seconds > slowest) {
      ++too_slow;
      continue;
    }
    const auto [place, is_new] = seen.try_emplace(
        {candidate.time.seconds, candidate.memory, schedule_class(candidate.layout)}, dots.size());
    if (is_new) {
      dots.push_back({.candidate = &candidate, .rank = i + 1});
    } else {
      ++dots[place->second].alike;
    }
  }
  return dots;
}

// Least memory first. Of a front longer than kMaxFrontDots, the fastest.
std::vector<size_t> front_of(const std::vector<Dot>& dots) {
  std::vector<size_t> order(dots.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    if (dots[a].memory() != dots[b].memory()) return dots[a].memory() < dots[b].memory();
    return dots[a].seconds() != dots[b].seconds() ? dots[a].seconds() < dots[b].seconds() : a < b;
  });
  std::vector<size_t> front;
  double fastest = std::numeric_limits<double>::infinity();
  for (const size_t i : order) {
    if (dots[i].seconds() >= fastest) continue;
    fastest = dots[i].seconds();
    front.push_back(i);
  }
  if (front.size() > kMaxFrontDots) front.erase(front.begin(), front.end() - kMaxFrontDots);
  return front;
}

}  // namespace

DotChoice choose_dots(const SearchResult& result) {
  DotChoice choice;
  std::vector<Dot> all = distinct_dots(result, choice.left_out);
  const std::vector<size_t> front = front_of(all);
  for (const size_t i : front) all[i].front = true;
  std::vector<size_t> place(all.size());
  size_t room = kMaxDots - front.size();  // for those that are not on the front
  for (size_t i = 0; i < all.size(); ++i) {
    if (!all[i].front && room == 0) {
      choice.left_out += 1 + all[i].alike;
      continue;
    }
    if (!all[i].front) --room;
    place[i] = choice.dots.size();
    choice.dots.push_back(all[i]);
  }
  for (const size_t i : front) choice.front.push_back(place[i]);
  return choice;
}

std::vector<size_t> named_dots(const DotChoice& choice) {
  if (choice.dots.empty()) return {};
  // The picture's own measure: memory from nothing to the largest, time in ratios.
  double most = 1, fastest = std::numeric_limits<double>::infinity(), slowest = 0;
  for (const Dot& dot : choice.dots) {
    most = std::max(most, static_cast<double>(dot.memory()));
    fastest = std::min(fastest, dot.seconds());
    slowest = std::max(slowest, dot.seconds());
  }
  const double ratio = std::max(std::log(slowest / fastest), 1e-3);
  const auto distance = [&](size_t a, size_t b) {
    const Dot& p = choice.dots[a];
    const Dot& q = choice.dots[b];
    return std::hypot(static_cast<double>(p.memory() - q.memory()) / most,
                      std::log(p.seconds() / q.seconds()) / ratio);
  };

  std::vector<size_t> named = {0};
  while (named.size() <= kNamedFrontDots) {
    size_t next = 0;
    double farthest = kApart;
    for (const size_t i : choice.front) {
      double nearest = std::numeric_limits<double>::infinity();
      for (const size_t other : named) nearest = std::min(nearest, distance(i, other));
      if (nearest <= farthest) continue;
      farthest = nearest;
      next = i;
    }
    if (next == 0) break;
    named.push_back(next);
  }
  return named;
}

size_t schedule_class(const PlanLayout& layout) {
  if (layout.pp == 1) return kNoPipeline;
  const std::span<const ScheduleKind> kinds = schedule_kinds();
  for (size_t i = 0; i < std::min(kinds.size(), kNoPipeline); ++i) {
    if (kinds[i].name == layout.schedule) return i;
  }
  return kOther;
}

std::string schedule_class_name(size_t schedule_class) {
  if (schedule_class == kNoPipeline) return "no pipeline";
  const std::span<const ScheduleKind> kinds = schedule_kinds();
  return schedule_class >= std::min(kinds.size(), kNoPipeline) ? "other schedule"
                                                               : std::string(kinds[schedule_class].name);
}

std::string short_layout(const PlanLayout& layout) {
  std::vector<std::string> parts;
  if (layout.tp > 1)
    parts.push_back(fmt::format("tp {}{}", layout.tp, layout.sequence_parallel ? " sp" : ""));
  if (layout.pp > 1) {
    const std::string chunks = layout.chunks > 1 ? fmt::format(" x {}", layout.chunks) : "";
    parts.push_back(fmt::format("pp {}{}", layout.pp, chunks));
  }
  if (layout.cp > 1) parts.push_back(fmt::format("cp {}", layout.cp));
  if (layout.dp > 1) parts.push_back(fmt::format("dp {}", layout.dp));
  if (layout.pp > 1) parts.push_back(layout.schedule);
  parts.push_back(fmt::format("b {}", layout.micro_batch));
  if (layout.recompute != PlanRecompute::kNone) {
    parts.push_back(fmt::format("{} recompute", recompute_name(layout.recompute)));
  }
  if (layout.zero > 0) parts.push_back(fmt::format("ZeRO {}", layout.zero));
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::string seconds_text(double seconds) {
  return seconds >= 99.95 ? fmt::format("{:.0f} s", seconds) : fmt::format("{:#.3g} s", seconds);
}

}  // namespace phalanx
