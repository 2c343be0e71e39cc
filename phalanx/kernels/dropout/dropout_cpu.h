// File: phalanx/kernels/dropout/dropout_cpu.h
//
// Purpose: the CPU bodies that say which elements dropout drops, with raw pointers.
// Contract: dropped[i] is true when the word of the element is below `threshold` (base/philox.h). Elements are
//   independent, so any split over threads gives the same mask. Element indices are below 2^50.
#pragma once

#include <cstdint>

#include "phalanx/base/philox.h"

namespace phalanx::kernels {

struct DropoutRows {
  const int64_t* token_id = nullptr;
  int64_t width = 0;         // logical columns of a token
  int64_t first_column = 0;  // the first one here
  int64_t columns = 0;       // columns here
};

// Rows [begin, end) of the contiguous mask [T, columns].
void dropout_mask_rows(const DropoutRows& rows, const RandomKey& key, uint32_t threshold, bool* dropped,
                       int64_t begin, int64_t end);

// Entries [begin, end) of arbitrary element indices. Neighbours in one block of four cost one draw.
void dropout_mask_elements(const int64_t* element_index, const RandomKey& key, uint32_t threshold,
                           bool* dropped, int64_t begin, int64_t end);

}  // namespace phalanx::kernels
