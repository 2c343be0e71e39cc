// File: phalanx/kernels/gated_norm/gated_norm.h
//
// Purpose: the RMS norm of a Mamba-2 layer, gated by silu(z) and taken over groups of channels; forward, backward, and
//   rebuilding the output. Over a tensor-parallel group a norm group may span ranks.
// Equations: norm last   v = y silu(z),  o = w v rstd,             rstd = 1 / sqrt(mean over the group of v^2 + eps)
//            norm first  o = (w y rstd) silu(z),                   rstd = 1 / sqrt(mean over the group of y^2 + eps)
//   backward: models.md 2.4.
// Shapes (T rows, D channels of this rank): y, z, o, do, dy, dz [T, D], rows may be strided, the last stride is 1;
//   weight [D]; rstd [T, n], n the norm groups that this rank's channels touch.
// Dtypes: statistics, silu and sums in fp32 (fp64 for fp64); o, dy, dz in the dtype of y; dweight in the statistics'.
// Contract: this rank holds the global channels [first_channel, first_channel + D), every rank equally many. Where it holds
//   whole groups nothing is communicated; else `group` sums the squares (forward) and the products (backward) of the groups
//   it shares, once each. dz shares no memory with an input.
// Source: Dao & Gu 2024; the grouping of Megatron-LM and state-spaces; models.md 2.1 (traps), 2.4.
#pragma once

#include <ATen/core/Tensor.h>

#include "phalanx/comm/group.h"

namespace phalanx::kernels {

using at::Tensor;

struct GatedNormSpec {
  int64_t group_size = 0;  // channels of a norm group, over all ranks
  double epsilon = 1e-5;
  bool norm_before_gate = false;
  int64_t channels_global = 0;
  int64_t first_channel = 0;
  comm::Group* group = nullptr;  // nullptr: this rank has all channels
};

struct GatedNormForward {
  Tensor out;
  Tensor rstd;
};

GatedNormForward gated_norm_forward(const Tensor& y, const Tensor& z, const Tensor& weight,
                                    const GatedNormSpec& spec);
// The output again, bit-equal to the forward's; communicates nothing.
Tensor gated_norm_apply(const Tensor& y, const Tensor& z, const Tensor& rstd, const Tensor& weight,
                        const GatedNormSpec& spec);

struct GatedNormBackward {
  Tensor dy;  // fresh, contiguous
  Tensor dweight;
};

// Writes dz.
GatedNormBackward gated_norm_backward(const Tensor& dout, const Tensor& y, const Tensor& z,
                                      const Tensor& rstd, const Tensor& weight, const GatedNormSpec& spec,
                                      Tensor dz);

}  // namespace phalanx::kernels
