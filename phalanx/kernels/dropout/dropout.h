// File: phalanx/kernels/dropout/dropout.h
//
// Purpose: dropout whose mask is a pure function of who the element is, so that it is the same under every layout and
//   is rebuilt in backward instead of stored.
// Equation: y = keep ? x / (1 - p) : 0, keep <=> word(key, token_id * width + column) >= p * 2^32   (base/philox.h)
// Shapes: x [T, H]; token_id [T] int64; `width` is the logical number of columns and `first_column` the first one here.
// Contract: linear, so the same call applied to dy is the backward. p = 0 returns x itself. Masks are bit-equal on every
//   device. dropout_keep_mask gives the bool mask of arbitrary logical element indices (for attention).
#pragma once

#include <ATen/core/Tensor.h>

#include "phalanx/base/philox.h"

namespace phalanx::kernels {

using at::Tensor;

Tensor dropout(const Tensor& x, const Tensor& token_id, const RandomKey& key, double p, int64_t width,
               int64_t first_column = 0);
Tensor dropout_keep_mask(const Tensor& element_index, const RandomKey& key, double p);

}  // namespace phalanx::kernels
