// File: phalanx/arch/hybrid_pattern.h
//
// Purpose: where attention and MLP layers lie among Mamba-2 layers when only their shares are known.
// Contract: pure. Attention layers are spread evenly, a run of others before and behind each; then MLPs are spread
//   evenly over what is left, Mamba-2 first. Counts are rounded, halves to even. The arithmetic is upstream's, in the
//   same order, so that the same two numbers give the same model there and here.
// Source: Megatron's allocation for --hybrid-attention-ratio and --hybrid-mlp-ratio (models.md 3.2, papers.md 5.2).
// Example: hybrid_pattern(8, 0.25, 0.25) is "MM*-M*M-".
#pragma once

#include <cstdint>
#include <string>

namespace phalanx {

struct HybridCounts {
  int64_t attention = 0;
  int64_t mlp = 0;
  int64_t mamba = 0;  // below 0 where both of the others are rounded up and do not fit

  bool operator==(const HybridCounts&) const = default;
};

// Ratios are from 0 to 1, layers is at least 1.
HybridCounts hybrid_counts(int64_t layers, double attention_ratio, double mlp_ratio);

// One character a layer, no groups. Ratios as above, and no count is negative.
std::string hybrid_pattern(int64_t layers, double attention_ratio, double mlp_ratio);

}  // namespace phalanx
