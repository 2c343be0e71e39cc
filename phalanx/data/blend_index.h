// File: phalanx/data/blend_index.h
//
// Purpose: which data set each sample of a blend comes from: Megatron's blend index, the same numbers.
// Algorithm: for t = 0, 1, ...: the data set with the largest error w_d max(t, 1) - count_d gives its next sample; the
//   lowest number wins a tie. Products are rounded before they are subtracted (no fused multiply-add).
//   Exhaustive: weights are the sizes' shares, and a data set that has given all its samples drops out.
// Contract: pure functions. normalize_weights divides by the sum as numpy adds it (pairwise), which decides last bits;
//   Megatron normalises twice when it blends to a given size, so the caller does too. Sizes and weights are checked by
//   the caller; here a wrong one is a bug.
// Units: samples; a data set by its number in the blend.
// Source: Megatron's build_blending_indices and build_exhaustive_blending_indices.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "phalanx/data/index_array.h"

namespace phalanx {

constexpr int64_t kMaxBlendedDatasets = 32766;

struct BlendIndex {
  IndexArray<int16_t> datasets;
  IndexArray<uint32_t> samples;  // within the data set
  int64_t size() const { return static_cast<int64_t>(datasets.size()); }
};

std::vector<double> normalize_weights(std::span<const double> weights);

BlendIndex build_blend_index(std::span<const double> weights, int64_t size);
BlendIndex build_exhaustive_blend_index(std::span<const int64_t> sizes);

// How many samples of a blend of `size` each data set gives, and how many to build so that the error rule cannot run
// out of them: ceil(size w), and ceil of that x 1.005.
constexpr double kBlendSurplus = 0.005;
int64_t blend_share(int64_t size, double weight);
int64_t blend_share_to_build(int64_t size, double weight, double surplus = kBlendSurplus);

}  // namespace phalanx
