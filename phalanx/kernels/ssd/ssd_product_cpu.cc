#include "phalanx/kernels/ssd/ssd_product_cpu.h"

#include <algorithm>

// Three widths are enough, and a tile is an array of vectors, which a scalable one cannot be.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "phalanx/kernels/ssd/ssd_product_cpu.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace phalanx::kernels {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// A tile of kRows x kVectors sums: as many as hide the latency of a multiply-add and fit the registers.
#if HWY_TARGET <= HWY_AVX3
constexpr int kTileRows = 8;
#else
constexpr int kTileRows = 4;
#endif
constexpr int kTileVectors = 2;

// The columns of a tile: whole vectors, or one of which the first n lanes are used.
template <typename T, int kN>
struct Whole {
  static constexpr int kVectors = kN;
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;
  HWY_INLINE V load(const T* p, int j) const {
    return hn::LoadU(D(), p + j * static_cast<int>(hn::Lanes(D())));
  }
  HWY_INLINE void store(V v, T* p, int j) const {
    hn::StoreU(v, D(), p + j * static_cast<int>(hn::Lanes(D())));
  }
};

template <typename T>
struct Tail {
  static constexpr int kVectors = 1;
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;
  size_t n;
  HWY_INLINE V load(const T* p, int /*j*/) const {
#if HWY_MEM_OPS_MIGHT_FAULT
    alignas(64) T lanes[hn::MaxLanes(D())] = {};
    std::copy_n(p, n, lanes);
    return hn::Load(D(), lanes);
#else
    return hn::MaskedLoad(hn::FirstN(D(), n), D(), p);
#endif
  }
  HWY_INLINE void store(V v, T* p, int /*j*/) const {
#if HWY_MEM_OPS_MIGHT_FAULT
    alignas(64) T lanes[hn::MaxLanes(D())];
    hn::Store(v, D(), lanes);
    std::copy_n(lanes, n, p);
#else
    hn::BlendedStore(v, hn::FirstN(D(), n), D(), p);
#endif
  }
};

template <class Columns, int kRows>
struct Sums {
  typename Columns::V v[kRows][Columns::kVectors];
};

template <class Columns, int kRows>
HWY_INLINE void clear(Sums<Columns, kRows>& sums) {
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < Columns::kVectors; ++j) sums.v[i][j] = hn::Zero(typename Columns::D());
  }
}

// sums += A[row0.., begin..end) B[begin..end, column0..].
template <bool kTransposed, typename T, class Columns, int kRows>
HWY_INLINE void multiply(const Columns& columns, const SsdLeft<T>& a, int64_t row0, const SsdRight<T>& b,
                         int64_t column0, int64_t begin, int64_t end, Sums<Columns, kRows>& sums) {
  const typename Columns::D d;
  const T* right = b.data + begin * b.ld + column0;
  const T* left = kTransposed ? a.data + begin * a.ld + row0 : a.data + row0 * a.ld + begin;
  const int64_t left_step = kTransposed ? a.ld : 1;
  const int64_t row_step = kTransposed ? 1 : a.ld;
  for (int64_t k = begin; k < end; ++k) {
    typename Columns::V r[Columns::kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < Columns::kVectors; ++j) r[j] = columns.load(right, j);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const auto l = hn::Set(d, left[i * row_step]);
#pragma GCC unroll 4
      for (int j = 0; j < Columns::kVectors; ++j) sums.v[i][j] = hn::MulAdd(l, r[j], sums.v[i][j]);
    }
    right += b.ld;
    left += left_step;
  }
}

// Calls body.tile<kRows>(columns, row0, column0, column1) over all tiles, one column of tiles after the other:
// its part of B stays in the first cache.
template <typename T, int kRows, class Body, class Columns>
HWY_INLINE void for_rows(const Body& body, const Columns& columns, int64_t rows, int64_t c0, int64_t c1) {
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) body.template tile<kRows>(columns, r, c0, c1);
  for (; r < rows; ++r) body.template tile<1>(columns, r, c0, c1);
}

template <typename T, class Body>
HWY_INLINE void for_tiles(const Body& body, int64_t rows, int64_t columns) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(hn::ScalableTag<T>()));
  int64_t c = 0;
  for (; c + kTileVectors * lanes <= columns; c += kTileVectors * lanes) {
    for_rows<T, kTileRows>(body, Whole<T, kTileVectors>(), rows, c, c + kTileVectors * lanes);
  }
  for (; c < columns; c += lanes) {
    const int64_t n = std::min(lanes, columns - c);
    for_rows<T, kTileRows>(body, Tail<T>{static_cast<size_t>(n)}, rows, c, c + n);
  }
}

