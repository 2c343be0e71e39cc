// File: phalanx/data/mock.h
//
// Purpose: tokens without a file, the same on every machine and layout: tests, benches, dry runs.
// Contract: token p of sample k is philox(seed, kMockData, element k (S + 1) + p) mod vocab_size; label p (token p + 1)
//   is masked when the kMockMask word of that token's element is below mask_fraction. Pure and thread-safe.
// Units: tokens; sample indices from 0.
#pragma once

#include <cstdint>
#include <span>

namespace phalanx {

struct MockOptions {
  int64_t num_samples = 0;
  int64_t seq_length = 0;
  int64_t vocab_size = 0;
  uint64_t seed = 0;
  double mask_fraction = 0.0;  // in [0, 1)
};

class MockDataset {
 public:
  explicit MockDataset(const MockOptions& options);  // Error(kBadInput) for impossible numbers

  int64_t num_samples() const { return options_.num_samples; }
  int64_t seq_length() const { return options_.seq_length; }
  // Fills S + 1 tokens and S label masks (1: counts).
  void read(int64_t sample, std::span<int64_t> tokens, std::span<uint8_t> label_mask) const;

 private:
  MockOptions options_;
  uint32_t mask_threshold_ = 0;
};

}  // namespace phalanx
