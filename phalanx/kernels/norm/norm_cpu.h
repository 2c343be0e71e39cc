// File: phalanx/kernels/norm/norm_cpu.h
//
// Purpose: the CPU bodies of layer norm and RMS norm over a range of rows, with raw pointers.
// Contract: storage T and arithmetic S: double with double, float with float, uint16_t (the bits of a bfloat16) with
//   float. A row is contiguous; rows may be strided in two levels. Every sum has a fixed order, so the bits depend
//   neither on the thread count nor on the machine. `mean` is null for RMS norm, `bias` may be null.
#pragma once

#include <cstdint>

namespace phalanx::kernels {

// Row r starts at data + (r / inner) * outer_stride + (r % inner) * inner_stride (elements).
template <typename T>
struct NormRows {
  const T* data = nullptr;
  int64_t inner = 1;
  int64_t outer_stride = 0;
  int64_t inner_stride = 0;

  const T* row(int64_t r) const { return data + r / inner * outer_stride + r % inner * inner_stride; }
};

template <typename S>
struct NormAffine {
  const S* weight = nullptr;
  const S* bias = nullptr;
  int64_t columns = 0;
};

// Statistics of rows [begin, end).
template <typename T, typename S>
void norm_statistics_rows(const NormRows<T>& x, int64_t columns, double epsilon, S* mean, S* rstd,
                          int64_t begin, int64_t end);

// y (contiguous) of rows [begin, end) from the statistics.
template <typename T, typename S>
void norm_apply_rows(const NormRows<T>& x, const S* mean, const S* rstd, const NormAffine<S>& affine, T* y,
                     int64_t begin, int64_t end);

// dx (contiguous) of rows [begin, end); dweight and, unless null, dbias [columns] are added to in row order.
template <typename T, typename S>
void norm_backward_rows(const NormRows<T>& dy, const NormRows<T>& x, const S* mean, const S* rstd,
                        const NormAffine<S>& affine, T* dx, S* dweight, S* dbias, int64_t begin, int64_t end);

}  // namespace phalanx::kernels
