#include "phalanx/pipeline/generate.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/base/fs.h"
#include "phalanx/pipeline/build_schedule.h"
#include "phalanx/pipeline/schedule_json.h"
#include "phalanx/pipeline/test_schedules.h"
#include "phalanx/pipeline/verify.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;

constexpr int kMaxPp = 8;
constexpr int kMaxChunks = 4;
constexpr int kMaxMicroBatches = 32;

// Every allowed cell of the grid. What a kind promises by its line in schedule_kinds() is tested here, so that a new
// kind needs no test of its own for that.
template <typename Check>
void for_every_cell(const ScheduleKind& kind, const Check& check) {
  const int max_chunks = kind.max_chunks == 0 ? std::max(kMaxChunks, kind.min_chunks) : kind.max_chunks;
  for (int chunks = kind.min_chunks; chunks <= max_chunks; ++chunks) {
    for (int pp = 1; pp <= kMaxPp; ++pp) {
      for (int m = 1; m <= kMaxMicroBatches; ++m) {
        SCOPED_TRACE(fmt::format("{} pp {} chunks {} micro-batches {}", kind.name, pp, chunks, m));
        check(
            ScheduleRequest{.kind = std::string(kind.name), .pp = pp, .chunks = chunks, .micro_batches = m});
      }
    }
  }
}

class EveryKind : public testing::TestWithParam<size_t> {
 protected:
  const ScheduleKind& kind() const { return schedule_kinds()[GetParam()]; }
};

INSTANTIATE_TEST_SUITE_P(Kinds, EveryKind, testing::Range(size_t{0}, schedule_kinds().size()),
                         [](const auto& info) {
                           std::string name(schedule_kinds()[info.param].name);
                           std::erase(name, '-');
                           return name;
                         });

// Counts without verify's help: how often each rank runs each compute action.
void expect_everything_once(const Schedule& schedule, bool splits_backward) {
  const size_t units = static_cast<size_t>(schedule.chunks) * static_cast<size_t>(schedule.micro_batches);
  for (const ActionList& list : schedule.ranks) {
    std::map<Op, std::set<std::pair<int, int>>> seen;
    size_t count = 0;
    for (const Action& action : list) {
      if (!is_compute(action.op)) continue;
      EXPECT_TRUE(seen[action.op].emplace(action.micro_batch, action.chunk).second) << to_string(action);
      ++count;
    }
    EXPECT_EQ(seen[Op::kForward].size(), units);
    if (schedule.forward_only) {
      EXPECT_EQ(count, units);
    } else if (splits_backward) {
      EXPECT_EQ(seen[Op::kBackwardInput].size(), units);
      EXPECT_EQ(seen[Op::kBackwardWeight].size(), units);
      EXPECT_EQ(count, 3 * units);
    } else {
      EXPECT_EQ(seen[Op::kBackward].size(), units);
      EXPECT_EQ(count, 2 * units);
    }
  }
}

TEST_P(EveryKind, IsLegalInEveryCell) {
  for_every_cell(kind(), [&](ScheduleRequest request) {
    const Schedule schedule = make_schedule(request);
    ASSERT_NO_THROW(verify(schedule, request.kind));
    EXPECT_EQ(std::tie(schedule.kind, schedule.pp, schedule.chunks, schedule.micro_batches),
              std::tie(request.kind, request.pp, request.chunks, request.micro_batches));
    EXPECT_FALSE(schedule.forward_only);
    expect_everything_once(schedule, kind().splits_backward);
    request.forward_only = true;
    const Schedule forward = make_schedule(request);
    ASSERT_NO_THROW(verify(forward, request.kind));
    EXPECT_TRUE(forward.forward_only);
    expect_everything_once(forward, kind().splits_backward);
  });
}

// Weight gradients add up in the same order whatever the kind, so that a step's sums do not depend on the schedule.
TEST_P(EveryKind, TakesTheMicroBatchesOfAChunkInOrder) {
  for_every_cell(kind(), [&](const ScheduleRequest& request) {
    for (const ActionList& list : make_schedule(request).ranks) {
      std::map<std::pair<Op, int>, int> last;  // by op and chunk
      for (const Action& action : list) {
        if (!is_compute(action.op)) continue;
        const int before =
            std::exchange(last.try_emplace({action.op, action.chunk}, -1).first->second, action.micro_batch);
        EXPECT_EQ(action.micro_batch, before + 1) << to_string(action);
      }
    }
  });
}

