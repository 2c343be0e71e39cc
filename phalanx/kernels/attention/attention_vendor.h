// File: phalanx/kernels/attention/attention_vendor.h
//
// Purpose: LibTorch's flash attention behind our shapes: on the CPU for every mask, on CUDA for plain causal halves.
// Contract: vendor_serves depends on inputs and spec alone, so forward and backward take the same path.
#pragma once

#include "phalanx/kernels/attention/attention.h"

namespace phalanx::kernels {

bool vendor_serves(const AttentionInputs& in, const AttentionSpec& spec);

AttentionForward attention_forward_vendor(const AttentionInputs& in, const AttentionSpec& spec);
void attention_backward_vendor(const Tensor& dout, const AttentionInputs& in, const AttentionForward& saved,
                               const AttentionSpec& spec, Tensor dq, Tensor dk, Tensor dv);

}  // namespace phalanx::kernels
