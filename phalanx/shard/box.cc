#include "phalanx/shard/box.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

void check_same_rank(const Box& a, const Box& b) {
  PHALANX_CHECK(a.begin.size() == b.begin.size(),
                "boxes of different rank: " + to_string(a) + ", " + to_string(b));
}

}  // namespace

Shape Box::shape() const {
  Shape sizes(begin.size());
  for (size_t d = 0; d < begin.size(); ++d) sizes[d] = end[d] - begin[d];
  return sizes;
}

int64_t Box::num_elements() const {
  return phalanx::num_elements(shape());
}

int64_t num_elements(const Shape& shape) {
  int64_t product = 1;
  for (const int64_t size : shape) product *= size;
  return product;
}

std::string to_string(const Shape& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

std::string to_string(const Box& box) {
  std::string text = "[";
  for (size_t d = 0; d < box.begin.size(); ++d) {
    text += fmt::format("{}{}:{}", d == 0 ? "" : ", ", box.begin[d], box.end[d]);
  }
  return text + "]";
}

std::optional<Box> intersect(const Box& a, const Box& b) {
  check_same_rank(a, b);
  Box common = a;
  for (size_t d = 0; d < a.begin.size(); ++d) {
    common.begin[d] = std::max(a.begin[d], b.begin[d]);
    common.end[d] = std::min(a.end[d], b.end[d]);
    if (common.begin[d] >= common.end[d]) return std::nullopt;
  }
  return common;
}

Box relative_to(const Box& box, const Shape& origin) {
  PHALANX_CHECK(box.begin.size() == origin.size(), "origin of another rank than box " + to_string(box));
  Box moved = box;
  for (size_t d = 0; d < origin.size(); ++d) {
    moved.begin[d] -= origin[d];
    moved.end[d] -= origin[d];
  }
  return moved;
}

bool contains(const Box& outer, const Box& inner) {
  check_same_rank(outer, inner);
  for (size_t d = 0; d < outer.begin.size(); ++d) {
    if (inner.begin[d] < outer.begin[d] || inner.end[d] > outer.end[d]) return false;
  }
  return true;
}

}  // namespace phalanx