TEST(GenerateOrders, OneFOneB) {
  const Schedule schedule = generate_1f1b(4, 1, 5);
  EXPECT_EQ(text_of(schedule.ranks[0], false),
            "F 0.0, F 1.0, F 2.0, F 3.0, BW 0.0, F 4.0, BW 1.0, BW 2.0, BW 3.0, BW 4.0");
  EXPECT_EQ(text_of(schedule.ranks[3], false),
            "F 0.0, BW 0.0, F 1.0, BW 1.0, F 2.0, BW 2.0, F 3.0, BW 3.0, F 4.0, BW 4.0");
}

TEST(GenerateOrders, GPipeLoopsBreadthFirst) {
  const Schedule schedule = generate_gpipe(3, 2, 2);
  for (const ActionList& list : schedule.ranks) {
    EXPECT_EQ(text_of(list, false), "F 0.0, F 1.0, F 0.1, F 1.1, BW 0.1, BW 1.1, BW 0.0, BW 1.0");
  }
}

// Narayanan et al. 2021, figure 4 bottom, with two ranks: groups of two, and rank 0 runs ahead by 2 + 2.
TEST(GenerateOrders, InterleavedTurnsToTheNextChunkAfterAGroup) {
  const Schedule schedule = generate_interleaved(2, 2, 4);
  EXPECT_EQ(
      text_of(schedule.ranks[0], false),
      "F 0.0, F 1.0, F 0.1, F 1.1, F 2.0, BW 0.1, F 3.0, BW 1.1, F 2.1, BW 0.0, F 3.1, BW 1.0, BW 2.1, BW 3.1, "
      "BW 2.0, BW 3.0");
  EXPECT_EQ(
      text_of(schedule.ranks[1], false),
      "F 0.0, F 1.0, F 0.1, BW 0.1, F 1.1, BW 1.1, F 2.0, BW 0.0, F 3.0, BW 1.0, F 2.1, BW 2.1, F 3.1, BW 3.1, "
      "BW 2.0, BW 3.0");
}

TEST(GenerateOrders, InterleavedWithOneChunkIs1F1B) {
  Schedule schedule = generate_interleaved(5, 1, 9);
  schedule.kind = "1f1b";
  EXPECT_EQ(schedule, generate_1f1b(5, 1, 9));
}

TEST(GenerateOrders, InterleavedGroupSize) {
  EXPECT_EQ(interleaved_group_size(4, 3), 3);
  EXPECT_EQ(interleaved_group_size(4, 4), 4);
  EXPECT_EQ(interleaved_group_size(4, 8), 4);
  EXPECT_EQ(interleaved_group_size(4, 7), 7);  // 5 leaves 2, 6 leaves 1
  EXPECT_EQ(interleaved_group_size(4, 9), 5);  // 4 leaves 1; 5 leaves 4, a whole pipeline
  EXPECT_EQ(interleaved_group_size(4, 10), 5);
  EXPECT_EQ(interleaved_group_size(8, 15), 15);
  for (int pp = 1; pp <= 12; ++pp) {
    for (int m = 1; m <= 60; ++m) {
      std::set<int> allowed;
      for (int n = pp; n <= m; ++n) {
        if (m % n == 0 || m % n >= pp) allowed.insert(n);
      }
      EXPECT_EQ(interleaved_group_size(pp, m), allowed.empty() ? m : *allowed.begin()) << pp << " " << m;
    }
  }
}

std::string refused(const ScheduleRequest& request) {
  return refusal([&] { make_schedule(request); });
}

