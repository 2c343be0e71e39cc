// File: phalanx/kernels/rotary/rotary_cpu.h
//
// Purpose: the CPU body of rotary_: raw pointers, element strides and a range of rows.
// Contract: row t of x turns by the angles of table row angle_row[t]; cos and sin are [rows, half], row-major. Rows are
//   independent, so any split over threads gives the same bits. Storage T and arithmetic A: float with float, double
//   with double, Bfloat16 with float (rounded to nearest even).
#pragma once

#include <cstdint>

namespace phalanx::kernels {

struct Bfloat16 {
  uint16_t bits;
};

template <typename T>
struct RotaryRows {
  T* x = nullptr;
  int64_t row_stride = 0;
  int64_t head_stride = 0;
  int64_t column_stride = 1;
  int64_t heads = 0;
};

template <typename A>
struct RotaryAngles {
  const A* cos = nullptr;
  const A* sin = nullptr;
  const int64_t* angle_row = nullptr;
  int64_t half = 0;  // pairs a head
};

template <typename T, typename A>
void rotary_rows(const RotaryRows<T>& rows, const RotaryAngles<A>& angles, bool inverse, int64_t begin,
                 int64_t end);

}  // namespace phalanx::kernels
