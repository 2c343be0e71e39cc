// File: phalanx/shard/box_set.h
//
// Purpose: questions about many boxes at once: do two overlap, what do they leave uncovered.
// Contract: all boxes have the same rank; empty boxes cover nothing and overlap nothing. Pure arithmetic.
// Cost: first_overlap sorts along the dim that separates the boxes best and sweeps; near n log n for real
// layouts.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "phalanx/shard/box.h"

namespace phalanx {

// The parts of `a` outside `b`: at most two boxes a dim, disjoint.
std::vector<Box> subtract(const Box& a, const Box& b);

// The parts of `whole` that no box covers.
std::vector<Box> uncovered(const Box& whole, const std::vector<Box>& boxes);

// Indices of two boxes that share an element (the smaller index first), or nothing.
std::optional<std::pair<size_t, size_t>> first_overlap(const std::vector<Box>& boxes);

}  // namespace phalanx
