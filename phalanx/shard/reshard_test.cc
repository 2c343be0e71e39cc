#include "phalanx/shard/reshard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <random>

#include "phalanx/base/error.h"
#include "phalanx/shard/flat_range.h"

namespace phalanx {
namespace {

using testing::HasSubstr;

// Cuts `box` at random places into about `pieces` boxes.
std::vector<Box> random_partition(Box box, int pieces, std::mt19937& random) {
  if (pieces <= 1 || box.num_elements() <= 1) return {box};
  size_t dim = random() % box.begin.size();
  while (box.end[dim] - box.begin[dim] < 2) dim = (dim + 1) % box.begin.size();
  const int64_t cut =
      box.begin[dim] + 1 +
      static_cast<int64_t>(random() % static_cast<uint32_t>(box.end[dim] - box.begin[dim] - 1));
  Box right = box;
  right.begin[dim] = cut;
  box.end[dim] = cut;
  std::vector<Box> all = random_partition(box, pieces / 2, random);
  for (Box& part : random_partition(right, pieces - pieces / 2, random)) all.push_back(part);
  return all;
}

// A tensor of consecutive numbers stored in boxes, in memory instead of files.
struct Stored {
  Manifest manifest;
  std::map<std::string, std::vector<int32_t>> data;  // by key

  Stored(const Shape& shape, const std::vector<Box>& boxes) {
    manifest.files = {{"f", 0, 0}};
    StoredTensor tensor{"t", FileDtype::kI32, shape, {}};
    std::vector<int32_t> values(static_cast<size_t>(num_elements(shape)));
    std::iota(values.begin(), values.end(), 0);
    for (const Box& box : boxes) {
      const std::string key = "t." + std::to_string(tensor.boxes.size());
      tensor.boxes.push_back({box, "f", key});
      std::vector<int32_t>& piece = data[key];
      piece.resize(static_cast<size_t>(box.num_elements()));
      copy_box({std::as_bytes(std::span(values)), shape}, box,
               {std::as_writable_bytes(std::span(piece)), box.shape()}, Box::whole(box.shape()), 4);
    }
    manifest.tensors = {tensor};
    validate_manifest(manifest, "example");
  }

  // Follows the plan and returns the wanted box; -1 where nothing was copied.
  std::vector<int32_t> load(const Box& wanted) const {
    std::vector<int32_t> result(static_cast<size_t>(wanted.num_elements()), -1);
    int64_t copied = 0;
    for (const CopyStep& c :
         plan_copies(ManifestIndex(manifest), {"t", manifest.tensors[0].shape, wanted}, "m")) {
      EXPECT_EQ(c.file, "f");
      EXPECT_EQ(c.dtype, FileDtype::kI32);
      copied += c.source.num_elements();
      copy_box({std::as_bytes(std::span(data.at(c.key))), c.stored_shape}, c.source,
               {std::as_writable_bytes(std::span(result)), wanted.shape()}, c.destination, 4);
    }
    EXPECT_EQ(copied, wanted.num_elements());
    return result;
  }
};

// The values of a box when element i of the tensor holds i.
std::vector<int32_t> values_of(const Shape& shape, const Box& box) {
  std::vector<int32_t> values = {0};
  for (size_t d = 0; d < shape.size(); ++d) {
    std::vector<int32_t> next;
    for (const int32_t v : values) {
      for (int64_t i = box.begin[d]; i < box.end[d]; ++i)
        next.push_back(static_cast<int32_t>(v * shape[d] + i));
    }
    values = next;
  }
  return values;
}

TEST(Reshard, RandomLayoutToRandomLayout) {
  std::mt19937 random(3);
  for (int round = 0; round < 500; ++round) {
    Shape shape(1 + random() % 3);
    for (int64_t& size : shape) size = 1 + random() % 7;
    const Stored stored(shape,
                        random_partition(Box::whole(shape), 1 + static_cast<int>(random() % 9), random));
    for (const Box& wanted :
         random_partition(Box::whole(shape), 1 + static_cast<int>(random() % 9), random)) {
      ASSERT_EQ(stored.load(wanted), values_of(shape, wanted)) << to_string(shape) << to_string(wanted);
    }
  }
}

// Every way of saving a tensor as equal flat shards loads as every other, and as rows and columns.
TEST(Reshard, FlatShardsToFlatShards) {
  const Shape shape = {5, 6};
  const auto shards = [&](int64_t n) {
    std::vector<std::vector<Box>> result;
    for (int64_t r = 0; r < n; ++r)
      result.push_back(flat_range_to_boxes(shape, 30 * r / n, 30 * (r + 1) / n));
    return result;
  };
  for (int64_t saved = 1; saved <= 8; ++saved) {
    std::vector<Box> boxes;
    for (const auto& shard : shards(saved)) boxes.insert(boxes.end(), shard.begin(), shard.end());
    const Stored stored(shape, boxes);
    for (int64_t loaded = 1; loaded <= 8; ++loaded) {
      for (const auto& shard : shards(loaded)) {
        for (const Box& wanted : shard) ASSERT_EQ(stored.load(wanted), values_of(shape, wanted));
      }
    }
    ASSERT_EQ(stored.load({{0, 2}, {5, 4}}), values_of(shape, {{0, 2}, {5, 4}}));
    ASSERT_EQ(stored.load({{1, 0}, {4, 6}}), values_of(shape, {{1, 0}, {4, 6}}));
  }
}

TEST(Reshard, ScalarsAndEmptyBoxes) {
  const Stored scalar({}, {Box{}});
  EXPECT_EQ(scalar.load(Box{}), (std::vector<int32_t>{0}));
  const Stored stored({4}, {{{0}, {2}}, {{2}, {4}}});
  EXPECT_TRUE(stored.load({{2}, {2}}).empty());
}

TEST(Reshard, Errors) {
  Stored stored({4, 4}, {{{0, 0}, {4, 2}}, {{0, 2}, {4, 4}}});
  const auto error_of = [&](const WantedBox& wanted) -> std::string {
    try {
      plan_copies(ManifestIndex(stored.manifest), wanted, "step_3");
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kBadInput);
      return e.what();
    }
    return "(no error)";
  };
  const Box all = Box::whole({4, 4});
  EXPECT_EQ(error_of({"t", {4, 4}, all}), "(no error)");
  EXPECT_THAT(error_of({"u", {4, 4}, all}), HasSubstr("step_3: got no tensor 'u' among its 1"));
  EXPECT_THAT(
      error_of({"t", {4, 5}, Box::whole({4, 5})}),
      HasSubstr("step_3: tensor 't': got the shape [4, 4]; needed [4, 5]. Fix: use the model settings"));
  stored.manifest.tensors[0].boxes.pop_back();
  EXPECT_THAT(error_of({"t", {4, 4}, all}),
              HasSubstr("step_3: tensor 't': got no box for [0:4, 2:4]; needed every element"));
  stored.manifest.tensors[0].boxes.push_back(stored.manifest.tensors[0].boxes[0]);
  stored.manifest.tensors[0].boxes.push_back({{{0, 2}, {4, 4}}, "f", "t.1"});
  EXPECT_THAT(error_of({"t", {4, 4}, all}), HasSubstr("got boxes that overlap"));
}

}  // namespace
}  // namespace phalanx
