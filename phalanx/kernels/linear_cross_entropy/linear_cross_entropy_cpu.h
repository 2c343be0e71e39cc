// File: phalanx/kernels/linear_cross_entropy/linear_cross_entropy_cpu.h
//
// Purpose: the CPU body of the loss: a range of rows of a chunk's logits becomes nll and, in place, the gradient.
// Contract: logits [rows, padded] with the first `valid` columns used; afterwards, when loss_weight is given, they hold
//   loss_weight * (softmax - onehot), exactly 0 in the padding and in rows whose label is -1 or whose weight is 0.
//   Rows are independent, so any split over threads gives the same bits.
//   Where ranks share the vocabulary the work has two halves, with an all-gather of the statistics between them:
//   head_row_statistics reads this rank's columns (with loss_weight it leaves exp(logit - its largest) in rows that
//   count), head_row_gradients combines the ranks and finishes nll and the gradient.
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

// A row's three numbers, in fp64 whatever T is.
inline constexpr int64_t kHeadStatistics =
    3;  // largest logit, sum of exp(logit - largest), logit of the label

// `rows.valid` counts this rank's real columns (it may be 0), `labels` the whole vocabulary.
template <typename T>
struct HeadShard {
  HeadRows<T> rows;
  int64_t num_rows = 0;
  int64_t first_column = 0;  // the label that column 0 has
  int rank = 0;
  int ranks = 1;
  double* own = nullptr;        // [num_rows, 3], written by statistics
  const double* all = nullptr;  // [ranks, num_rows, 3], read by gradients
};

template <typename T>
void head_row_statistics(const HeadShard<T>& shard, int64_t begin, int64_t end);
template <typename T>
void head_row_gradients(const HeadShard<T>& shard, int64_t begin, int64_t end);

template <typename T>
void head_rows(const HeadRows<T>& rows, int64_t begin, int64_t end);

}  // namespace phalanx::kernels
