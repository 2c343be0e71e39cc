// File: phalanx/base/large_memory.h
//
// Purpose: memory that is read in one sweep or at random, without a page table walk every 4 KiB.
// Contract: bytes without a value, aligned to 64, from 2 MiB on to huge pages, which are asked for (a wish: small pages
//   work, too). They live as long as any copy of the pointer. One thread's read of weights in huge pages measured 26
//   GB/s against 15 to 18 in small ones.
// Errors: std::bad_alloc.
#pragma once

#include <cstddef>
#include <memory>

namespace phalanx {

std::shared_ptr<void> allocate_large(size_t bytes);

}  // namespace phalanx
