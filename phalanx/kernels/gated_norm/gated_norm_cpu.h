// File: phalanx/kernels/gated_norm/gated_norm_cpu.h
//
// Purpose: the CPU bodies of the gated norm over a range of rows, with raw pointers.
// Contract: storage T and arithmetic S: double with double, float with float, uint16_t (the bits of a bfloat16) with float.
//   A row is contiguous over its channels. Sums have a fixed order and no operation is contracted, so that the bits depend
//   neither on the thread count nor on the machine's vectors. Outputs share no memory with inputs.
// Shapes: statistics are [rows, groups()].
#pragma once

#include <cstdint>

namespace phalanx::kernels {

template <typename T, typename S>
struct GatedRows {
  const T* y = nullptr;
  int64_t y_stride = 0;
  const T* z = nullptr;
  int64_t z_stride = 0;
  const S* weight = nullptr;
  int64_t columns = 0;
  int64_t group_size = 0;
  int64_t missing_before = 0;  // channels of the first group that lie before column 0
  bool norm_before_gate = false;
  double epsilon = 0;

  int64_t groups() const { return (missing_before + columns + group_size - 1) / group_size; }
};

// Where all groups are whole.
template <typename T, typename S>
void gated_forward_rows(const GatedRows<T, S>& rows, S* rstd, T* out, int64_t begin, int64_t end);

// Sums of squares over this rank's channels of each group.
template <typename T, typename S>
void gated_squares_rows(const GatedRows<T, S>& rows, S* squares, int64_t begin, int64_t end);
template <typename T, typename S>
void gated_apply_rows(const GatedRows<T, S>& rows, const S* rstd, T* out, int64_t begin, int64_t end);

template <typename T, typename S>
struct GatedGradients {
  const T* dout = nullptr;
  int64_t dout_stride = 0;
  const S* rstd = nullptr;
  T* dy = nullptr;  // contiguous
  T* dz = nullptr;
  int64_t dz_stride = 0;
};

// Sums over this rank's channels of each group of (gradient of the normalised value) (normalised value).
template <typename T, typename S>
void gated_products_rows(const GatedRows<T, S>& rows, const GatedGradients<T, S>& g, S* products,
                         int64_t begin, int64_t end);
// dy and dz; dweight [columns] is added to in row order. `products` over all ranks, or null where all groups are whole.
template <typename T, typename S>
void gated_backward_rows(const GatedRows<T, S>& rows, const GatedGradients<T, S>& g, const S* products,
                         S* dweight, int64_t begin, int64_t end);

}  // namespace phalanx::kernels
