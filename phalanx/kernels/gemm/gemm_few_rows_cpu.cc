#include "phalanx/kernels/gemm/gemm_few_rows_cpu.h"

#include <algorithm>
#include <bit>
#include <utility>

// Three widths are enough; sums are arrays of vectors, which scalable ones cannot be.
#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "phalanx/kernels/gemm/gemm_few_rows_cpu.cc"
#include <hwy/foreach_target.h>
// foreach_target.h comes first.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace phalanx::kernels {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

#include "phalanx/kernels/gemm/sum16_cpu.inc"

constexpr bool kManyRegisters = HWY_TARGET <= HWY_AVX3;
constexpr int64_t kShortRows = 4096;  // elements of a
constexpr int64_t kBlockColumns = 12;
constexpr int64_t kSharedColumns = 3;  // read once a group of rows: they stay in the cache in between

HWY_INLINE float widened(float x) {
  return x;
}

HWY_INLINE float widened(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

template <class D>
HWY_INLINE hn::Vec<D> load_words(D d, const uint16_t* w) {
#if HWY_TARGET == HWY_SCALAR
  return hn::Set(d, w[0] | static_cast<uint32_t>(w[1]) << 16);
#else
  const hn::Repartition<uint16_t, D> halves;
  return hn::BitCast(d, hn::LoadU(halves, w));
#endif
}

// What one step along k takes of a row: kParts times 16 weights.
template <typename T>
struct Step;

template <>
struct Step<float> {
  static constexpr int kParts = 1;
  static constexpr int kMostRows = kManyRegisters ? 8 : 4;
  static constexpr int kTogether = kManyRegisters ? 3 : 1;  // columns side by side
  Sum16 part[1];
  HWY_INLINE void load(const float* w) { part[0] = load16(w); }
};

template <>
struct Step<uint16_t> {
  static constexpr int kParts = 2;
  static constexpr int kMostRows = kManyRegisters ? 4 : 2;
  static constexpr int kTogether = kManyRegisters ? 2 : 1;
  Sum16 part[2];
  // A pair of bf16 is a word, the even one in its low half.
  HWY_INLINE void load(const uint16_t* w) {
    const hn::RebindToUnsigned<Floats> words;
#pragma GCC unroll 4
    for (int i = 0; i < kSumVectors; ++i) {
      const auto x = load_words(words, w + i * (2 * kSumLanes / kSumVectors));
      part[0].v[i] = hn::BitCast(Floats(), hn::ShiftLeft<16>(x));
      part[1].v[i] = hn::BitCast(Floats(), hn::And(x, hn::Set(words, 0xFFFF0000u)));
    }
  }
};

template <typename T, int kRows>
struct Sums {
  Sum16 part[Step<T>::kParts][kRows];
};

// The dot products of kColumns rows of w, read side by side, with kRows rows of a.
template <typename T, int kRows, int kColumns>
HWY_INLINE void multiply(const FewRows<T>& p, const float* a, const T* w, Sums<T, kRows>* sums) {
  constexpr int kParts = Step<T>::kParts;
  constexpr int64_t kLength = kParts * kSumLanes;
#pragma GCC unroll 4
  for (int j = 0; j < kColumns; ++j) {
#pragma GCC unroll 2
    for (int s = 0; s < kParts; ++s) {
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) sums[j].part[s][i] = zero16();
    }
  }
  for (int64_t k = 0; k + kLength <= p.length; k += kLength) {
    Step<T> weights[kColumns];
#pragma GCC unroll 4
    for (int j = 0; j < kColumns; ++j) {
      weights[j].load(w + j * p.w_stride + k);
      if (kColumns > 1) __builtin_prefetch(w + (j + kColumns) * p.w_stride + k, 0, 2);
    }
#pragma GCC unroll 2
    for (int s = 0; s < kParts; ++s) {
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) {
        const Sum16 x = load16(a + i * p.a_stride + k + s * kSumLanes);
#pragma GCC unroll 4
        for (int j = 0; j < kColumns; ++j) add_product(weights[j].part[s], x, sums[j].part[s][i]);
      }
    }
  }
}

template <typename T, int kRows>
HWY_INLINE Sum16 entry(const Sums<T, kRows>* sums, int index) {
  if (index < 0) return zero16();
  const auto& part = sums[index / kRows].part;
  if constexpr (Step<T>::kParts == 2) return plus(part[0][index % kRows], part[1][index % kRows]);
  return part[0][index % kRows];
}

