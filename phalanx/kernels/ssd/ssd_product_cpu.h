// File: phalanx/kernels/ssd/ssd_product_cpu.h
//
// Purpose: the small matrix products of the chunked form: operands lie in the cache, and what comes before or after a
//   product (decays, causality, sums along a row) happens while its tile is in registers.
// Contract: T is float or double. The second operand and the result are row-major, any leading dimension; the
//   first is read one element at a time and may be transposed. An entry is summed over k in ascending order,
//   whatever the sizes and the number of threads.
#pragma once

#include <cstdint>

namespace phalanx::kernels {

// Element (r, k) of the first operand: data[r * ld + k], transposed data[k * ld + r].
template <typename T>
struct SsdLeft {
  const T* data = nullptr;
  int64_t ld = 0;
  bool transposed = false;
};

template <typename T>
struct SsdRight {
  const T* data = nullptr;
  int64_t ld = 0;
};

template <typename T>
struct SsdOut {
  T* data = nullptr;
  int64_t ld = 0;
};

struct SsdSizes {
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t inner = 0;
};

// Which entries of the result are needed: on or below the diagonal, on or above it. Others may be written too.
enum class SsdPart { kLower, kUpper };

// Index i needs the inner indices [first[i], last[i]) only; both ascend. Others must meet zeros: a tile runs over all
// that any of its indices needs.
struct SsdRanges {
  const int64_t* first = nullptr;
  const int64_t* last = nullptr;
};

// The functions for this machine's vectors.
template <typename T>
struct SsdProducts {
  using Left = const SsdLeft<T>&;
  using Right = const SsdRight<T>&;
  using Out = const SsdOut<T>&;
  using Sizes = const SsdSizes&;
  using Ranges = const SsdRanges&;

  // out = A B.
  void (*product)(Sizes sizes, SsdPart part, Left a, Right b, Out out);
  // out = scale in + A B; `in` may be out; without data it is zero.
  void (*onto)(Sizes sizes, Left a, Right b, T scale, Right in, Out out);
  // out[r, c] = scale[c] (A1 B1)[r, c] + (A2 B2)[r, c]: the first product over sizes.inner, which may be 0, the
  // second over the ranges of the columns. A1 is not transposed, A2 is.
  void (*pair)(Sizes sizes, Left a1, Right b1, const T* scale, Left a2, Right b2, Ranges ranges, Out out);
  // With X = A B:  dots[r] = sum over c of X[r, c] other[r, c];  out[r, c] += scale[r] X[r, c].
  void (*dots)(Sizes sizes, Left a, Right b, Right other, const T* scale, T* dots, Out out);
  // out += A B over the ranges of the rows.
  void (*ranged)(Sizes sizes, Left a, Right b, Ranges ranges, Out out);
};

template <typename T>
const SsdProducts<T>& ssd_products();

}  // namespace phalanx::kernels
