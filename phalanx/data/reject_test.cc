#include "phalanx/data/reject.h"

#include <gmock/gmock.h>

#include "phalanx/data/test_files.h"

namespace phalanx {
namespace {

using testing::error_of;
using ::testing::HasSubstr;

RejectCounts counts(int64_t n) {
  RejectCounts out;
  out.by_reason[2] = n;
  if (n > 0) out.examples.push_back({"a.jsonl:7", "no key 'text'"});
  return out;
}

bool stops(const RejectLimit& limit, int64_t rejected, int64_t lines, bool end) {
  return error_of([&] { limit.check(counts(rejected), lines, end); }) != "(no error)";
}

TEST(Reject, TheDefaultWantsAFairSampleFirst) {
  const RejectLimit limit;
  EXPECT_FALSE(stops(limit, 999, 999, true));
  EXPECT_TRUE(stops(limit, 11, 1000, false));
  EXPECT_FALSE(stops(limit, 10, 1000, false));
  EXPECT_TRUE(stops(limit, 11, 1000, true));
}

TEST(Reject, ANumberHoldsAtOnceAndAShareAtTheEnd) {
  const RejectLimit number = RejectLimit::parse("2");
  EXPECT_FALSE(stops(number, 2, 2, false));
  EXPECT_TRUE(stops(number, 3, 3, false));
  EXPECT_TRUE(stops(RejectLimit::parse("0"), 1, 1'000'000, false));
  const RejectLimit share = RejectLimit::parse("12.5%");
  EXPECT_FALSE(stops(share, 2, 8, false));
  EXPECT_TRUE(stops(share, 2, 8, true));
  EXPECT_FALSE(stops(share, 1, 8, true));
  EXPECT_FALSE(stops(RejectLimit::parse("100%"), 5000, 5000, true));
  EXPECT_EQ(share.text(), "12.5%");
  EXPECT_EQ(number.text(), "2");
}

TEST(Reject, TheErrorShowsTheFirstLines) {
  const std::string what = error_of([&] { RejectLimit::parse("0").check(counts(4), 9, true); });
  EXPECT_THAT(what, HasSubstr("4 of 9 lines; a.jsonl:7: no key 'text'"));
  EXPECT_THAT(what, HasSubstr("at most 0"));
  EXPECT_THAT(what, HasSubstr("--max-rejected"));
}

TEST(Reject, WhatIsNoLimitIsRefused) {
  for (const char* text :
       {"", "%", "-1", "1.5", "x", "1%%", "101%", "nan", "inf%", "1e3", " 1", "1 %", "0x10"}) {
    EXPECT_THAT(error_of([&] { RejectLimit::parse(text); }, ErrorKind::kUsage), HasSubstr("--max-rejected"))
        << text;
  }
}

TEST(Reject, CountsAddUpAndKeepTheFirstExamples) {
  RejectCounts all;
  for (int i = 0; i < 9; ++i) all.add(counts(i));
  EXPECT_EQ(all.total(), 36);
  EXPECT_EQ(all.examples.size(), RejectCounts::kExamples);
}

}  // namespace
}  // namespace phalanx
