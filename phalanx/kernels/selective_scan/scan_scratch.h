// File: phalanx/kernels/selective_scan/scan_scratch.h
//
// Purpose: what the fp32 bodies of the selective scan work on: one chunk of one group of 16 channels, the channels side
//   by side, every array aligned for vectors. Channels and states that do not exist are zeros.
// Contract: A and the states are transposed when a group begins and ends, so that no vector is shuffled in between.
#pragma once

#include <hwy/aligned_allocator.h>
#include <hwy/cache_control.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "phalanx/kernels/selective_scan/selective_scan_cpu.h"

namespace phalanx::kernels {

inline constexpr int64_t kScanGroup = 16;
inline constexpr int64_t kScanTileFloats = kScanTile * kScanGroup;

// The channels at hand.
struct ScanGroup {
  int64_t sample = 0;
  int64_t channel = 0;
  int64_t count = 0;  // at most kScanGroup
};

// One chunk.
struct ScanRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
};

// Empty beyond the ends.
inline ScanRange chunk_rows(const ScanProblem<float>& p, int64_t chunk) {
  const int64_t begin = std::max<int64_t>(0, chunk * p.chunk);
  return {begin, std::min(p.rows, (chunk + 1) * p.chunk)};
}

// Rows that are needed soon, one cache line each, far apart: fetched while the vectors are busy.
struct ScanAhead {
  static constexpr int64_t kMost = 6;
  const float* first[kMost] = {};
  int64_t stride[kMost] = {};
  int64_t rows[kMost] = {};
  int64_t count = 0;

  template <typename S>
  void add(const ScanRows<S>& of, const ScanGroup& g, const ScanRange& range) {
    if (range.size() <= 0) return;
    first[count] = of.row(g.sample, range.begin) + g.channel;
    stride[count] = of.row_stride;
    rows[count++] = range.size();
  }
  void fetch(int64_t r) const {
    for (int64_t k = 0; k < count; ++k) {
      if (r < rows[k]) hwy::Prefetch(first[k] + r * stride[k]);
    }
  }
};

struct ScanScratch {
  int64_t states;  // in whole tiles
  float* A;        // [states, 16] each
  float* h;
  float* lambda;  // dh of the row before
  float* dA;
  float* B;  // [rows, states] each
  float* C;
  float* delta;  // [rows, 16] each
  float* u;      // delta x
  float* y;      // with the skip
  float* dy;
  float* slope;       // of softplus
  float* gate;        // sigmoid(z)
  float* s;           // sum over n of lambda B
  float* w;           // sum over n of lambda A q
  float* kept_h;      // of one tile, [rows + 1, 8, 16]: before each row and after the last
  float* kept_decay;  // [rows, 8, 16]
  std::vector<uint8_t> resets;

  ScanScratch(const ScanProblem<float>& p, bool backward) : states(p.padded_states()) {
    const int64_t rows = std::min(p.chunk, p.rows);
    const int64_t kept = backward ? rows : 0;
    float** const by_state[] = {&A, &h, &lambda, &dA};
    float** const shared[] = {&B, &C};
    float** const by_row[] = {&delta, &u, &y, &dy, &slope, &gate, &s, &w};
    const int64_t shared_size = (rows * states + kScanGroup - 1) / kScanGroup * kScanGroup;
    const int64_t total =
        4 * states * kScanGroup + 2 * shared_size + 8 * rows * kScanGroup + (2 * kept + 1) * kScanTileFloats;
    memory_ = hwy::AllocateAligned<float>(static_cast<size_t>(total));
    std::fill_n(memory_.get(), total, 0.0f);
    float* next = memory_.get();
    const auto take = [&next](int64_t n) {
      float* const result = next;
      next += n;
      return result;
    };
    for (float** array : by_state) *array = take(states * kScanGroup);
    for (float** array : shared) *array = take(shared_size);
    for (float** array : by_row) *array = take(rows * kScanGroup);
    kept_h = take((kept + 1) * kScanTileFloats);
    kept_decay = take(kept * kScanTileFloats);
    resets.resize(static_cast<size_t>(rows));
  }

  // B, C and the starts of documents of one chunk.
  void read_rows(const ScanProblem<float>& p, int64_t sample, const ScanRange& range) {
    for (int64_t r = 0; r < range.size(); ++r) {
      std::copy_n(p.B.row(sample, range.begin + r), p.states, B + r * states);
      std::copy_n(p.C.row(sample, range.begin + r), p.states, C + r * states);
      resets[static_cast<size_t>(r)] = p.starts_document(sample, range.begin + r) ? 1 : 0;
    }
  }

 private:
  hwy::AlignedFreeUniquePtr<float[]> memory_;
};

// [C, N] of the group to [states, 16]; null gives zeros.
inline void load_states(const float* from, const ScanProblem<float>& p, const ScanGroup& g, float* to) {
  std::fill_n(to, p.padded_states() * kScanGroup, 0.0f);
  if (from == nullptr) return;
  for (int64_t i = 0; i < g.count; ++i) {
    for (int64_t n = 0; n < p.states; ++n) {
      to[n * kScanGroup + i] = from[(g.channel + i) * p.states + n];
    }
  }
}

// And back.
inline void store_states(const float* from, const ScanProblem<float>& p, const ScanGroup& g, float* to) {
  for (int64_t i = 0; i < g.count; ++i) {
    for (int64_t n = 0; n < p.states; ++n) to[(g.channel + i) * p.states + n] = from[n * kScanGroup + i];
  }
}

}  // namespace phalanx::kernels
