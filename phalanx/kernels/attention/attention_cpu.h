// File: phalanx/kernels/attention/attention_cpu.h
//
// Purpose: the CPU body of the dropout mask of attention probabilities, with raw pointers.
// Contract: `dropped` is [rows, S] and row r belongs to query r % S. Its entries 0 .. r % S are set from the words of
//   elements first_element + r * S + column (base/philox.h); later ones, which no query sees, become true.
#pragma once

#include <cstdint>

#include "phalanx/base/philox.h"

namespace phalanx::kernels {

void dropped_rows(const RandomKey& key, uint32_t threshold, uint64_t first_element, int64_t S, bool* dropped,
                  int64_t begin, int64_t end);

}  // namespace phalanx::kernels