template <typename T, bool kTransposed>
struct Product {
  const SsdSizes& sizes;
  SsdPart part;
  const SsdLeft<T>& a;
  const SsdRight<T>& b;
  const SsdOut<T>& out;

  template <int kRows, class Columns>
  HWY_INLINE void tile(const Columns& columns, int64_t r0, int64_t c0, int64_t c1) const {
    if (part == SsdPart::kLower && c0 >= r0 + kRows) return;
    if (part == SsdPart::kUpper && c1 <= r0) return;
    Sums<Columns, kRows> sums;
    clear(sums);
    multiply<kTransposed>(columns, a, r0, b, c0, 0, sizes.inner, sums);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < Columns::kVectors; ++j) {
        columns.store(sums.v[i][j], out.data + (r0 + i) * out.ld + c0, j);
      }
    }
  }
};

template <typename T, bool kTransposed>
struct Onto {
  const SsdSizes& sizes;
  const SsdLeft<T>& a;
  const SsdRight<T>& b;
  T scale;
  const SsdRight<T>& in;
  const SsdOut<T>& out;

  template <int kRows, class Columns>
  HWY_INLINE void tile(const Columns& columns, int64_t r0, int64_t c0, int64_t /*c1*/) const {
    Sums<Columns, kRows> sums;
    clear(sums);
    multiply<kTransposed>(columns, a, r0, b, c0, 0, sizes.inner, sums);
    const auto factor = hn::Set(typename Columns::D(), scale);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < Columns::kVectors; ++j) {
        auto v = sums.v[i][j];
        if (in.data != nullptr) v = hn::MulAdd(factor, columns.load(in.data + (r0 + i) * in.ld + c0, j), v);
        columns.store(v, out.data + (r0 + i) * out.ld + c0, j);
      }
    }
  }
};

template <typename T, bool kTransposed1, bool kTransposed2>
struct Pair {
  const SsdSizes& sizes;
  const SsdLeft<T>& a1;
  const SsdRight<T>& b1;
  const T* scale;
  const SsdLeft<T>& a2;
  const SsdRight<T>& b2;
  const SsdRanges& ranges;
  const SsdOut<T>& out;

  template <int kRows, class Columns>
  HWY_INLINE void tile(const Columns& columns, int64_t r0, int64_t c0, int64_t c1) const {
    Sums<Columns, kRows> sums;
    clear(sums);
    if (sizes.inner > 0) {
      multiply<kTransposed1>(columns, a1, r0, b1, c0, 0, sizes.inner, sums);
#pragma GCC unroll 4
      for (int j = 0; j < Columns::kVectors; ++j) {
        const auto factor = columns.load(scale + c0, j);
#pragma GCC unroll 16
        for (int i = 0; i < kRows; ++i) sums.v[i][j] = hn::Mul(sums.v[i][j], factor);
      }
    }
    multiply<kTransposed2>(columns, a2, r0, b2, c0, ranges.first[c0], ranges.last[c1 - 1], sums);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < Columns::kVectors; ++j) {
        columns.store(sums.v[i][j], out.data + (r0 + i) * out.ld + c0, j);
      }
    }
  }
};

template <typename T, bool kTransposed>
struct Dots {
  const SsdSizes& sizes;
  const SsdLeft<T>& a;
  const SsdRight<T>& b;
  const SsdRight<T>& other;
  const T* scale;
  T* dots;
  const SsdOut<T>& out;

  template <int kRows, class Columns>
  HWY_INLINE void tile(const Columns& columns, int64_t r0, int64_t c0, int64_t /*c1*/) const {
    const typename Columns::D d;
    Sums<Columns, kRows> sums;
    clear(sums);
    multiply<kTransposed>(columns, a, r0, b, c0, 0, sizes.inner, sums);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const auto factor = hn::Set(d, scale[r0 + i]);
      auto dot = hn::Zero(d);
#pragma GCC unroll 4
      for (int j = 0; j < Columns::kVectors; ++j) {
        T* to = out.data + (r0 + i) * out.ld + c0;
        dot = hn::MulAdd(sums.v[i][j], columns.load(other.data + (r0 + i) * other.ld + c0, j), dot);
        columns.store(hn::MulAdd(factor, sums.v[i][j], columns.load(to, j)), to, j);
      }
      dots[r0 + i] += hn::GetLane(hn::SumOfLanes(d, dot));
    }
  }
};

