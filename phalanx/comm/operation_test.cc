#include "phalanx/comm/operation.h"

#include <gtest/gtest.h>

#include <vector>

namespace phalanx::comm {
namespace {

TEST(Operation, ShapesOfAnyNumberOfDims) {
  EXPECT_EQ(Shape().text(), "[]");
  EXPECT_EQ(Shape({4, 0}).text(), "[4, 0]");
  EXPECT_NE(Shape({4}), Shape({4, 1}));
  EXPECT_NE(Shape(), Shape({0}));
  // Ten dims: the last three are one.
  EXPECT_EQ(Shape({1, 2, 3, 4, 5, 6, 7, 2, 3, 4}), Shape({1, 2, 3, 4, 5, 6, 7, 24}));
  Shape rows({3, 5}), more({9, 5});
  rows.set_any_rows();
  more.set_any_rows();
  EXPECT_EQ(rows, more);
  EXPECT_EQ(rows.text(), "[*, 5]");
}

TEST(Operation, NamesTheRanksOfTheWorld) {
  const std::vector<int> ranks{4, 6};
  Description what{.kind = OpKind::kSend, .dtype = Dtype::kBF16, .peer = 1, .shape = {2, 3}};
  EXPECT_EQ(describe(what, ranks), "send to rank 6 bf16 [2, 3]");
  what.kind = OpKind::kBroadcast;
  EXPECT_EQ(describe(what, ranks), "broadcast from rank 6 bf16 [2, 3]");
  what = {.kind = OpKind::kAllReduce, .dtype = Dtype::kI32, .reduce = ReduceOp::kMax, .shape = {7}};
  EXPECT_EQ(describe(what, ranks), "all_reduce max i32 [7]");
  EXPECT_EQ(describe({}, ranks), "barrier");
}

TEST(Operation, ASendAgreesWithARecvOnly) {
  const Description send{.kind = OpKind::kSend, .dtype = Dtype::kF32, .peer = 1, .shape = {2}};
  Description other = send;
  EXPECT_FALSE(agree(send, other));
  other.kind = OpKind::kRecv;
  other.peer = 0;
  EXPECT_TRUE(agree(send, other));
  EXPECT_TRUE(agree(other, send));
  other.kind = OpKind::kBroadcast;
  EXPECT_FALSE(agree(send, other));
  other.kind = OpKind::kBarrier;
  EXPECT_FALSE(agree(other, send));
}

}  // namespace
}  // namespace phalanx::comm
