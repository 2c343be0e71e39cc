#include "phalanx/shard/segments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "phalanx/base/error.h"
#include "phalanx/shard/box_set.h"

namespace phalanx {
namespace {

using testing::HasSubstr;

LogicalTensor tensor_of(const Shape& shape, ShardRule rule, const std::string& name = "t") {
  LogicalTensor tensor;
  tensor.name = name;
  tensor.shape = shape;
  tensor.shard = rule;
  return tensor;
}

// The primary replicas of all ranks tile the tensor; every other replica equals a primary; each box is held
// `replicas` times.
void expect_ranks_tile(const LogicalTensor& tensor, int tp_size, const SegmentOptions& options) {
  std::vector<Box> primary;
  std::map<Shape, int> holders;
  std::map<Shape, int> replicas;
  for (int r = 0; r < tp_size; ++r) {
    const LocalLayout layout = local_layout(tensor, {r, tp_size}, options);
    const LocalSegment& s = layout.segments.at(0);
    ASSERT_EQ(s.global_box, local_box(tensor, {r, tp_size}, options));
    ASSERT_EQ(s.local_box.shape(), s.global_box.shape());
    ASSERT_TRUE(contains(Box::whole(layout.shape), s.local_box));
    if (s.global_box.num_elements() == 0) continue;
    if (s.replica == 0) primary.push_back(s.global_box);
    ++holders[s.global_box.begin];
    replicas[s.global_box.begin] = s.replicas;
  }
  EXPECT_FALSE(first_overlap(primary)) << tensor.name << " over " << tp_size;
  EXPECT_TRUE(uncovered(Box::whole(tensor.shape), primary).empty()) << tensor.name << " over " << tp_size;
  EXPECT_EQ(holders, replicas);
}

TEST(Segments, EveryRuleTilesTheTensor) {
  for (int tp = 1; tp <= 8; ++tp) {
    expect_ranks_tile(tensor_of({6, 5}, ShardRule::kReplicated, "replicated"), tp, {});
    expect_ranks_tile(tensor_of({3 * tp, 5}, ShardRule::kColumn, "column"), tp, {});
    expect_ranks_tile(tensor_of({3 * tp}, ShardRule::kColumn, "column bias"), tp, {});
    expect_ranks_tile(tensor_of({5, 2 * tp}, ShardRule::kRow, "row"), tp, {});
    for (int64_t vocab = 1; vocab <= 40; ++vocab) {
      expect_ranks_tile(tensor_of({vocab, 2}, ShardRule::kVocab, "vocab"), tp, {});
      const int64_t padded = (vocab + 4 * tp - 1) / (4 * tp) * 4 * tp;
      expect_ranks_tile(tensor_of({vocab, 2}, ShardRule::kVocab, "padded vocab"), tp,
                        {.padded_vocab_size = padded});
    }
    for (int groups = 1; groups <= 16; ++groups) {
      if (groups % tp != 0 && tp % groups != 0) continue;
      expect_ranks_tile(tensor_of({groups * 4, 3}, ShardRule::kColumn, "heads"), tp, {.unit = 4});
      expect_ranks_tile(tensor_of({3, groups * 4}, ShardRule::kRow, "heads"), tp, {.unit = 4});
    }
  }
}

TEST(Segments, UnevenVocabulary) {
  const LogicalTensor embedding = tensor_of({211, 8}, ShardRule::kVocab);
  EXPECT_EQ(local_box(embedding, {0, 4}), (Box{{0, 0}, {53, 8}}));
  EXPECT_EQ(local_box(embedding, {3, 4}), (Box{{159, 0}, {211, 8}}));
  const LocalLayout last = local_layout(embedding, {3, 4});
  EXPECT_EQ(last.shape, (Shape{53, 8}));  // one row of padding
  EXPECT_EQ(last.segments[0].local_box, (Box{{0, 0}, {52, 8}}));
  EXPECT_EQ(last.segments[0].global_shape, (Shape{211, 8}));
  // 512 = 128 x 4: whole ranks may hold padding only.
  EXPECT_EQ(local_box(embedding, {1, 4}, {.padded_vocab_size = 512}), (Box{{128, 0}, {211, 8}}));
  const LocalLayout none = local_layout(embedding, {2, 4}, {.padded_vocab_size = 512});
  EXPECT_EQ(none.segments[0].global_box, (Box{{211, 0}, {211, 8}}));
  EXPECT_EQ(none.shape, (Shape{128, 8}));
}

TEST(Segments, FewerKeyValueHeadsThanRanks) {
  const LogicalTensor k =
      tensor_of({2 * 16, 32}, ShardRule::kColumn);  // two groups of 16 rows over eight ranks
  const LocalLayout rank5 = local_layout(k, {5, 8}, {.unit = 16});
  EXPECT_EQ(rank5.segments[0].global_box, (Box{{16, 0}, {32, 32}}));
  EXPECT_EQ(rank5.segments[0].replicas, 4);
  EXPECT_EQ(rank5.segments[0].replica, 1);
  EXPECT_EQ(local_layout(k, {4, 8}, {.unit = 16}).segments[0].replica, 0);
}

TEST(Segments, FusedPartsStack) {
  FusedParameter qkv{"qkv",
                     {tensor_of({32, 6}, ShardRule::kColumn, "q"), tensor_of({8, 6}, ShardRule::kColumn, "k"),
                      tensor_of({8, 6}, ShardRule::kColumn, "v")}};
  const std::vector<SegmentOptions> heads(3, {.unit = 4});
  const LocalLayout layout = local_layout(qkv, {1, 4}, heads);  // 8 query heads, 2 key/value heads
  EXPECT_EQ(layout.shape, (Shape{8 + 4 + 4, 6}));
  ASSERT_EQ(layout.segments.size(), 3u);
  EXPECT_EQ(layout.segments[0].global_box, (Box{{8, 0}, {16, 6}}));
  EXPECT_EQ(layout.segments[1].global_box, (Box{{0, 0}, {4, 6}}));
  EXPECT_EQ(layout.segments[1].local_box, (Box{{8, 0}, {12, 6}}));
  EXPECT_EQ(layout.segments[2].local_box, (Box{{12, 0}, {16, 6}}));
  EXPECT_EQ(layout.segments[1].replicas, 2);
  EXPECT_EQ(layout.segments[0].replicas, 1);
  // Without options each row is a unit.
  EXPECT_EQ(local_layout(qkv, {1, 4}).shape, (Shape{8 + 2 + 2, 6}));
}

TEST(Segments, WhatDoesNotDivideIsNamed) {
  const auto error_of = [](const LogicalTensor& tensor, int tp,
                           const SegmentOptions& options) -> std::string {
    try {
      local_box(tensor, {0, tp}, options);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kBadInput);
      return e.what();
    }
    return "(no error)";
  };
  EXPECT_THAT(error_of(tensor_of({6, 2}, ShardRule::kColumn, "mlp.up.weight"), 4, {}),
              HasSubstr("tensor 'mlp.up.weight' [6, 2]: got 6 in dim 0 over 4 tensor-parallel ranks; needed "
                        "a multiple or a "
                        "divisor of the ranks. Fix: choose parallel.tensor"));
  EXPECT_THAT(error_of(tensor_of({6, 2}, ShardRule::kColumn), 2, {.unit = 4}),
              HasSubstr("got 6 in dim 0; needed a multiple of 4"));
  EXPECT_THAT(error_of(tensor_of({24, 2}, ShardRule::kColumn), 2, {.unit = 8}),
              HasSubstr("got 3 units of 8 in dim 0 over 2 tensor-parallel ranks"));
  EXPECT_THAT(error_of(tensor_of({211, 2}, ShardRule::kVocab), 4, {.padded_vocab_size = 210}),
              HasSubstr("got a padded vocabulary of 210 over 4 ranks; needed at least 211"));
}

}  // namespace
}  // namespace phalanx