template <typename T, bool kTransposed>
struct Ranged {
  const SsdSizes& sizes;
  const SsdLeft<T>& a;
  const SsdRight<T>& b;
  const SsdRanges& ranges;
  const SsdOut<T>& out;

  template <int kRows, class Columns>
  HWY_INLINE void tile(const Columns& columns, int64_t r0, int64_t c0, int64_t /*c1*/) const {
    Sums<Columns, kRows> sums;
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < Columns::kVectors; ++j) {
        sums.v[i][j] = columns.load(out.data + (r0 + i) * out.ld + c0, j);
      }
    }
    multiply<kTransposed>(columns, a, r0, b, c0, ranges.first[r0], ranges.last[r0 + kRows - 1], sums);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < Columns::kVectors; ++j) {
        columns.store(sums.v[i][j], out.data + (r0 + i) * out.ld + c0, j);
      }
    }
  }
};

template <typename T>
void product(const SsdSizes& s, SsdPart part, const SsdLeft<T>& a, const SsdRight<T>& b,
             const SsdOut<T>& out) {
  if (a.transposed) return for_tiles<T>(Product<T, true>{s, part, a, b, out}, s.rows, s.columns);
  for_tiles<T>(Product<T, false>{s, part, a, b, out}, s.rows, s.columns);
}

template <typename T>
void onto(const SsdSizes& s, const SsdLeft<T>& a, const SsdRight<T>& b, T scale, const SsdRight<T>& in,
          const SsdOut<T>& out) {
  if (a.transposed) return for_tiles<T>(Onto<T, true>{s, a, b, scale, in, out}, s.rows, s.columns);
  for_tiles<T>(Onto<T, false>{s, a, b, scale, in, out}, s.rows, s.columns);
}

// The callers' layouts: a state on the left of the first product, rows of time on the left of the second.
template <typename T>
void pair(const SsdSizes& s, const SsdLeft<T>& a1, const SsdRight<T>& b1, const T* scale,
          const SsdLeft<T>& a2, const SsdRight<T>& b2, const SsdRanges& ranges, const SsdOut<T>& out) {
  for_tiles<T>(Pair<T, false, true>{s, a1, b1, scale, a2, b2, ranges, out}, s.rows, s.columns);
}

template <typename T>
void dots(const SsdSizes& s, const SsdLeft<T>& a, const SsdRight<T>& b, const SsdRight<T>& other,
          const T* scale, T* sums, const SsdOut<T>& out) {
  std::fill_n(sums, s.rows, T(0));
  if (a.transposed) return for_tiles<T>(Dots<T, true>{s, a, b, other, scale, sums, out}, s.rows, s.columns);
  for_tiles<T>(Dots<T, false>{s, a, b, other, scale, sums, out}, s.rows, s.columns);
}

template <typename T>
void ranged(const SsdSizes& s, const SsdLeft<T>& a, const SsdRight<T>& b, const SsdRanges& ranges,
            const SsdOut<T>& out) {
  if (a.transposed) return for_tiles<T>(Ranged<T, true>{s, a, b, ranges, out}, s.rows, s.columns);
  for_tiles<T>(Ranged<T, false>{s, a, b, ranges, out}, s.rows, s.columns);
}

const SsdProducts<float>& float_products() {
  static const SsdProducts<float> table = {product<float>, onto<float>, pair<float>, dots<float>,
                                           ranged<float>};
  return table;
}
const SsdProducts<double>& double_products() {
  static const SsdProducts<double> table = {product<double>, onto<double>, pair<double>, dots<double>,
                                            ranged<double>};
  return table;
}

}  // namespace HWY_NAMESPACE
}  // namespace phalanx::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phalanx::kernels {

HWY_EXPORT(float_products);
HWY_EXPORT(double_products);

template <>
const SsdProducts<float>& ssd_products() {
  return HWY_DYNAMIC_DISPATCH(float_products)();
}

template <>
const SsdProducts<double>& ssd_products() {
  return HWY_DYNAMIC_DISPATCH(double_products)();
}

}  // namespace phalanx::kernels
#endif
