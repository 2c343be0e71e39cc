// File: phalanx/kernels/attention/attention_decode_cpu.h
//
// Purpose: the CPU bodies of attention_decode: one query row of a sequence against a range of its cached positions,
//   all heads together, so that the pages are read once and in the order in which they lie.
// Contract: T is what the cache stores: float, double or the bits of bf16 (uint16_t); S is what is computed in:
//   float, double for double. Queries carry the scale and log2(e), so powers of two replace exponentials. A range
//   gives unnormalised sums relative to its own largest score; decode_join adds the ranges of a sequence in order.
//   Rows of the last page beyond the sequence are never read.
// Method: blocks of positions with a running maximum; Milakov and Gimelshein 2018 (online softmax), Dao 2023 (split
//   over keys).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace phalanx::kernels {

struct DecodeShape {
  int64_t heads = 0;
  int64_t groups = 0;
  int64_t head_dim = 0;
  int64_t page_size = 0;
};

// Positions [begin, end) of a sequence of `length` whose pages are listed in `page_list`.
template <typename T, typename S>
struct DecodeRange {
  const T* pages = nullptr;
  const int64_t* page_list = nullptr;
  int64_t begin = 0;
  int64_t end = 0;
  int64_t length = 0;
  const S* q = nullptr;  // [heads, head_dim]
};

// What a range leaves: out [heads, head_dim], largest [heads], total [heads].
template <typename S>
struct DecodePart {
  S* out = nullptr;
  S* largest = nullptr;
  S* total = nullptr;
};

// Vectors; float only, head_dim a multiple of 16.
template <typename T>
void decode_range(const DecodeShape& shape, const DecodeRange<T, float>& range,
                  const DecodePart<float>& part);

// One element at a time, any head size.
template <typename T, typename S>
void decode_range_plain(const DecodeShape& shape, const DecodeRange<T, S>& range, const DecodePart<S>& part);

// out [heads, head_dim] = the softmax-weighted mean over `count` parts, which lie `stride` elements apart from
// `first` on.
template <typename S>
void decode_join(const DecodeShape& shape, const DecodePart<S>& first, int64_t count, int64_t stride, S* out);

// Where positions [range.begin, end) lie: the key of group 0; its value is groups * head_dim further.
template <typename T, typename S>
std::vector<const T*> decode_rows(const DecodeShape& shape, const DecodeRange<T, S>& range, int64_t end) {
  const int64_t row = 2 * shape.groups * shape.head_dim;
  std::vector<const T*> rows(static_cast<std::size_t>(end - range.begin));
  int64_t page = range.begin / shape.page_size;
  int64_t in_page = range.begin % shape.page_size;
  for (const T*& at : rows) {
    at = range.pages + (range.page_list[page] * shape.page_size + in_page) * row;
    if (++in_page < shape.page_size) continue;
    in_page = 0;
    ++page;
  }
  return rows;
}

}  // namespace phalanx::kernels
