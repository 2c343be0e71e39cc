// File: phalanx/kernels/causal_conv1d/causal_conv1d_cpu.h
//
// Purpose: the CPU bodies of the short convolution over a tile (rows of one sample by channels), with raw pointers.
// Contract: storage T and sums S: double with double, float with float, uint16_t (the bits of a bfloat16) with float. A row
//   is contiguous over its channels. Sums have a fixed order and no operation is contracted, so that the bits depend neither
//   on the thread count nor on the machine's vectors. At most kMostTaps taps. Outputs share no memory with inputs.
#pragma once

#include <cstdint>

namespace phalanx::kernels {

inline constexpr int64_t kMostTaps = 16;

// Row t of sample b starts at data + b * sample_stride + t * row_stride (elements).
template <typename T>
struct ConvRows {
  T* data = nullptr;
  int64_t sample_stride = 0;
  int64_t row_stride = 0;

  T* row(int64_t b, int64_t t) const { return data + b * sample_stride + t * row_stride; }
};

template <typename T, typename S>
struct ConvProblem {
  int64_t rows = 0;
  int64_t channels = 0;
  int64_t taps = 0;
  ConvRows<const T> x;
  ConvRows<const T> window;           // no data: zeros
  const int64_t* document = nullptr;  // [samples, rows], or null
  const S* weight = nullptr;          // [taps, channels]
  const S* bias = nullptr;            // [channels]
};

struct ConvTile {
  int64_t sample = 0;
  int64_t first_row = 0, end_row = 0;
  int64_t first_channel = 0, end_channel = 0;
};

// y of the tile.
template <typename T, typename S>
void conv_forward_tile(const ConvProblem<T, S>& problem, const ConvTile& tile, const ConvRows<T>& y);

template <typename T, typename S>
struct ConvOutputs {
  ConvRows<T> dx;
  ConvRows<S> dwindow;  // no data: not wanted. Written by the tiles with first_row 0
  S* sums = nullptr;    // [taps + 1, channels], added to: dweight transposed, then dbias
};

// dx of the tile, and what its rows add to the sums.
template <typename T, typename S>
void conv_backward_tile(const ConvProblem<T, S>& problem, const ConvRows<const T>& dy, const ConvTile& tile,
                        const ConvOutputs<T, S>& out);

// One row: y of channels [begin, end) from the window [taps - 1, ..] and x, after which the window has rolled on. `window`
// and its rows are window_stride apart; weight and bias as in ConvProblem.
template <typename T, typename S>
struct ConvStep {
  const T* x = nullptr;
  T* window = nullptr;
  int64_t window_stride = 0;
  T* y = nullptr;
};

template <typename T, typename S>
void conv_step(const ConvProblem<T, S>& problem, const ConvStep<T, S>& step, int64_t begin, int64_t end);

}  // namespace phalanx::kernels
