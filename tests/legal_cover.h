// File: tests/legal_cover.h
//
// Purpose: a covering array under rules: few legal cells that cover every pair of values that any legal cell has, and every
//   triple of three chosen axes.
// Contract: deterministic. Each wanted tuple is completed at random `kTries` times and the legal completion that covers
//   most is taken; a tuple that no completion makes legal counts as illegal, not as covered.
#pragma once

#include <functional>

#include "tests/covering_grid.h"

namespace phalanx::testing {

using Tuple = std::vector<std::pair<size_t, size_t>>;  // axis, value; by axis

struct LegalCover {
  std::vector<Cell> cells;
  size_t pairs_wanted = 0;
  size_t pairs_illegal = 0;
  size_t triples_wanted = 0;
  size_t triples_illegal = 0;
};

inline bool holds(const Cell& cell, const Tuple& tuple) {
  for (const auto& [axis, value] : tuple) {
    if (cell[axis] != value) return false;
  }
  return true;
}

inline std::vector<Tuple> wanted_tuples(const std::vector<Axis>& axes, const std::vector<size_t>& triple) {
  std::vector<Tuple> wanted;
  for (size_t i = 0; i < axes[triple[0]].values.size(); ++i) {
    for (size_t j = 0; j < axes[triple[1]].values.size(); ++j) {
      for (size_t k = 0; k < axes[triple[2]].values.size(); ++k) {
        wanted.push_back({{triple[0], i}, {triple[1], j}, {triple[2], k}});
      }
    }
  }
  for (const auto& [a, i, b, j] : all_pairs(axes)) wanted.push_back({{a, i}, {b, j}});
  return wanted;
}

inline LegalCover legal_cover(const std::vector<Axis>& axes, const std::vector<size_t>& triple,
                              const std::function<bool(const Cell&)>& legal) {
  constexpr int kTries = 400;
  uint64_t state = 1;
  const auto pick = [&state](size_t n) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<size_t>((state >> 33) % n);
  };
  std::vector<Tuple> open = wanted_tuples(axes, triple);
  LegalCover cover;
  for (const Tuple& tuple : open) ++(tuple.size() == 3 ? cover.triples_wanted : cover.pairs_wanted);
  while (!open.empty()) {
    const Tuple first = open.front();
    Cell best;
    size_t best_count = 0;
    for (int attempt = 0; attempt < kTries; ++attempt) {
      Cell cell;
      for (const Axis& axis : axes) cell.push_back(pick(axis.values.size()));
      for (const auto& [axis, value] : first) cell[axis] = value;
      if (!legal(cell)) continue;
      size_t count = 0;
      for (const Tuple& tuple : open) count += holds(cell, tuple);
      if (count > best_count) {
        best_count = count;
        best = cell;
      }
    }
    if (best.empty()) {
      ++(first.size() == 3 ? cover.triples_illegal : cover.pairs_illegal);
      open.erase(open.begin());
      continue;
    }
    std::erase_if(open, [&](const Tuple& tuple) { return holds(best, tuple); });
    cover.cells.push_back(best);
  }
  return cover;
}

}  // namespace phalanx::testing