TEST(MakeSchedule, UnknownKindsAreNamedWithTheNearest) {
  EXPECT_EQ(
      refused({.kind = "interleavd", .pp = 4}),
      "schedule: got the kind 'interleavd'; needed one of gpipe, 1f1b, interleaved, zb-h1, zb-v, v-half, or a "
      "file that ends in .json. Fix: did you mean interleaved?");
  EXPECT_THAT(refused({.kind = "1F1B"}), HasSubstr("did you mean 1f1b?"));
  EXPECT_THAT(refused({.kind = "something-else"}), HasSubstr("Fix: choose one of these"));
  EXPECT_THAT(refused({.kind = ""}), HasSubstr("the kind ''"));
}

TEST(MakeSchedule, ChunksThatAKindDoesNotAllow) {
  EXPECT_EQ(
      refused({.kind = "1f1b", .pp = 4, .chunks = 2, .micro_batches = 8}),
      "schedule 1f1b: got 2 chunks a rank; needed exactly 1 chunk a rank. Fix: change the number of chunks or "
      "the kind");
  EXPECT_THAT(refused({.kind = "zb-v", .pp = 4, .chunks = 1}),
              HasSubstr("schedule zb-v: got 1 chunk a rank; needed exactly 2 chunks a rank"));
  EXPECT_THAT(refused({.kind = "v-half", .pp = 4, .chunks = 3}), HasSubstr("needed exactly 2 chunks a rank"));
  EXPECT_THAT(refused({.kind = "zb-h1", .pp = 4, .chunks = 3}), HasSubstr("needed exactly 1 chunk a rank"));
}

TEST(MakeSchedule, CountsOutOfRange) {
  EXPECT_EQ(refused({.kind = "gpipe", .pp = 0}),
            "schedule gpipe: got 0 pipeline ranks; needed at least 1. Fix: change the value");
  EXPECT_THAT(refused({.kind = "gpipe", .chunks = -1}), HasSubstr("-1 chunks a rank; needed at least 1"));
  EXPECT_THAT(refused({.kind = "gpipe", .micro_batches = 0}),
              HasSubstr("0 micro-batches; needed at least 1"));
  EXPECT_THAT(refused({.kind = "gpipe", .pp = 1 << 30, .chunks = 1 << 30, .micro_batches = 1 << 30}),
              HasSubstr("a product of at most 16777216"));
}

class MakeScheduleFile : public testing::Test {
 protected:
  std::string put(const std::string& text) const {
    write_file_atomic(folder_.path() + "/mine.json", text);
    return folder_.path() + "/mine.json";
  }
  TemporaryDirectory folder_;
};

TEST_F(MakeScheduleFile, IsReadAndProved) {
  const Schedule schedule = generate_interleaved(4, 2, 8);
  ScheduleRequest request{.kind = put(schedule_to_json(schedule)), .pp = 4, .chunks = 2, .micro_batches = 8};
  EXPECT_EQ(make_schedule(request), schedule);
  request.forward_only = true;
  EXPECT_EQ(make_schedule(request), forward_only(schedule));
  put(schedule_to_json(forward_only(schedule)));
  EXPECT_EQ(make_schedule(request), forward_only(schedule));
  request.forward_only = false;
  EXPECT_THAT(refused(request),
              HasSubstr("mine.json: got a forward-only schedule; needed one with backward passes"));
  Schedule wrong = schedule;
  wrong.ranks[1].pop_back();
  put(schedule_to_json(wrong));
  EXPECT_THAT(refused(request), HasSubstr("mine.json: got an illegal schedule"));
}

TEST_F(MakeScheduleFile, MustFitTheRun) {
  const std::string path = put(schedule_to_json(generate_interleaved(4, 2, 8)));
  EXPECT_THAT(refused({.kind = path, .pp = 2, .chunks = 2, .micro_batches = 8}),
              HasSubstr("mine.json: got a schedule of 4 pipeline ranks; needed 2, as the run has"));
  EXPECT_THAT(refused({.kind = path, .pp = 4, .chunks = 1, .micro_batches = 8}),
              HasSubstr("a schedule of 2 chunks a rank; needed 1"));
  EXPECT_THAT(refused({.kind = path, .pp = 4, .chunks = 2, .micro_batches = 9}),
              HasSubstr("a schedule of 8 micro-batches; needed 9"));
}

}  // namespace
}  // namespace phalanx
