// File: phalanx/kernels/linear_cross_entropy/linear_cross_entropy_cpu.h
//
// Purpose: the CPU body of the loss: a range of rows of a chunk's logits becomes nll and, in place, the gradient.
// Contract: logits [rows, padded] with the first `valid` columns used; afterwards, when loss_weight is given, they hold
//   loss_weight * (softmax - onehot), exactly 0 in the padding and in rows whose label is -1 or whose weight is 0.
//   Rows are independent, so any split over threads gives the same bits.
#pragma once

#include <cstdint>

namespace phalanx::kernels {

template <typename T>
struct HeadRows {
  T* logits = nullptr;
  int64_t row_stride = 0;
  int64_t valid = 0;
  int64_t padded = 0;
  const int64_t* labels = nullptr;
  const T* loss_weight = nullptr;  // nullptr: no gradient
  T* nll = nullptr;
};

template <typename T>
void head_rows(const HeadRows<T>& rows, int64_t begin, int64_t end);

}  // namespace phalanx::kernels
