#include "phalanx/kernels/attention/attention_decode_cpu.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

// Three widths are enough; sums are arrays of vectors, which scalable ones cannot be.
#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "phalanx/kernels/attention/attention_decode_cpu.cc"
#include <hwy/foreach_target.h>
// foreach_target.h comes first.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace phalanx::kernels {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

#include "phalanx/kernels/gemm/sum16_cpu.inc"

// Positions of a block: a multiple of 16, few enough that their values stay in the first cache.
constexpr int64_t kMostPositions = 64;
constexpr int64_t kBlockBytes = int64_t{1} << 14;
constexpr int64_t kLineBytes = 64;

#if HWY_TARGET <= HWY_AVX3
constexpr int kHeadTile = 4;    // heads that share a read of a key or value
constexpr int kColumnTile = 4;  // times 16 columns of a value
#else
constexpr int kHeadTile = 2;
constexpr int kColumnTile = 2;
#endif
constexpr int kPositionTile = 4;

// 2^x for x <= 0 within 2 ulp; 0 below the smallest normal number. 2^r = sum of (r ln 2)^k / k!, remainder below 1e-8.
HWY_INLINE Vector power_of_two(Vector x) {
  const Floats d;
  const hn::RebindToUnsigned<Floats> words;
  constexpr double kLn2 = 0.6931471805599453;
  const auto round = hn::Set(d, 0x1.8p+23f);  // adding it leaves the nearest integer in the low bits
  const auto shifted = hn::Add(x, round);
  const auto r = hn::Sub(x, hn::Sub(shifted, round));
  double coefficient[8] = {1.0};
#pragma GCC unroll 8
  for (int k = 1; k < 8; ++k) coefficient[k] = coefficient[k - 1] * kLn2 / k;
  auto p = hn::Set(d, static_cast<float>(coefficient[7]));
#pragma GCC unroll 8
  for (int k = 6; k >= 0; --k) p = hn::MulAdd(p, r, hn::Set(d, static_cast<float>(coefficient[k])));
  const auto bits = hn::Add(hn::ShiftLeft<23>(hn::BitCast(words, shifted)), hn::Set(words, 0x3F800000u));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -126.0f)), hn::Mul(p, hn::BitCast(d, bits)));
}

HWY_INLINE float widened(float x) {
  return x;
}
HWY_INLINE double widened(double x) {
  return x;
}
HWY_INLINE float widened(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

HWY_INLINE Sum16 load_stored(const float* p) {
  return load16(p);
}
HWY_INLINE Sum16 load_stored(const uint16_t* p) {
  const hn::RebindToUnsigned<Floats> words;
  const hn::Rebind<uint16_t, Floats> halves;
  Sum16 x;
#pragma GCC unroll 4
  for (int i = 0; i < kSumVectors; ++i) {
    const auto wide = hn::PromoteTo(words, hn::LoadU(halves, p + i * (kSumLanes / kSumVectors)));
    x.v[i] = hn::BitCast(Floats(), hn::ShiftLeft<16>(wide));
  }
  return x;
}

// A block of positions: where their keys lie, values being groups * head_dim further, and their scores by head.
template <typename T, typename S>
struct Block {
  const T* key[kMostPositions + 1];
  int64_t count = 0;
  S* scores = nullptr;  // [heads, kMostPositions]
};

// scores of kHeads heads from `head` on with the four positions from j on.
template <int kHeads, typename T>
HWY_INLINE void score_tile(const DecodeShape& shape, const float* q, int64_t offset,
                           const Block<T, float>& block, int64_t j, float* scores) {
  const T* key[kPositionTile];
  Sum16 sums[kHeads][kPositionTile];
#pragma GCC unroll 4
  for (int t = 0; t < kPositionTile; ++t) {
    key[t] = block.key[std::min(j + t, block.count - 1)] + offset;
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) sums[h][t] = zero16();
  }
  for (int64_t d = 0; d < shape.head_dim; d += kSumLanes) {
    Sum16 k[kPositionTile];
#pragma GCC unroll 4
    for (int t = 0; t < kPositionTile; ++t) k[t] = load_stored(key[t] + d);
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) {
      const Sum16 x = load16(q + h * shape.head_dim + d);
#pragma GCC unroll 4
      for (int t = 0; t < kPositionTile; ++t) add_product(k[t], x, sums[h][t]);
    }
  }
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
    totals(sums[h][0], sums[h][1], sums[h][2], sums[h][3], scores + h * kMostPositions + j);
  }
}

