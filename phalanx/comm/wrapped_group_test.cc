#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <sys/resource.h>

#include <chrono>
#include <thread>

#include "phalanx/base/clock.h"
#include "phalanx/comm/counting_group.h"
#include "phalanx/comm/delay_group.h"
#include "phalanx/comm/local.h"

namespace phalanx::comm {
namespace {

// Every operation once, on a group of two; returns what was received.
Tensor use_all(Group& group) {
  const int other = 1 - group.rank();
  Tensor x = at::full({4}, 1 + group.rank(), at::kFloat), two = at::zeros({8}), one = at::zeros({4});
  group.all_reduce(x);
  group.all_gather(two, x);
  group.reduce_scatter(one, two);
  Tensor swapped = at::zeros({8});
  group.all_to_all(swapped, two, {4, 4}, {4, 4});
  group.broadcast(one, 1);
  Tensor got = at::zeros({2});
  const WorkPtr receive = group.start_recv(got, other);
  group.send(at::full({2}, 10.0f * static_cast<float>(group.rank())), other);
  receive->wait();
  group.barrier();
  return at::cat({x, two, one, swapped, got});
}

std::vector<Tensor> results(const std::function<std::unique_ptr<Group>(std::unique_ptr<Group>, int)>& wrap) {
  std::vector<Tensor> all(2);
  LocalWorld world(2);
  run_ranks(world, [&](int rank) {
    const auto group = wrap(world.group(rank, "all", {0, 1}), rank);
    EXPECT_EQ(group->rank(), rank);
    EXPECT_EQ(group->size(), 2);
    EXPECT_EQ(group->name(), "all");
    EXPECT_EQ(group->ranks(), (std::vector<int>{0, 1}));
    all[static_cast<size_t>(rank)] = use_all(*group);
  });
  return all;
}

TEST(CountingGroup, CountsCallsAndBytesAndChangesNothing) {
  const auto plain = results([](std::unique_ptr<Group> group, int) { return group; });
  std::vector<std::shared_ptr<CallCounter>> counters{std::make_shared<CallCounter>(),
                                                     std::make_shared<CallCounter>()};
  const auto counted = results([&](std::unique_ptr<Group> group, int rank) {
    return std::make_unique<CountingGroup>(std::move(group), counters[static_cast<size_t>(rank)]);
  });
  for (size_t rank = 0; rank < 2; ++rank) {
    EXPECT_TRUE(at::equal(plain[rank], counted[rank]));
    EXPECT_EQ(counters[rank]->text(),
              "1 x all_reduce of 16 bytes in all, 1 x all_gather of 32 bytes in all, "
              "1 x reduce_scatter of 32 bytes in all, 1 x all_to_all of 32 bytes in all, "
              "1 x broadcast of 16 bytes in all, 1 x send of 8 bytes in all, 1 x recv of 8 bytes in all, "
              "1 x barrier of 0 bytes in all");
    EXPECT_EQ(counters[rank]->calls(), 8);
    EXPECT_EQ(counters[rank]->calls(OpKind::kSend), 1);
    EXPECT_EQ(counters[rank]->bytes(OpKind::kAllGather), 32);
    counters[rank]->reset();
    EXPECT_EQ(counters[rank]->text(), "nothing");
  }
}

TEST(DelayGroup, ChangesNothingButTheTime) {
  const auto plain = results([](std::unique_ptr<Group> group, int) { return group; });
  const auto board = std::make_shared<DelayBoard>();
  const double before = monotonic_seconds();
  const auto delayed = results([&](std::unique_ptr<Group> group, int) {
    return std::make_unique<DelayGroup>(std::move(group), board, Delay{.seconds = 0.01});
  });
  // Seven one after the other: a message's two sides pass together.
  EXPECT_GE(monotonic_seconds() - before, 7 * 0.01);
  for (size_t rank = 0; rank < 2; ++rank) EXPECT_TRUE(at::equal(plain[rank], delayed[rank]));
}

double processor_seconds() {
  struct rusage usage {};
  getrusage(RUSAGE_THREAD, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// 100 ms of delay behind 100 ms of other things; the rest of what only one rank hides is still to be waited for.
TEST(DelayGroup, HidesBehindWhatTheRankDoesMeanwhile) {
  constexpr double kDelay = 0.1;
  const auto board = std::make_shared<DelayBoard>();
  LocalWorld world(2);
  run_ranks(world, [&](int rank) {
    DelayGroup group(world.group(rank, "all", {0, 1}), board, Delay{.seconds_per_byte = kDelay / 4000});
    Tensor x = at::zeros({1000});
    group.barrier();
    const double processor = processor_seconds();
    double began = monotonic_seconds();
    group.all_reduce(x);
    EXPECT_GE(monotonic_seconds() - began, kDelay);

    group.barrier();
    began = monotonic_seconds();
    const WorkPtr work = group.start_all_reduce(x, ReduceOp::kSum);
    EXPECT_FALSE(work->done());
    std::this_thread::sleep_for(std::chrono::duration<double>(kDelay));
    const double waited = monotonic_seconds();
    work->wait();
    EXPECT_TRUE(work->done());
    EXPECT_LT(monotonic_seconds() - waited, 0.7 * kDelay) << "hidden";
    EXPECT_GE(monotonic_seconds() - began, kDelay);
    EXPECT_LT(processor_seconds() - processor, 0.5 * kDelay) << "burns no core";
  });
}

// The clock runs from the last rank's arrival, not from the first one's.
TEST(DelayGroup, StartsWhenAllHaveCome) {
  constexpr double kDelay = 0.05;
  const auto board = std::make_shared<DelayBoard>();
  LocalWorld world(2);
  run_ranks(world, [&](int rank) {
    DelayGroup group(world.group(rank, "pp", {0, 1}), board, Delay{.seconds = kDelay});
    Tensor x = at::zeros({10});
    group.barrier();
    const double began = monotonic_seconds();
    if (rank == 1) std::this_thread::sleep_for(std::chrono::duration<double>(kDelay));
    if (rank == 0) group.send(x, 1);
    if (rank == 1) group.recv(x, 0);
    EXPECT_GE(monotonic_seconds() - began, 1.9 * kDelay);
  });
}

}  // namespace
}  // namespace phalanx::comm
