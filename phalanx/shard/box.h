// File: phalanx/shard/box.h
//
// Purpose: axis-aligned boxes of a logical tensor: what a rank holds, what a file holds, and where they meet.
// Contract: half-open, begin[d] <= end[d]; a box of a 0-d tensor has no dims and one element. Pure
// arithmetic. Units: elements.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace phalanx {

using Shape = std::vector<int64_t>;

struct Box {
  Shape begin;
  Shape end;

  static Box whole(const Shape& shape) { return {Shape(shape.size(), 0), shape}; }
  Shape shape() const;
  int64_t num_elements() const;
  bool operator==(const Box&) const = default;
};

int64_t num_elements(const Shape& shape);

// "[2, 3]" and "[0:2, 4:8]".
std::string to_string(const Shape& shape);
std::string to_string(const Box& box);

// Nothing when they share no element.
std::optional<Box> intersect(const Box& a, const Box& b);

// `box` moved so that `origin` becomes zero: the coordinates inside a tensor that holds just that region.
Box relative_to(const Box& box, const Shape& origin);

bool contains(const Box& outer, const Box& inner);

}  // namespace phalanx
