// File: phalanx/kernels/ssd/ssd_walk.h
//
// Purpose: what the chunked forward and backward share: sizes, the split into tasks, a task's scratch, a chunk's
//   rows.
// Contract: CPU tensors of dtype T, checked by ssd.cc. A task is a sample and some heads of one group; the split
//   depends on shapes only.
#pragma once

#include <hwy/aligned_allocator.h>

#include <algorithm>
#include <vector>

#include "phalanx/kernels/ssd/ssd_chunk.h"
#include "phalanx/kernels/ssd/ssd_cpu.h"
#include "phalanx/kernels/ssd/ssd_product_cpu.h"

namespace phalanx::kernels {

struct SsdShape {
  int64_t batch, rows, heads, width, groups, states, chunk, chunks;
  int64_t ld;           // of a matrix over the rows of a chunk
  int64_t block_heads;  // of a task, at most
  int64_t blocks;       // of a group
  int64_t heads_of_group;

  explicit SsdShape(const SsdChunkInputs& in);
  int64_t tasks() const { return batch * groups * blocks; }
};

struct SsdTask {
  int64_t sample, group, block, first_head, last_head;

  SsdTask(const SsdShape& s, int64_t index);
};

// Zeros, aligned to a vector.
template <typename T>
class SsdScratch {
 public:
  explicit SsdScratch(int64_t n)
      : data_(hwy::AllocateAligned<T>(static_cast<size_t>(std::max<int64_t>(n, 1)))) {
    std::fill_n(data_.get(), n, T(0));
  }
  T* get() const { return data_.get(); }

 private:
  hwy::AlignedFreeUniquePtr<T[]> data_;
};

// A row of a sample: rows may be strided, what a row holds is contiguous.
template <typename T>
struct SsdSample {
  T* data;
  int64_t row_stride;

  SsdSample(const Tensor& rows, int64_t sample)
      : data(rows.data_ptr<T>() + sample * rows.stride(0)), row_stride(rows.stride(1)) {}
  T* at(int64_t row, int64_t column) const { return data + row * row_stride + column; }
};

// Asks the cache for columns [0, columns) of rows at `first`: a stride that no prefetcher of a CPU follows.
template <typename T>
void ssd_prefetch(const T* first, int64_t row_stride, int64_t rows, int64_t columns) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; c += kLine) __builtin_prefetch(first + r * row_stride + c, 0, 2);
  }
}

// The rows of one chunk and where its documents begin and end.
class SsdChunkRows {
 public:
  explicit SsdChunkRows(const SsdShape& s) : start_(s.chunk), end_(s.chunk), self_(s.chunk), next_(s.chunk) {}
  // `document`: the sample's, or null.
  void set(const SsdShape& s, const int64_t* document, int64_t chunk);

  int64_t first() const { return first_; }
  int64_t rows() const { return rows_.rows; }
  const SsdRows& get() const { return rows_; }
  // Earlier rows of the same document, itself included; later ones.
  SsdRanges earlier() const { return {start_.data(), next_.data()}; }
  SsdRanges later() const { return {self_.data(), end_.data()}; }

 private:
  int64_t first_ = 0;
  SsdRows rows_;
  std::vector<int64_t> start_, end_, self_, next_;
};

// The decays of one head in one chunk.
template <typename T>
class SsdHeadDecays {
 public:
  explicit SsdHeadDecays(const SsdShape& s) : ld_(s.ld), buffer_(6 * s.ld) {
    T* p = buffer_.get();
    decays_ = {.delta = p,
               .high = p + ld_,
               .low = p + 2 * ld_,
               .before = p + 3 * ld_,
               .after = p + 4 * ld_,
               .inject = p + 5 * ld_};
  }
  void set(const SsdBodies<T>& bodies, const SsdRows& rows, const T* delta, int64_t stride, double A) {
    for (int64_t i = 0; i < rows.rows; ++i) decays_.delta[i] = delta[i * stride];
    bodies.decays(rows, A, decays_);
  }
  const SsdDecays<T>& get() const { return decays_; }

 private:
  int64_t ld_;
  SsdScratch<T> buffer_;
  SsdDecays<T> decays_;
};

}  // namespace phalanx::kernels
