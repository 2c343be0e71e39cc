// File: phalanx/kernels/gemm/gemm_few_rows_cpu.h
//
// Purpose: c = a w^T (+ c) for few rows of a, as generation needs it: w is read from memory once, in order, and the
//   speed is that of reading it.
// Contract: w [N, length], T is float or the bits of bf16 (uint16_t); its rows have unit stride and lie w_stride
//   apart. a is fp32 [rows, length]; for bf16 weights it went through few_rows_pair. c is fp32 [rows, N]. An entry
//   of c is one dot product: 16 partial sums (32 for bf16) over k in ascending order, added in a fixed order, then
//   the last length % 16 (% 32) products. So its bits depend on no other row or column, and not on the cut of
//   [begin, end) into calls.
// Source: measured on Zen 4: one row of w at a time keeps the hardware's prefetcher at the bandwidth of a plain read.
#pragma once

#include <cstdint>

namespace phalanx::kernels {

template <typename T>
struct FewRows {
  const T* w = nullptr;
  int64_t w_stride = 0;
  const float* a = nullptr;
  int64_t a_stride = 0;
  float* c = nullptr;
  int64_t c_stride = 0;
  int64_t rows = 0;
  int64_t length = 0;
  bool add = false;
};

// Columns [begin, end) of c.
template <typename T>
void few_rows_columns(const FewRows<T>& problem, int64_t begin, int64_t end);

// A row of bf16 as fp32, with even elements of every whole 32 before its odd ones: the order in which 32 weights
// unpack.
void few_rows_pair(const uint16_t* row, int64_t length, float* to);

}  // namespace phalanx::kernels
