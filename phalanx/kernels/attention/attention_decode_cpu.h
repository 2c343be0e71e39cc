// File: phalanx/kernels/attention/attention_decode_cpu.h
//
// Purpose: the CPU body of attention_decode: one query row of a sequence against a range of its cached positions, all heads
//   together, so that the pages are read once and in the order in which they lie.
// Contract: T is what the cache stores: float, double or the bits of bf16 (uint16_t); S is what is computed in: float, double
//   for double. Queries carry the scale and log2(e), so powers of two replace exponentials. A range gives unnormalised sums
//   relative to its own largest score; decode_join adds the ranges of a sequence in order. Rows of the last page beyond
//   `end` are never read.
// Method: blocks of positions with a running maximum; Milakov and Gimelshein 2018 (online softmax), Dao 2023 (split over keys).
#pragma once

#include <cstdint>

namespace phalanx::kernels {

struct DecodeShape {
  int64_t heads = 0;
  int64_t groups = 0;
  int64_t head_dim = 0;
  int64_t page_size = 0;
};

// Positions [begin, end) of a sequence whose pages are listed in `page_list`.
template <typename T, typename S>
struct DecodeRange {
  const T* pages = nullptr;
  const int64_t* page_list = nullptr;
  int64_t begin = 0;
  int64_t end = 0;
  const S* q = nullptr;  // [heads, head_dim]
};

// What a range leaves: out [heads, head_dim], largest [heads], total [heads].
template <typename S>
struct DecodePart {
  S* out = nullptr;
  S* largest = nullptr;
  S* total = nullptr;
};

template <typename T, typename S>
void decode_range(const DecodeShape& shape, const DecodeRange<T, S>& range, const DecodePart<S>& part);

// out [heads, head_dim] = the softmax-weighted mean over `count` parts, which lie `stride` elements apart from `first` on.
template <typename S>
void decode_join(const DecodeShape& shape, const DecodePart<S>& first, int64_t count, int64_t stride, S* out);

}  // namespace phalanx::kernels
