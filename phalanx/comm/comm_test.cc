#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "phalanx/comm/group.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::comm {
namespace {

// A group of one changes nothing and moves nothing.
TEST(SelfGroup, LeavesTensorsWhereAndAsTheyAre) {
  const auto group = make_self_group("tp");
  EXPECT_EQ(group->rank(), 0);
  EXPECT_EQ(group->size(), 1);
  EXPECT_EQ(group->name(), "tp");
  Tensor x = testing::random_tensor({5}, 1);
  const Tensor before = x.clone();
  const void* storage = x.data_ptr();
  group->all_reduce(x, ReduceOp::kSum);
  group->all_reduce(x, ReduceOp::kMax);
  group->broadcast(x, 0);
  group->barrier();
  EXPECT_TRUE(at::equal(x, before));
  EXPECT_EQ(x.data_ptr(), storage);
}

}  // namespace
}  // namespace phalanx::comm
