// File: phalanx/comm/reduce_cpu.h
//
// Purpose: the sum or maximum of several buffers, element by element.
// Contract: result[i] = in[0][i] op in[1][i] op .., in that order, rounded once at the end; accumulated in fp32 for bf16
//   and f16, otherwise in the element type (integers wrap). So the bits depend on the order of `in` alone, and not on
//   how a range is cut. The largest of several is a NaN when one of them is. Every `out` gets the result; an `out` may
//   be one of `in`, otherwise none overlap.
// Units: elements.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "phalanx/comm/operation.h"

namespace phalanx::comm {

void reduce_range(Dtype dtype, ReduceOp op, std::span<const std::byte* const> in,
                  std::span<std::byte* const> out, int64_t count);

}  // namespace phalanx::comm
