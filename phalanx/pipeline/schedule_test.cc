#include "phalanx/pipeline/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/pipeline/test_schedules.h"

namespace phalanx {
namespace {

struct OpRow {
  Op op;
  const char* name;
  bool compute;
  bool backward;
  bool send;
};
constexpr OpRow kOps[] = {
    {Op::kForward, "F", true, false, false},          {Op::kBackwardInput, "B", true, true, false},
    {Op::kBackwardWeight, "W", true, true, false},    {Op::kBackward, "BW", true, true, false},
    {Op::kSendForward, "send_f", false, false, true}, {Op::kRecvForward, "recv_f", false, false, false},
    {Op::kSendBackward, "send_b", false, true, true}, {Op::kRecvBackward, "recv_b", false, true, false},
};

TEST(Schedule, OpsHaveNamesAndSorts) {
  for (const OpRow& row : kOps) {
    EXPECT_EQ(op_name(row.op), row.name);
    EXPECT_EQ(op_from_name(row.name), row.op);
    EXPECT_EQ(is_compute(row.op), row.compute) << row.name;
    EXPECT_EQ(is_backward(row.op), row.backward) << row.name;
    EXPECT_EQ(is_send(row.op), row.send) << row.name;
  }
  for (const char* other : {"", "f", "Send_f", "BWB", " F"}) EXPECT_EQ(op_from_name(other), std::nullopt);
}

TEST(Schedule, ActionsPrint) {
  EXPECT_EQ(to_string(F(3, 1)), "F mb 3 chunk 1");
  EXPECT_EQ(to_string({Op::kSendForward, 3, 1, 2}), "send_f mb 3 chunk 1 to rank 2");
  EXPECT_EQ(to_string({Op::kRecvBackward, 0, 0, 4}), "recv_b mb 0 chunk 0 from rank 4");
}

TEST(Schedule, HoldersAreTheInverseOfThePlacement) {
  const std::vector<Holder> by_stage = holders({{0, 3}, {2, 1}});
  ASSERT_EQ(by_stage.size(), 4u);
  const std::vector<std::pair<int, int>> expected = {{0, 0}, {1, 1}, {1, 0}, {0, 1}};
  for (size_t stage = 0; stage < 4; ++stage) {
    EXPECT_EQ(std::pair(by_stage[stage].rank, by_stage[stage].chunk), expected[stage]) << stage;
  }
}

TEST(ScheduleDeath, APlacementThatIsNoBijectionIsABug) {
  EXPECT_DEATH(holders({{0}, {0}}), "stage 0 is held twice");
  EXPECT_DEATH(holders({{0}, {2}}), "stage 2");
  EXPECT_DEATH(holders({{-1}, {0}}), "stage -1");
}

}  // namespace
}  // namespace phalanx
