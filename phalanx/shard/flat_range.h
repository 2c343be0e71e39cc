// File: phalanx/shard/flat_range.h
//
// Purpose: between flat and box: the optimizer shards a flattened tensor, files and layouts speak of boxes.
// Contract: flat_range_to_boxes gives the fewest boxes that cover [begin, end) exactly once, each of them a
// contiguous
//   run of the row-major tensor, in flat order (so that box after box is the flat range, byte for byte). That
//   is at most 2 * dims - 1 boxes. copy_box moves a box between two dense row-major tensors. Bugs abort.
// Units: elements, except `element_size` (bytes).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "phalanx/shard/box.h"

namespace phalanx {

std::vector<Box> flat_range_to_boxes(const Shape& shape, int64_t begin, int64_t end);

// A dense row-major tensor in memory (T is std::byte or const std::byte).
template <typename T>
struct DenseView {
  std::span<T> bytes;
  Shape shape;
};

// destination[destination_box] = source[source_box]; the boxes have equal shapes, the memory does not
// overlap.
void copy_box(const DenseView<const std::byte>& source, const Box& source_box,
              const DenseView<std::byte>& destination, const Box& destination_box, uint64_t element_size);

}  // namespace phalanx
