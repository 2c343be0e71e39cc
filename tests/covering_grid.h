// File: tests/covering_grid.h
//
// Purpose: few cells that cover every pair of values over all axes (a covering array), by a greedy choice.
// Contract: deterministic. A cell is one value index per axis. pairs_covered counts distinct value pairs, so that a test
//   can print and assert its coverage.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <tuple>
#include <vector>

namespace phalanx::testing {

struct Axis {
  std::string name;
  std::vector<std::string> values;
};

using Cell = std::vector<size_t>;
using ValuePair = std::tuple<size_t, size_t, size_t, size_t>;  // axis, value, axis, value

inline std::set<ValuePair> pairs_of(const Cell& cell) {
  std::set<ValuePair> pairs;
  for (size_t a = 0; a < cell.size(); ++a) {
    for (size_t b = a + 1; b < cell.size(); ++b) pairs.insert({a, cell[a], b, cell[b]});
  }
  return pairs;
}

inline std::set<ValuePair> all_pairs(const std::vector<Axis>& axes) {
  std::set<ValuePair> pairs;
  for (size_t a = 0; a < axes.size(); ++a) {
    for (size_t b = a + 1; b < axes.size(); ++b) {
      for (size_t i = 0; i < axes[a].values.size(); ++i) {
        for (size_t j = 0; j < axes[b].values.size(); ++j) pairs.insert({a, i, b, j});
      }
    }
  }
  return pairs;
}

// Starts each cell from an uncovered pair and fills the other axes with the value that covers most new pairs.
inline std::vector<Cell> covering_cells(const std::vector<Axis>& axes) {
  std::set<ValuePair> open = all_pairs(axes);
  std::vector<Cell> cells;
  constexpr size_t kUnset = static_cast<size_t>(-1);
  while (!open.empty()) {
    Cell cell(axes.size(), kUnset);
    const auto [a, i, b, j] = *open.begin();
    cell[a] = i;
    cell[b] = j;
    for (size_t axis = 0; axis < axes.size(); ++axis) {
      if (cell[axis] != kUnset) continue;
      size_t best_value = 0;
      size_t best_count = 0;
      for (size_t value = 0; value < axes[axis].values.size(); ++value) {
        size_t count = 0;
        for (size_t other = 0; other < axes.size(); ++other) {
          if (cell[other] == kUnset || other == axis) continue;
          const ValuePair pair = other < axis ? ValuePair{other, cell[other], axis, value}
                                              : ValuePair{axis, value, other, cell[other]};
          count += open.count(pair);
        }
        if (count > best_count) {
          best_count = count;
          best_value = value;
        }
      }
      cell[axis] = best_value;
    }
    for (const ValuePair& pair : pairs_of(cell)) open.erase(pair);
    cells.push_back(std::move(cell));
  }
  return cells;
}

}  // namespace phalanx::testing
