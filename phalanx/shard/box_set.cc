#include "phalanx/shard/box_set.h"

#include <algorithm>
#include <numeric>

namespace phalanx {
namespace {

// The dim with the most distinct begins: sweeping along it compares the fewest pairs.
size_t best_sweep_dim(const std::vector<Box>& boxes) {
  size_t best = 0;
  size_t most = 0;
  for (size_t d = 0; d < boxes.front().begin.size(); ++d) {
    Shape begins;
    for (const Box& box : boxes) begins.push_back(box.begin[d]);
    std::sort(begins.begin(), begins.end());
    const auto distinct = static_cast<size_t>(std::unique(begins.begin(), begins.end()) - begins.begin());
    if (distinct > most) {
      most = distinct;
      best = d;
    }
  }
  return best;
}

}  // namespace

std::vector<Box> subtract(const Box& a, const Box& b) {
  const std::optional<Box> common = intersect(a, b);
  if (!common) return {a};
  std::vector<Box> rest;
  Box core = a;  // shrinks to `common`, one dim after the other
  for (size_t d = 0; d < a.begin.size(); ++d) {
    if (core.begin[d] < common->begin[d]) {
      rest.push_back(core);
      rest.back().end[d] = common->begin[d];
    }
    if (common->end[d] < core.end[d]) {
      rest.push_back(core);
      rest.back().begin[d] = common->end[d];
    }
    core.begin[d] = common->begin[d];
    core.end[d] = common->end[d];
  }
  return rest;
}

std::vector<Box> uncovered(const Box& whole, const std::vector<Box>& boxes) {
  std::vector<Box> rest;
  if (whole.num_elements() > 0) rest.push_back(whole);
  for (const Box& box : boxes) {
    std::vector<Box> next;
    for (const Box& piece : rest) {
      for (Box& part : subtract(piece, box)) next.push_back(std::move(part));
    }
    rest = std::move(next);
    if (rest.empty()) break;
  }
  return rest;
}

std::optional<std::pair<size_t, size_t>> first_overlap(const std::vector<Box>& boxes) {
  if (boxes.size() < 2) return std::nullopt;
  if (boxes.front().begin.empty()) return std::pair<size_t, size_t>{0, 1};  // 0-d: each holds the one element
  const size_t dim = best_sweep_dim(boxes);
  std::vector<size_t> order(boxes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return boxes[a].begin[dim] < boxes[b].begin[dim]; });
  for (size_t i = 0; i < order.size(); ++i) {
    for (size_t j = i + 1; j < order.size(); ++j) {
      if (boxes[order[j]].begin[dim] >= boxes[order[i]].end[dim]) break;
      if (intersect(boxes[order[i]], boxes[order[j]])) return std::minmax(order[i], order[j]);
    }
  }
  return std::nullopt;
}

}  // namespace phalanx