template <typename T>
HWY_INLINE void prefetch_row(const T* row, int64_t elements) {
  const auto* bytes = reinterpret_cast<const char*>(row);
  const int64_t size = elements * static_cast<int64_t>(sizeof(T));
  for (int64_t i = 0; i < size; i += kLineBytes) __builtin_prefetch(bytes + i);
}

template <typename T>
void score_block(const DecodeShape& shape, const float* q, const Block<T, float>& block) {
  const int64_t shared = shape.heads / shape.groups;
  const int64_t width = shape.groups * shape.head_dim;
  for (int64_t j = 0; j < block.count; j += kPositionTile) {
    for (int64_t t = j; t < std::min(j + kPositionTile, block.count); ++t)
      prefetch_row(block.key[t] + width, width);
    for (int64_t group = 0; group < shape.groups; ++group) {
      int64_t head = group * shared;
      const int64_t last = head + shared;
      const int64_t offset = group * shape.head_dim;
      for (; head + kHeadTile <= last; head += kHeadTile) {
        score_tile<kHeadTile>(shape, q + head * shape.head_dim, offset, block, j,
                              block.scores + head * kMostPositions);
      }
      for (; head < last; ++head) {
        score_tile<1>(shape, q + head * shape.head_dim, offset, block, j,
                      block.scores + head * kMostPositions);
      }
    }
  }
}

// out of kHeads heads, 16 * kColumns columns: += scores * values.
template <int kHeads, int kColumns, typename T>
HWY_INLINE void value_tile(const DecodeShape& shape, const Block<T, float>& block, int64_t offset,
                           const float* scores, float* out) {
  Sum16 sums[kHeads][kColumns];
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) sums[h][c] = load16(out + h * shape.head_dim + c * kSumLanes);
  }
  for (int64_t j = 0; j < block.count; ++j) {
    const T* value = block.key[j] + offset;
    Sum16 v[kColumns];
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) v[c] = load_stored(value + c * kSumLanes);
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) {
      const Sum16 weight = set16(scores[h * kMostPositions + j]);
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) add_product(weight, v[c], sums[h][c]);
    }
  }
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) store16(sums[h][c], out + h * shape.head_dim + c * kSumLanes);
  }
}

template <int kHeads, typename T>
HWY_INLINE void value_heads(const DecodeShape& shape, const Block<T, float>& block, int64_t offset,
                            const float* scores, float* out) {
  int64_t d = 0;
  for (; d + kColumnTile * kSumLanes <= shape.head_dim; d += kColumnTile * kSumLanes) {
    value_tile<kHeads, kColumnTile>(shape, block, offset + d, scores, out + d);
  }
  for (; d < shape.head_dim; d += kSumLanes) value_tile<kHeads, 1>(shape, block, offset + d, scores, out + d);
}

template <typename T>
void add_values(const DecodeShape& shape, const Block<T, float>& block, float* out) {
  const int64_t shared = shape.heads / shape.groups;
  for (int64_t group = 0; group < shape.groups; ++group) {
    const int64_t offset = (shape.groups + group) * shape.head_dim;
    int64_t head = group * shared;
    const int64_t last = head + shared;
    for (; head + kHeadTile <= last; head += kHeadTile) {
      value_heads<kHeadTile>(shape, block, offset, block.scores + head * kMostPositions,
                             out + head * shape.head_dim);
    }
    for (; head < last; ++head) {
      value_heads<1>(shape, block, offset, block.scores + head * kMostPositions, out + head * shape.head_dim);
    }
  }
}

