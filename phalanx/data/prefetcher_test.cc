#include "phalanx/data/prefetcher.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <vector>

namespace phalanx {
namespace {

void pause(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

TEST(Prefetcher, KeepsTheOrderAndEnds) {
  for (const int64_t depth : {0, 1, 3}) {
    int made = 0;
    Prefetcher<int> numbers(
        [&]() -> std::optional<int> { return made < 100 ? std::optional(made++) : std::nullopt; }, depth);
    for (int i = 0; i < 100; ++i) EXPECT_EQ(numbers.next(), i);
    EXPECT_FALSE(numbers.next().has_value());
  }
}

TEST(Prefetcher, WorksAheadButNotTooFar) {
  std::atomic<int> made{0};
  Prefetcher<int> numbers([&]() -> std::optional<int> { return made++; }, 2);
  for (int i = 0; i < 2000 && made < 3; ++i) pause(1);
  pause(20);
  // Two wait, one is made and has no room.
  EXPECT_EQ(made, 3);
  EXPECT_EQ(numbers.next(), 0);
}

TEST(Prefetcher, TimeSpentWaitingIsCounted) {
  const auto slow = [n = 0]() mutable -> std::optional<int> {
    pause(20);
    return n++;
  };
  Prefetcher<int> hungry(slow, 2);
  for (int i = 0; i < 5; ++i) hungry.next();
  EXPECT_GT(hungry.waited_seconds(), 0.05);
  Prefetcher<int> fed([n = 0]() mutable -> std::optional<int> { return n++; }, 2);
  for (int i = 0; i < 5; ++i) {
    pause(5);
    fed.next();
  }
  EXPECT_LT(fed.waited_seconds(), 0.5 * hungry.waited_seconds());
}

TEST(Prefetcher, AnErrorComesAfterTheItemsBeforeIt) {
  for (const int64_t depth : {0, 4}) {
    int made = 0;
    Prefetcher<int> numbers(
        [&]() -> std::optional<int> {
          if (made == 3) throw std::runtime_error("token 7 of sequence 3");
          return made++;
        },
        depth);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(numbers.next(), i);
    EXPECT_THROW(numbers.next(), std::runtime_error);
  }
}

TEST(Prefetcher, CanBeLeftBeforeTheEnd) {
  Prefetcher<std::vector<int>> numbers(
      []() -> std::optional<std::vector<int>> { return std::vector<int>(1000); }, 2);
  numbers.next();
}

}  // namespace
}  // namespace phalanx