template <typename T, int kRows>
void finish(const FewRows<T>& p, int64_t row, int64_t column, int columns, const float* dots) {
  const int64_t whole = p.length - p.length % (Step<T>::kParts * kSumLanes);
  for (int j = 0; j < columns; ++j) {
    const T* w = p.w + (column + j) * p.w_stride;
    for (int i = 0; i < kRows; ++i) {
      const float* a = p.a + (row + i) * p.a_stride;
      float dot = dots[j * kRows + i];
      for (int64_t k = whole; k < p.length; ++k) dot += widened(w[k]) * a[k];
      float& c = p.c[(row + i) * p.c_stride + column + j];
      c = p.add ? c + dot : dot;
    }
  }
}

// kTurns times kColumns columns of c, kRows rows.
template <typename T, int kRows, int kColumns, int kTurns>
HWY_INLINE void tile(const FewRows<T>& p, int64_t row, int64_t column) {
  constexpr int kEntries = kRows * kColumns * kTurns;
  Sums<T, kRows> sums[kColumns * kTurns];
  const float* a = p.a + row * p.a_stride;
#pragma GCC unroll 4
  for (int turn = 0; turn < kTurns; ++turn) {
    multiply<T, kRows, kColumns>(p, a, p.w + (column + turn * kColumns) * p.w_stride, sums + turn * kColumns);
  }
  float dots[(kEntries + 3) / 4 * 4];
#pragma GCC unroll 8
  for (int e = 0; e < kEntries; e += 4) {
    const auto at = [&sums, e](int i) { return entry<T, kRows>(sums, e + i < kEntries ? e + i : -1); };
    totals(at(0), at(1), at(2), at(3), dots + e);
  }
  finish<T, kRows>(p, row, column, kColumns * kTurns, dots);
}

template <typename T, int kRows>
void columns_of(const FewRows<T>& p, int64_t row, int64_t begin, int64_t end) {
  constexpr int kTogether = kRows > 1 ? Step<T>::kTogether : 1;
  constexpr int kTurns = kRows == 1 ? 4 : kRows == 2 ? 2 : 1;
  int64_t column = begin;
  // Side by side when many rows, or long ones that leave the first cache, are read again for every column.
  if (kRows > 4 || kRows * p.length > kShortRows) {
    for (; column + kTogether <= end; column += kTogether) tile<T, kRows, kTogether, 1>(p, row, column);
  }
  for (; column + kTurns <= end; column += kTurns) tile<T, kRows, 1, kTurns>(p, row, column);
  for (; column < end; ++column) tile<T, kRows, 1, 1>(p, row, column);
}

template <typename T, int kRows>
void group_of(const FewRows<T>& p, int64_t rows, int64_t row, int64_t begin, int64_t end) {
  if (rows == kRows) return columns_of<T, kRows>(p, row, begin, end);
  if constexpr (kRows > 1) group_of<T, kRows - 1>(p, rows, row, begin, end);
}

template <typename T>
void columns(const FewRows<T>& p, int64_t begin, int64_t end) {
  constexpr int64_t kMost = Step<T>::kMostRows;
  const int64_t groups = (p.rows + kMost - 1) / kMost;
  const int64_t block = groups == 1 ? kBlockColumns : kSharedColumns;
  for (int64_t column = begin; column < end; column += block) {
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t first = group * p.rows / groups;
      const int64_t last = (group + 1) * p.rows / groups;
      group_of<T, Step<T>::kMostRows>(p, last - first, first, column, std::min(end, column + block));
    }
  }
}

void float_columns(const FewRows<float>& p, int64_t begin, int64_t end) {
  columns(p, begin, end);
}

void half_columns(const FewRows<uint16_t>& p, int64_t begin, int64_t end) {
  columns(p, begin, end);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace phalanx::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phalanx::kernels {

HWY_EXPORT(float_columns);
HWY_EXPORT(half_columns);

template <>
void few_rows_columns(const FewRows<float>& problem, int64_t begin, int64_t end) {
  HWY_DYNAMIC_DISPATCH(float_columns)(problem, begin, end);
}

template <>
void few_rows_columns(const FewRows<uint16_t>& problem, int64_t begin, int64_t end) {
  HWY_DYNAMIC_DISPATCH(half_columns)(problem, begin, end);
}

void few_rows_pair(const uint16_t* row, int64_t length, float* to) {
  const auto value = [](uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); };
  int64_t k = 0;
  for (; k + 32 <= length; k += 32) {
    for (int64_t i = 0; i < 16; ++i) {
      to[k + i] = value(row[k + 2 * i]);
      to[k + 16 + i] = value(row[k + 2 * i + 1]);
    }
  }
  for (; k < length; ++k) to[k] = value(row[k]);
}

}  // namespace phalanx::kernels
#endif
