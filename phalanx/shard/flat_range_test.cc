#include "phalanx/shard/flat_range.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>

namespace phalanx {
namespace {

// Flat positions of a box in row-major order.
std::vector<int64_t> flat_positions(const Shape& shape, const Box& box) {
  std::vector<int64_t> positions = {0};
  for (size_t d = 0; d < shape.size(); ++d) {
    std::vector<int64_t> next;
    for (const int64_t p : positions) {
      for (int64_t i = box.begin[d]; i < box.end[d]; ++i) next.push_back(p * shape[d] + i);
    }
    positions = next;
  }
  return positions;
}

std::vector<Box> all_boxes(const Shape& shape) {
  std::vector<Box> boxes = {Box{}};
  for (const int64_t size : shape) {
    std::vector<Box> next;
    for (const Box& box : boxes) {
      for (int64_t b = 0; b < size; ++b) {
        for (int64_t e = b + 1; e <= size; ++e) {
          next.push_back(box);
          next.back().begin.push_back(b);
          next.back().end.push_back(e);
        }
      }
    }
    boxes = next;
  }
  return boxes;
}

std::vector<Shape> shapes_up_to_4x3x5() {
  std::vector<Shape> shapes = {{}};
  for (int64_t a = 1; a <= 4; ++a) {
    shapes.push_back({a});
    for (int64_t b = 1; b <= 3; ++b) {
      shapes.push_back({a, b});
      for (int64_t c = 1; c <= 5; ++c) shapes.push_back({a, b, c});
    }
  }
  shapes.push_back({2, 1, 3, 2});
  return shapes;
}

// The fewest contiguous boxes from `begin` to each end, by dynamic programming over every box there is.
std::vector<int> fewest_boxes(const std::multimap<int64_t, int64_t>& runs, int64_t begin, int64_t size) {
  std::vector<int> fewest(static_cast<size_t>(size) + 1, 1'000'000);
  fewest[static_cast<size_t>(begin)] = 0;
  for (int64_t at = begin; at < size; ++at) {
    const auto [first, last] = runs.equal_range(at);
    for (auto it = first; it != last; ++it) {
      int& target = fewest[static_cast<size_t>(at + it->second)];
      target = std::min(target, fewest[static_cast<size_t>(at)] + 1);
    }
  }
  return fewest;
}

TEST(FlatRange, EveryRangeOfEverySmallShapeIsTiledByTheFewestRuns) {
  int ranges = 0;
  for (const Shape& shape : shapes_up_to_4x3x5()) {
    const int64_t size = num_elements(shape);
    std::multimap<int64_t, int64_t> runs;  // start -> length of every box that is contiguous
    for (const Box& box : all_boxes(shape)) {
      const std::vector<int64_t> flat = flat_positions(shape, box);
      if (flat.back() - flat.front() + 1 == box.num_elements())
        runs.emplace(flat.front(), box.num_elements());
    }
    for (int64_t begin = 0; begin <= size; ++begin) {
      const std::vector<int> fewest = fewest_boxes(runs, begin, size);
      for (int64_t end = begin; end <= size; ++end) {
        ++ranges;
        const std::vector<Box> boxes = flat_range_to_boxes(shape, begin, end);
        std::vector<int64_t> covered;
        for (const Box& box : boxes) {
          for (const int64_t p : flat_positions(shape, box)) covered.push_back(p);
        }
        std::vector<int64_t> expected(static_cast<size_t>(end - begin));
        std::iota(expected.begin(), expected.end(), begin);
        ASSERT_EQ(covered, expected) << to_string(shape) << " " << begin << ":" << end;
        ASSERT_EQ(static_cast<int>(boxes.size()), fewest[static_cast<size_t>(end)])
            << to_string(shape) << " " << begin << ":" << end;
      }
    }
  }
  EXPECT_GT(ranges, 13000);
}

TEST(FlatRange, LargeTensorNeedsNoMoreThanFiveBoxes) {
  const Shape shape = {50304, 16, 768};
  const std::vector<Box> boxes = flat_range_to_boxes(shape, 12345, 600'000'001);
  EXPECT_EQ(boxes.size(), 5u);
  int64_t total = 0;
  for (const Box& box : boxes) total += box.num_elements();
  EXPECT_EQ(total, 600'000'001 - 12345);
  EXPECT_TRUE(flat_range_to_boxes({0, 7}, 0, 0).empty());
}

TEST(CopyBox, EveryPairOfPlacesInSmallTensors) {
  const Shape from_shape = {3, 2, 4};
  std::vector<int32_t> from(24);
  std::iota(from.begin(), from.end(), 100);
  const DenseView<const std::byte> source{std::as_bytes(std::span(from)), from_shape};
  int copies = 0;
  for (const Box& box : all_boxes(from_shape)) {
    Shape to_shape = box.shape();
    for (int64_t& size : to_shape) size += 2;  // a border of one all around
    Box target = Box::whole(box.shape());
    for (size_t d = 0; d < 3; ++d) {
      ++target.begin[d];
      ++target.end[d];
    }
    std::vector<int32_t> to(static_cast<size_t>(num_elements(to_shape)), -1);
    copy_box(source, box, {std::as_writable_bytes(std::span(to)), to_shape}, target, sizeof(int32_t));
    std::vector<int32_t> expected(to.size(), -1);
    const std::vector<int64_t> read = flat_positions(from_shape, box);
    const std::vector<int64_t> written = flat_positions(to_shape, target);
    for (size_t i = 0; i < read.size(); ++i) {
      expected[static_cast<size_t>(written[i])] = from[static_cast<size_t>(read[i])];
    }
    ASSERT_EQ(to, expected) << to_string(box);
    ++copies;
  }
  EXPECT_EQ(copies, 6 * 3 * 10);
}

TEST(CopyBox, WholeTensorsScalarsAndNothing) {
  const std::vector<uint16_t> from = {1, 2, 3, 4, 5, 6};
  std::vector<uint16_t> to(6);
  const Box whole = Box::whole({2, 3});
  copy_box({std::as_bytes(std::span(from)), {2, 3}}, whole, {std::as_writable_bytes(std::span(to)), {2, 3}},
           whole, 2);
  EXPECT_EQ(to, from);
  copy_box({std::as_bytes(std::span(from).first(1)), {}}, Box{},
           {std::as_writable_bytes(std::span(to).last(1)), {}}, Box{}, 2);
  EXPECT_EQ(to.back(), 1);
  const Box empty{{1, 0}, {1, 3}};
  copy_box({std::as_bytes(std::span(from)), {2, 3}}, empty, {std::as_writable_bytes(std::span(to)), {2, 3}},
           empty, 2);
  EXPECT_EQ(to[0], 1);
}

}  // namespace
}  // namespace phalanx
