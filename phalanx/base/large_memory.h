// File: phalanx/base/large_memory.h
//
// Purpose: memory that is read in one sweep or at random, without a page table walk every 4 KiB.
// Contract: zero bytes, aligned to 64; from 2 MiB on in huge pages, which are asked for (a wish: small pages work, too), and
//   not there before they are touched. They live as long as any copy of the pointer. One thread reads weights at
//   26 GB/s from huge pages, at 17 from small ones (kernels_bench, few_rows).
// Errors: std::bad_alloc.
#pragma once

#include <cstddef>
#include <memory>

namespace phalanx {

std::shared_ptr<void> allocate_large(size_t bytes);

}  // namespace phalanx