// Scores of one head become weights; a new maximum scales what was summed before.
HWY_INLINE void weigh_head(const DecodeShape& shape, int64_t count, float* scores, float* out, float* largest,
                           float* totals16) {
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  constexpr int64_t kStep = kSumLanes / kSumVectors;
  const Floats d;
  const int64_t padded = (count + kSumLanes - 1) / kSumLanes * kSumLanes;
  for (int64_t j = count; j < padded; ++j) scores[j] = kLowest;
  auto most = hn::Set(d, *largest);
  for (int64_t j = 0; j < padded; j += kStep) most = hn::Max(most, hn::LoadU(d, scores + j));
  const float maximum = hn::GetLane(hn::MaxOfLanes(d, most));
  Sum16 total = load16(totals16);
  if (maximum > *largest) {
    const float factor = std::exp2(*largest - maximum);
    *largest = maximum;
    for (int64_t i = 0; i < shape.head_dim; ++i) out[i] *= factor;
    const Sum16 before = total;
    total = zero16();
    add_product(before, set16(factor), total);
  }
  const auto shift = hn::Set(d, *largest);
  for (int64_t j = 0; j < padded; j += kSumLanes) {
#pragma GCC unroll 4
    for (int i = 0; i < kSumVectors; ++i) {
      float* at = scores + j + i * kStep;
      const auto weight = power_of_two(hn::Sub(hn::LoadU(d, at), shift));
      hn::StoreU(weight, d, at);
      total.v[i] = hn::Add(total.v[i], weight);
    }
  }
  store16(total, totals16);
}

// The same for any head size and for double, one element at a time.
template <typename T, typename S>
void plain_block(const DecodeShape& shape, const S* q, const Block<T, S>& block, const DecodePart<S>& part) {
  const int64_t shared = shape.heads / shape.groups;
  const int64_t D = shape.head_dim;
  for (int64_t head = 0; head < shape.heads; ++head) {
    const int64_t offset = head / shared * D;
    S* scores = block.scores + head * kMostPositions;
    S* out = part.out + head * D;
    S most = part.largest[head];
    for (int64_t j = 0; j < block.count; ++j) {
      S sum = 0;
      for (int64_t d = 0; d < D; ++d) sum += q[head * D + d] * widened(block.key[j][offset + d]);
      scores[j] = sum;
      most = std::max(most, sum);
    }
    const S factor = most > part.largest[head] ? std::exp2(part.largest[head] - most) : S(1);
    part.largest[head] = most;
    part.total[head] *= factor;
    for (int64_t d = 0; d < D; ++d) out[d] *= factor;
    for (int64_t j = 0; j < block.count; ++j) {
      const S weight = std::exp2(scores[j] - most);
      const T* value = block.key[j] + shape.groups * D + offset;
      part.total[head] += weight;
      for (int64_t d = 0; d < D; ++d) out[d] += weight * widened(value[d]);
    }
  }
}

template <typename T>
void vector_block(const DecodeShape& shape, const float* q, const Block<T, float>& block,
                  const DecodePart<float>& part, float* totals16) {
  score_block(shape, q, block);
  for (int64_t head = 0; head < shape.heads; ++head) {
    weigh_head(shape, block.count, block.scores + head * kMostPositions, part.out + head * shape.head_dim,
               part.largest + head, totals16 + head * kSumLanes);
  }
  add_values(shape, block, part.out);
}

// The rows of the next block from position `first` on.
template <typename T, typename S>
void find_rows(const DecodeShape& shape, const DecodeRange<T, S>& range, int64_t first, Block<T, S>& block) {
  const int64_t row = 2 * shape.groups * shape.head_dim;
  int64_t page = first / shape.page_size;
  int64_t in_page = first % shape.page_size;
  for (int64_t j = 0; j < block.count; ++j) {
    block.key[j] = range.pages + (range.page_list[page] * shape.page_size + in_page) * row;
    if (++in_page < shape.page_size) continue;
    in_page = 0;
    ++page;
  }
}

