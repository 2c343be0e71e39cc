#include "phalanx/shard/box.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "phalanx/shard/box_set.h"

namespace phalanx {
namespace {

using Point = std::vector<int64_t>;

std::set<Point> points_of(const Box& box) {
  std::set<Point> points;
  if (box.begin.empty()) return {Point{}};
  for (int64_t i = box.begin[0]; i < box.end[0]; ++i) {
    const Box rest{{box.begin.begin() + 1, box.begin.end()}, {box.end.begin() + 1, box.end.end()}};
    for (Point p : points_of(rest)) {
      p.insert(p.begin(), i);
      points.insert(p);
    }
  }
  return points;
}

// Every box of a 3 x 4 grid, the empty ones included.
std::vector<Box> boxes_of_grid() {
  std::vector<Box> boxes;
  for (int64_t a = 0; a <= 3; ++a) {
    for (int64_t b = a; b <= 3; ++b) {
      for (int64_t c = 0; c <= 4; ++c) {
        for (int64_t d = c; d <= 4; ++d) boxes.push_back({{a, c}, {b, d}});
      }
    }
  }
  return boxes;
}

TEST(Box, CountsAndPrints) {
  const Box box{{0, 4}, {2, 8}};
  EXPECT_EQ(box.shape(), (Shape{2, 4}));
  EXPECT_EQ(box.num_elements(), 8);
  EXPECT_EQ(to_string(box), "[0:2, 4:8]");
  EXPECT_EQ(to_string(Shape{2, 3}), "[2, 3]");
  EXPECT_EQ(to_string(Shape{}), "[]");
  EXPECT_EQ(Box::whole({2, 3}), (Box{{0, 0}, {2, 3}}));
  EXPECT_EQ(relative_to(box, {0, 3}), (Box{{0, 1}, {2, 5}}));
}

TEST(Box, ScalarHasOneElement) {
  const Box scalar = Box::whole({});
  EXPECT_EQ(scalar.num_elements(), 1);
  EXPECT_EQ(intersect(scalar, scalar), scalar);
  EXPECT_TRUE(contains(scalar, scalar));
  EXPECT_TRUE(uncovered(scalar, {scalar}).empty());
  EXPECT_EQ(uncovered(scalar, {}).size(), 1u);
  EXPECT_FALSE(first_overlap({scalar}));
  EXPECT_TRUE(first_overlap({scalar, scalar}));
}

TEST(Box, EveryPairAgreesWithSetsOfPoints) {
  const std::vector<Box> boxes = boxes_of_grid();
  int pairs = 0;
  for (const Box& a : boxes) {
    const std::set<Point> in_a = points_of(a);
    for (const Box& b : boxes) {
      ++pairs;
      const std::set<Point> in_b = points_of(b);
      std::set<Point> both, only_a;
      for (const Point& p : in_a) (in_b.count(p) ? both : only_a).insert(p);

      const std::optional<Box> common = intersect(a, b);
      ASSERT_EQ(common ? points_of(*common) : std::set<Point>{}, both) << to_string(a) << to_string(b);
      ASSERT_EQ(common.has_value(), !both.empty());
      if (!in_b.empty()) {
        ASSERT_EQ(contains(a, b), both.size() == in_b.size());
      }
      std::set<Point> rest;
      for (const Box& part : subtract(a, b)) {
        for (const Point& p : points_of(part)) ASSERT_TRUE(rest.insert(p).second) << "parts overlap";
      }
      ASSERT_EQ(rest, only_a) << to_string(a) << to_string(b);
    }
  }
  EXPECT_EQ(pairs, 150 * 150);
}

TEST(BoxSet, OverlapAndGapsAgreeWithCountingPoints) {
  const std::vector<Box> all = boxes_of_grid();
  std::mt19937 random(1);
  int with_overlap = 0;
  for (int round = 0; round < 3000; ++round) {
    std::vector<Box> boxes(random() % 8);
    for (Box& box : boxes) box = all[random() % all.size()];
    std::set<Point> covered;
    bool overlap = false;
    for (const Box& box : boxes) {
      for (const Point& p : points_of(box)) overlap |= !covered.insert(p).second;
    }
    const auto found = first_overlap(boxes);
    ASSERT_EQ(found.has_value(), overlap);
    if (found) {
      ++with_overlap;
      ASSERT_LT(found->first, found->second);
      ASSERT_TRUE(intersect(boxes[found->first], boxes[found->second]));
    }
    std::set<Point> gaps;
    for (const Box& gap : uncovered(Box::whole({3, 4}), boxes)) gaps.merge(points_of(gap));
    std::set<Point> expected = points_of(Box::whole({3, 4}));
    for (const Point& p : covered) expected.erase(p);
    ASSERT_EQ(gaps, expected);
  }
  EXPECT_GT(with_overlap, 500);
  EXPECT_LT(with_overlap, 2500);
}

}  // namespace
}  // namespace phalanx
