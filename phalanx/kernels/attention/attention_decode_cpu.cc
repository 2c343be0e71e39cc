#include "phalanx/kernels/attention/attention_decode_cpu.h"

#include <algorithm>
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

// Positions of a block: a multiple of 16, few enough that two blocks stay in the second cache.
constexpr int64_t kMostPositions = 64;
constexpr int64_t kBlockBytes = int64_t{1} << 16;
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
template <typename T>
struct Block {
  const T* const* key = nullptr;
  int64_t count = 0;
  float* scores = nullptr;  // [heads, kMostPositions]
};

// Fetches the rows of the next block line by line in the order of memory, while this one is computed: half of them
// beside the scores, half beside the values. The hardware's prefetcher does not follow rows that are read in tiles.
template <typename T>
class Ahead {
 public:
  Ahead(const std::vector<const T*>& rows, int64_t first, int64_t count, int64_t row_bytes)
      : row_(rows.data() + first),
        last_(rows.data() + std::min(static_cast<int64_t>(rows.size()), first + count)),
        row_bytes_(row_bytes),
        lines_(count * ((row_bytes + kLineBytes - 1) / kLineBytes)) {}

  // The half that follows takes so many calls of fetch.
  void plan(int64_t calls) { lines_of_call_ = (lines_ / 2 + calls - 1) / calls; }

  HWY_INLINE void fetch() {
    for (int64_t i = 0; i < lines_of_call_ && row_ < last_; ++i) {
      __builtin_prefetch(reinterpret_cast<const char*>(*row_) + offset_, 0, 2);
      offset_ += kLineBytes;
      if (offset_ < row_bytes_) continue;
      offset_ = 0;
      ++row_;
    }
  }

 private:
  const T* const* row_;
  const T* const* last_;
  int64_t row_bytes_;
  int64_t offset_ = 0;
  int64_t lines_;
  int64_t lines_of_call_ = 0;
};

// scores of kHeads heads from `head` on with the four positions from j on.
template <int kHeads, typename T>
HWY_INLINE void score_tile(const DecodeShape& shape, const float* q, int64_t offset, const Block<T>& block,
                           int64_t j, float* scores, Ahead<T>& ahead) {
  const T* key[kPositionTile];
  Sum16 sums[kHeads][kPositionTile];
#pragma GCC unroll 4
  for (int t = 0; t < kPositionTile; ++t) {
    key[t] = block.key[std::min(j + t, block.count - 1)] + offset;
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) sums[h][t] = zero16();
  }
  for (int64_t d = 0; d < shape.head_dim; d += kSumLanes) {
    ahead.fetch();
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

// Tiles of heads of all groups together.
int64_t head_tiles(const DecodeShape& shape) {
  const int64_t shared = shape.heads / shape.groups;
  return shape.groups * (shared / kHeadTile + shared % kHeadTile);
}

template <typename T>
void score_block(const DecodeShape& shape, const float* q, const Block<T>& block, Ahead<T>& ahead) {
  const int64_t shared = shape.heads / shape.groups;
  ahead.plan((block.count + kPositionTile - 1) / kPositionTile * head_tiles(shape) *
             (shape.head_dim / kSumLanes));
  for (int64_t j = 0; j < block.count; j += kPositionTile) {
    for (int64_t group = 0; group < shape.groups; ++group) {
      const int64_t last = (group + 1) * shared;
      const int64_t offset = group * shape.head_dim;
      int64_t head = group * shared;
      const auto tile = [&](auto heads) {
        score_tile<heads.value>(shape, q + head * shape.head_dim, offset, block, j,
                                block.scores + head * kMostPositions, ahead);
        head += heads.value;
      };
      while (head + kHeadTile <= last) tile(std::integral_constant<int, kHeadTile>());
      while (head < last) tile(std::integral_constant<int, 1>());
    }
  }
}

// out of kHeads heads, 16 * kColumns columns: += scores * values.
template <int kHeads, int kColumns, typename T>
HWY_INLINE void value_tile(const DecodeShape& shape, const Block<T>& block, int64_t offset,
                           const float* scores, float* out, Ahead<T>& ahead) {
  Sum16 sums[kHeads][kColumns];
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) sums[h][c] = load16(out + h * shape.head_dim + c * kSumLanes);
  }
  for (int64_t j = 0; j < block.count; ++j) {
    ahead.fetch();
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

template <typename T>
void add_values(const DecodeShape& shape, const Block<T>& block, float* out, Ahead<T>& ahead) {
  const int64_t shared = shape.heads / shape.groups;
  const int64_t strips = shape.head_dim / kSumLanes;
  ahead.plan(block.count * head_tiles(shape) * (strips / kColumnTile + strips % kColumnTile));
  for (int64_t group = 0; group < shape.groups; ++group) {
    const int64_t last = (group + 1) * shared;
    int64_t head = group * shared;
    const auto heads_at_once = [&](auto heads) {
      const float* scores = block.scores + head * kMostPositions;
      const int64_t offset = (shape.groups + group) * shape.head_dim;
      float* to = out + head * shape.head_dim;
      int64_t d = 0;
      for (; d + kColumnTile * kSumLanes <= shape.head_dim; d += kColumnTile * kSumLanes) {
        value_tile<heads.value, kColumnTile>(shape, block, offset + d, scores, to + d, ahead);
      }
      for (; d < shape.head_dim; d += kSumLanes) {
        value_tile<heads.value, 1>(shape, block, offset + d, scores, to + d, ahead);
      }
      head += heads.value;
    };
    while (head + kHeadTile <= last) heads_at_once(std::integral_constant<int, kHeadTile>());
    while (head < last) heads_at_once(std::integral_constant<int, 1>());
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

template <typename T>
void run_range(const DecodeShape& shape, const DecodeRange<T, float>& range, const DecodePart<float>& part) {
  const int64_t row_bytes = 2 * shape.groups * shape.head_dim * static_cast<int64_t>(sizeof(T));
  const int64_t step =
      std::clamp(kBlockBytes / row_bytes / kSumLanes * kSumLanes, int64_t{kSumLanes}, kMostPositions);
  std::fill_n(part.out, shape.heads * shape.head_dim, 0.0f);
  std::fill_n(part.largest, shape.heads, -std::numeric_limits<float>::infinity());
  std::vector<float> scratch(static_cast<size_t>(shape.heads * (kMostPositions + kSumLanes)));
  float* totals16 = scratch.data() + shape.heads * kMostPositions;
  const std::vector<const T*> rows = decode_rows(shape, range, std::min(range.length, range.end + step));
  Block<T> block;
  block.scores = scratch.data();
  for (int64_t first = range.begin; first < range.end; first += step) {
    const int64_t next = std::min(range.end, first + step);
    block.count = next - first;
    block.key = rows.data() + (first - range.begin);
    Ahead<T> ahead(rows, next - range.begin, step, row_bytes);
    score_block(shape, range.q, block, ahead);
    for (int64_t head = 0; head < shape.heads; ++head) {
      weigh_head(shape, block.count, block.scores + head * kMostPositions, part.out + head * shape.head_dim,
                 part.largest + head, totals16 + head * kSumLanes);
    }
    add_values(shape, block, part.out, ahead);
  }
  for (int64_t head = 0; head < shape.heads; ++head) {
    float total[4];
    totals(load16(totals16 + head * kSumLanes), zero16(), zero16(), zero16(), total);
    part.total[head] = total[0];
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

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace phalanx::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phalanx::kernels {

HWY_EXPORT(float_range);
HWY_EXPORT(half_range);

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

}  // namespace phalanx::kernels
#endif