template <typename T, typename S>
void run_range(const DecodeShape& shape, const DecodeRange<T, S>& range, const DecodePart<S>& part) {
  const bool vectors = std::is_same_v<S, float> && shape.head_dim % kSumLanes == 0;
  const int64_t row_bytes = shape.groups * shape.head_dim * static_cast<int64_t>(sizeof(T));
  const int64_t step =
      std::clamp(kBlockBytes / row_bytes / kSumLanes * kSumLanes, int64_t{kSumLanes}, kMostPositions);
  std::fill_n(part.out, shape.heads * shape.head_dim, S(0));
  std::fill_n(part.total, shape.heads, S(0));
  std::fill_n(part.largest, shape.heads, -std::numeric_limits<S>::infinity());
  std::vector<S> scratch(static_cast<size_t>(shape.heads * (kMostPositions + kSumLanes)));
  S* totals16 = scratch.data() + shape.heads * kMostPositions;
  Block<T, S> block;
  block.scores = scratch.data();
  for (int64_t first = range.begin; first < range.end; first += step) {
    block.count = std::min(step, range.end - first);
    find_rows(shape, range, first, block);
    if constexpr (std::is_same_v<S, float>) {
      if (vectors) vector_block(shape, range.q, block, part, totals16);
    }
    if (!vectors) plain_block(shape, range.q, block, part);
  }
  if constexpr (std::is_same_v<S, float>) {
    for (int64_t head = 0; vectors && head < shape.heads; ++head) {
      float total[4];
      totals(load16(totals16 + head * kSumLanes), zero16(), zero16(), zero16(), total);
      part.total[head] = total[0];
    }
  }
}

template <typename S>
void join_parts(const DecodeShape& shape, const DecodePart<S>& first, int64_t count, int64_t stride, S* out) {
  const int64_t D = shape.head_dim;
  for (int64_t head = 0; head < shape.heads; ++head) {
    S most = first.largest[head];
    for (int64_t i = 1; i < count; ++i) most = std::max(most, first.largest[i * stride + head]);
    S* __restrict to = out + head * D;
    std::fill_n(to, D, S(0));
    S total = 0;
    for (int64_t i = 0; i < count; ++i) {
      const S factor = std::exp2(first.largest[i * stride + head] - most);
      const S* __restrict from = first.out + i * stride + head * D;
      total += factor * first.total[i * stride + head];
      for (int64_t d = 0; d < D; ++d) to[d] += factor * from[d];
    }
    for (int64_t d = 0; d < D; ++d) to[d] /= total;
  }
}

void float_range(const DecodeShape& shape, const DecodeRange<float, float>& range,
                 const DecodePart<float>& part) {
  run_range(shape, range, part);
}
void half_range(const DecodeShape& shape, const DecodeRange<uint16_t, float>& range,
                const DecodePart<float>& part) {
  run_range(shape, range, part);
}
void double_range(const DecodeShape& shape, const DecodeRange<double, double>& range,
                  const DecodePart<double>& part) {
  run_range(shape, range, part);
}
void float_join(const DecodeShape& shape, const DecodePart<float>& first, int64_t count, int64_t stride,
                float* out) {
  join_parts(shape, first, count, stride, out);
}
void double_join(const DecodeShape& shape, const DecodePart<double>& first, int64_t count, int64_t stride,
                 double* out) {
  join_parts(shape, first, count, stride, out);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace phalanx::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phalanx::kernels {

HWY_EXPORT(float_range);
HWY_EXPORT(half_range);
HWY_EXPORT(double_range);
HWY_EXPORT(float_join);
HWY_EXPORT(double_join);

template <>
void decode_range(const DecodeShape& shape, const DecodeRange<float, float>& range,
                  const DecodePart<float>& part) {
  HWY_DYNAMIC_DISPATCH(float_range)(shape, range, part);
}
template <>
void decode_range(const DecodeShape& shape, const DecodeRange<uint16_t, float>& range,
                  const DecodePart<float>& part) {
  HWY_DYNAMIC_DISPATCH(half_range)(shape, range, part);
}
template <>
void decode_range(const DecodeShape& shape, const DecodeRange<double, double>& range,
                  const DecodePart<double>& part) {
  HWY_DYNAMIC_DISPATCH(double_range)(shape, range, part);
}
template <>
void decode_join(const DecodeShape& shape, const DecodePart<float>& first, int64_t count, int64_t stride,
                 float* out) {
  HWY_DYNAMIC_DISPATCH(float_join)(shape, first, count, stride, out);
}
template <>
void decode_join(const DecodeShape& shape, const DecodePart<double>& first, int64_t count, int64_t stride,
                 double* out) {
  HWY_DYNAMIC_DISPATCH(double_join)(shape, first, count, stride, out);
}

}  // namespace phalanx::kernels
#endif
