// File: phalanx/kernels/ssd/ssd_cpu.h
//
// Purpose: what the chunked form does element by element, and the decode step, for the CPU's vectors.
// Contract: T is float or double. A vector is [Q], a matrix over a chunk's rows [Q, ld]; both may be read and
//   written up to the next multiple of kSsdPad elements, which ld is. A decay is exp of a difference of sums of
//   delta A, which are kept as the sum of two T: one fp32 number would lose the small decays after a large one.
// Documents: row l belongs to the rows [start[l], end[l]) of its chunk; the first `carried` rows see the state
//   before the chunk. A decay across a boundary is 0, and with it all that the boundary must hide.
#pragma once

#include <cstdint>

namespace phalanx::kernels {

inline constexpr int64_t kSsdPad = 16;

struct SsdRows {
  int64_t rows = 0;
  const int64_t* start = nullptr;
  const int64_t* end = nullptr;
  int64_t carried = 0;
};

// With a the inclusive sum of delta A over the chunk's rows, anew in every document.
template <typename T>
struct SsdDecays {
  T* delta = nullptr;
  T* high = nullptr;  // a = high + low
  T* low = nullptr;
  T* before = nullptr;  // exp(a[l]): how much of the state before the chunk row l sees
  T* after = nullptr;   // exp(a[last] - a[s]): how much of row s the state after the chunk holds
  T* inject = nullptr;  // delta after
  T whole = 0;          // exp(a[last]); of use only when all rows are carried
};

template <typename T>
struct SsdInside {
  int64_t ld = 0;
  const T* G = nullptr;  // C[l] . B[s]
  const T* W = nullptr;  // dy[l] . x[s]
  T* M = nullptr;        // out
  T* dG = nullptr;       // added to
  T* straight =
      nullptr;  // out: sum over l of (G W exp(a[l] - a[s]))[l, s], the gradient of delta[s] inside the chunk
  T* across = nullptr;  // out: sum over s < j <= l of the same times delta[s], the gradient of (delta A)[j]
};

template <typename T>
struct SsdStep {
  int64_t width = 0;
  int64_t states = 0;
  T delta = 0;
  T decay = 0;
  T skip = 0;
  const T* x = nullptr;
  const T* B = nullptr;
  const T* C = nullptr;
  T* state = nullptr;  // [width, states]
  T* y = nullptr;
};

template <typename T>
struct SsdBodies {
  // From d.delta.
  void (*decays)(const SsdRows& rows, double A, SsdDecays<T>& d);
  // M[s, l] = G[s, l] exp(a[l] - a[s]) delta[s], plus `skip` on the diagonal; G is B[s] . C[l]. Nothing is
  // written below the diagonal's vectors: M starts as zeros.
  void (*forward_matrix)(const SsdRows& rows, const SsdDecays<T>& d, const T* G, int64_t ld, T skip, T* M);
  // M[l, s] as above, transposed; returns the sum of W's diagonal.
  double (*backward_matrix)(const SsdRows& rows, const SsdDecays<T>& d, T skip, const SsdInside<T>& m);
  // out[r, c] = in[r, c] scale[r]; without scale a copy.
  void (*scale_rows)(int64_t rows, int64_t columns, const T* in, int64_t in_ld, const T* scale, T* out,
                     int64_t ld);
  // out[c, r] = in[r, c].
  void (*transpose)(int64_t rows, int64_t columns, const T* in, int64_t in_ld, T* out, int64_t ld);
  double (*dot)(int64_t n, const T* a, const T* b);
  // One head of one sequence, in one pass over its state.
  void (*step)(const SsdStep<T>& s);
};

template <typename T>
const SsdBodies<T>& ssd_bodies();

}  // namespace phalanx::kernels
