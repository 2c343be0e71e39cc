// File: phalanx/base/philox.h
//
// Purpose: randomness as a pure function of (seed, purpose, step, layer, logical element index), so that initial
//   weights, dropout and sampling are the same under every layout and recomputation saves no state.
// Algorithm: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
// Counter layout, fixed once for every backend (bit 0 is the lowest):
//   word 0: block bits 0..31                      block = element / 4; the element is lane (element % 4)
//   word 1: block bits 32..47 | layer << 16       layer in [0, 65536)
//   word 2: step bits 0..31
//   word 3: step bits 32..39 | purpose << 8       step in [0, 2^40), purpose in [0, 256)
// The key is the 64-bit seed, low word first. Element indices reach 2^50; one beyond, which would share the bits of
//   another, is a failed check.
#pragma once

#include <array>
#include <cstdint>

namespace phalanx {

enum class RandomPurpose : uint8_t {
  kInit = 1,
  kEmbeddingDropout = 2,
  kHiddenDropout = 3,
  kAttentionDropout = 4,
  kSampling = 5,
  kMockData = 6,
  kMockMask = 7,
  kFillInTheMiddle = 8,
  kRecallTask = 9,
  kRecallChoice = 10,
  kTest = 255,
};

// Everything but the element index.
struct RandomKey {
  uint64_t seed = 0;
  RandomPurpose purpose = RandomPurpose::kTest;
  int64_t step = 0;
  int32_t layer = 0;
};

inline constexpr int64_t kMaxPhiloxElements = int64_t{1} << 50;

using PhiloxBlock = std::array<uint32_t, 4>;

PhiloxBlock philox4x32_10(PhiloxBlock counter, uint64_t key);

// The four words that elements 4 * block .. 4 * block + 3 get.
PhiloxBlock philox_block(const RandomKey& key, uint64_t block);

// One element. Prefer philox_block in loops.
uint32_t philox_u32(const RandomKey& key, uint64_t element);

// Uniform in [0, 1) with 24 bits, exact in float.
float philox_uniform(const RandomKey& key, uint64_t element);

// Standard normals by Box-Muller on the pairs of lanes (0,1) and (2,3): those of elements 4 * block .. 4 * block + 3,
// and that of one element.
std::array<double, 4> philox_normal_block(const RandomKey& key, uint64_t block);
double philox_normal(const RandomKey& key, uint64_t element);

// An element is dropped when its word is below this threshold: exact in integers, hence equal in every backend.
// p in [0, 1).
uint32_t dropout_threshold(double p);

}  // namespace phalanx
