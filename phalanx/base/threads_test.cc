#include "phalanx/base/threads.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <numeric>
#include <stdexcept>

namespace phalanx {
namespace {

using ::testing::HasSubstr;

void pause(int microseconds) {
  std::this_thread::sleep_for(std::chrono::microseconds(microseconds));
}

TEST(Threads, RangesCoverEverythingOnceInFixedCuts) {
  for (const int64_t count : {0, 1, 2, 7, 100}) {
    for (const int threads : {1, 2, 3, 8}) {
      std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
      std::mutex mutex;
      std::vector<int64_t> sizes;
      parallel_ranges(count, threads, [&](int, int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
        const std::lock_guard lock(mutex);
        sizes.push_back(end - begin);
      });
      for (const auto& n : seen) EXPECT_EQ(n, 1);
      const auto [least, most] = std::minmax_element(sizes.begin(), sizes.end());
      EXPECT_LE(*most - *least, 1);
      EXPECT_EQ(static_cast<int64_t>(sizes.size()), std::max<int64_t>(1, std::min<int64_t>(count, threads)));
    }
  }
}

TEST(Threads, ForHandsOutEachItemOnceAndThrowsWhatTheBodyThrew) {
  std::vector<std::atomic<int>> seen(1000);
  parallel_for(1000, 4, [&](int64_t i) { ++seen[static_cast<size_t>(i)]; });
  for (const auto& n : seen) EXPECT_EQ(n, 1);
  std::atomic<int> started{0};
  EXPECT_THROW(parallel_for(100000, 4,
                            [&](int64_t i) {
                              ++started;
                              if (i == 3) throw std::runtime_error("third");
                            }),
               std::runtime_error);
  EXPECT_LT(started, 100000) << "an error must stop the rest";
}

TEST(Threads, CountIsTheRequestOrWhatTheProcessMayUse) {
  EXPECT_EQ(thread_count(5), 5);
  EXPECT_GE(thread_count(0), 1);
}

TEST(Channel, WaitsForRoomAndEndsAfterClose) {
  Channel<int> channel(2);
  std::vector<int> got;
  std::jthread reader([&] {
    while (const std::optional<int> item = channel.pop()) {
      EXPECT_LE(channel.size(), 2U);
      got.push_back(*item);
      pause(50);
    }
  });
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(channel.push(i));
  channel.close();
  reader.join();
  std::vector<int> expected(50);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(got, expected);
  EXPECT_FALSE(channel.push(1));
}

TEST(Channel, AFailureReachesTheOtherSide) {
  Channel<int> channel(1);
  channel.push(1);
  std::jthread failing([&] {
    pause(200);
    channel.fail(std::make_exception_ptr(std::runtime_error("the disk is gone")));
  });
  EXPECT_THROW(channel.push(2), std::runtime_error);
  EXPECT_EQ(channel.pop(), 1) << "what was there before the failure still counts";
  EXPECT_THROW(channel.pop(), std::runtime_error);
}

// Uneven work, more items than may be in flight, every number of threads: the sink sees the source's order.
TEST(OrderedPipeline, DeliversInOrderWithBoundedItems) {
  for (const int threads : {1, 2, 5}) {
    std::atomic<int> alive{0}, most{0};
    int next = 0;
    std::vector<int> got;
    OrderedPipeline<int, int>(threads, 6)
        .run(
            [&]() -> std::optional<int> {
              if (next == 200) return std::nullopt;
              most = std::max(most.load(), ++alive);
              return next++;
            },
            [&](int item) {
              pause(item % 7 == 0 ? 300 : 1);
              return item * item;
            },
            [&](int result) {
              --alive;
              got.push_back(result);
            });
    ASSERT_EQ(got.size(), 200U);
    for (int i = 0; i < 200; ++i) EXPECT_EQ(got[static_cast<size_t>(i)], i * i);
    EXPECT_LE(most, 7);
  }
}

TEST(OrderedPipeline, MovesItemsThatCannotBeCopied) {
  int next = 0;
  int64_t sum = 0;
  OrderedPipeline<std::unique_ptr<int>, std::unique_ptr<int>>(3, 4).run(
      [&]() -> std::optional<std::unique_ptr<int>> {
        if (next == 10) return std::nullopt;
        return std::make_unique<int>(next++);
      },
      [](std::unique_ptr<int> item) { return item; }, [&](std::unique_ptr<int> item) { sum += *item; });
  EXPECT_EQ(sum, 45);
}

// Everything before the faulty item is delivered, nothing after it, wherever the error rises.
TEST(OrderedPipeline, AnErrorWaitsForItsTurn) {
  for (const std::string where : {"source", "work", "sink"}) {
    for (const int threads : {1, 4}) {
      int next = 0;
      std::vector<int> got;
      try {
        OrderedPipeline<int, int>(threads, 8)
            .run(
                [&]() -> std::optional<int> {
                  if (where == "source" && next == 20) throw std::runtime_error("in source");
                  return next++;
                },
                [&](int item) {
                  pause(item == 3 ? 500 : 0);
                  if (where == "work" && item == 20) throw std::runtime_error("in work");
                  return item;
                },
                [&](int item) {
                  if (where == "sink" && item == 20) throw std::runtime_error("in sink");
                  got.push_back(item);
                });
        ADD_FAILURE() << "no error came through";
      } catch (const std::runtime_error& e) {
        EXPECT_THAT(e.what(), HasSubstr(where));
      }
      EXPECT_EQ(got.size(), 20U) << where << " " << threads;
      EXPECT_EQ(got.back(), 19);
    }
  }
}

}  // namespace
}  // namespace phalanx
