#include "phalanx/data/split.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

using testing::HasSubstr;

// The borders that numpy and Python's round() give.
TEST(Split, BordersOfThePeer) {
  using R = SequenceRange;
  const std::optional<R> none;
  EXPECT_EQ(split_sequences("969,30,1", 1000), (SplitRanges{R{0, 969}, R{969, 999}, R{999, 1000}}));
  EXPECT_EQ(split_sequences("969, 30, 1", 12345),
            (SplitRanges{R{0, 11962}, R{11962, 12333}, R{12333, 12345}}));
  EXPECT_EQ(split_sequences("1,1,1", 10), (SplitRanges{R{0, 3}, R{3, 7}, R{7, 10}}));
  EXPECT_EQ(split_sequences("0.5,0.25,0.25", 10), (SplitRanges{R{0, 5}, R{5, 8}, R{8, 10}}));
  EXPECT_EQ(split_sequences("90,5,5", 17), (SplitRanges{R{0, 15}, R{15, 16}, R{16, 17}}));
  EXPECT_EQ(split_sequences("98.5/1.5", 2147483647),
            (SplitRanges{R{0, 2115271392}, R{2115271392, 2147483647}, none}));
}

TEST(Split, HalvesGoToTheEvenNumber) {
  using R = SequenceRange;
  const std::optional<R> none;
  EXPECT_EQ(split_sequences("1,1", 5), (SplitRanges{R{0, 2}, R{2, 5}, none}));
  EXPECT_EQ(split_sequences("1,1", 7), (SplitRanges{R{0, 4}, R{4, 7}, none}));
  EXPECT_EQ(split_sequences("1,0,1", 5), (SplitRanges{R{0, 2}, none, R{2, 5}}));
}

TEST(Split, AbsentAndEmptyParts) {
  using R = SequenceRange;
  const std::optional<R> none;
  EXPECT_EQ(split_sequences("1", 5), (SplitRanges{R{0, 5}, none, none}));
  EXPECT_EQ(split_sequences("0,0,1", 10), (SplitRanges{none, none, R{0, 10}}));
  EXPECT_EQ(split_sequences("99,1", 7),
            (SplitRanges{R{0, 7}, R{7, 7}, none}));  // there, but without a sequence
}

TEST(Split, Errors) {
  const auto error_of = [](const std::string& split) -> std::string {
    try {
      split_sequences(split, 10);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kBadInput);
      return e.what();
    }
    return "(no error)";
  };
  EXPECT_THAT(error_of(""),
              HasSubstr("split '': got 0 numbers; needed one to three numbers that are not negative"));
  EXPECT_THAT(error_of("1,1,1,1"), HasSubstr("got 4 numbers"));
  EXPECT_THAT(error_of("0,0,0"), HasSubstr("got the sum 0"));
  EXPECT_THAT(error_of("-1,1"), HasSubstr("got '-'"));
  EXPECT_THAT(error_of("1e3,1"), HasSubstr("got 'e'"));
  EXPECT_THAT(error_of("1.2.3"), HasSubstr("got '1.2.3'"));
  EXPECT_THAT(error_of("."), HasSubstr("got '.'"));
  EXPECT_THAT(error_of("nan"), HasSubstr("got 'n'"));
}

}  // namespace
}  // namespace phalanx
