#include "phalanx/comm/local_hub.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <chrono>

#include "phalanx/base/clock.h"
#include "phalanx/comm/test_ranks.h"

namespace phalanx::comm {
namespace {

using ::testing::AllOf;
using testing::first_ranks;
using ::testing::HasSubstr;
using testing::on_all_ranks;
using testing::outcomes;
using Values = std::vector<int64_t>;

// Every value says whose it is, for whom, and which element.
int64_t value(int from, int to, int64_t i) {
  return 1'000'000'000LL * (from + 1) + 1'000'000LL * (to + 1) + i;
}

const std::byte* bytes(const Values& values) {
  return reinterpret_cast<const std::byte*>(values.data());
}
std::byte* bytes(Values& values) {
  return reinterpret_cast<std::byte*>(values.data());
}

Call call(OpKind kind, int64_t count, const std::byte* in, std::byte* out, int peer = -1) {
  return {.what = {.kind = kind, .dtype = Dtype::kI64, .peer = peer, .shape = {count}},
          .count = count,
          .part = {.in = in, .out = out}};
}

Values filled(int from, int parts, int64_t count) {
  Values values;
  for (int to = 0; to < parts; ++to)
    for (int64_t i = 0; i < count; ++i) values.push_back(value(from, to, i));
  return values;
}

void check_all_reduce(LocalHub& hub, int rank, int64_t count) {
  Values x = filled(rank, 1, count);
  hub.start(rank, call(OpKind::kAllReduce, count, bytes(x), bytes(x))).wait();
  const int n = hub.size();
  for (int64_t i = 0; i < count; ++i)
    ASSERT_EQ(x[static_cast<size_t>(i)], n * value(0, 0, i) + 1'000'000'000LL * (n * (n - 1) / 2));
}

void check_all_gather(LocalHub& hub, int rank, int64_t count) {
  const Values in = filled(rank, 1, count);
  Values out(static_cast<size_t>(hub.size() * count), -1);
  hub.start(rank, call(OpKind::kAllGather, count, bytes(in), bytes(out))).wait();
  Values expected;
  for (int from = 0; from < hub.size(); ++from)
    for (const int64_t x : filled(from, 1, count)) expected.push_back(x);
  ASSERT_EQ(out, expected);
}

void check_reduce_scatter(LocalHub& hub, int rank, int64_t count) {
  const Values in = filled(rank, hub.size(), count);
  Values out(static_cast<size_t>(count), -1);
  hub.start(rank, call(OpKind::kReduceScatter, count, bytes(in), bytes(out))).wait();
  const int n = hub.size();
  for (int64_t i = 0; i < count; ++i)
    ASSERT_EQ(out[static_cast<size_t>(i)], n * value(0, rank, i) + 1'000'000'000LL * (n * (n - 1) / 2));
}

// Rank a sends (a + 2 b) % 3 times `count` elements to rank b.
void check_all_to_all(LocalHub& hub, int rank, int64_t count) {
  const auto share = [count](int from, int to) { return (from + 2 * to) % 3 * count; };
  Values in, expected;
  std::vector<int64_t> in_counts, out_counts;
  for (int peer = 0; peer < hub.size(); ++peer) {
    in_counts.push_back(share(rank, peer));
    out_counts.push_back(share(peer, rank));
    for (int64_t i = 0; i < share(rank, peer); ++i) in.push_back(value(rank, peer, i));
    for (int64_t i = 0; i < share(peer, rank); ++i) expected.push_back(value(peer, rank, i));
  }
  Values out(expected.size(), -1);
  Call exchange = call(OpKind::kAllToAll, 0, bytes(in), bytes(out));
  exchange.part.in_counts = in_counts;
  exchange.part.out_counts = out_counts;
  hub.start(rank, exchange).wait();
  ASSERT_EQ(out, expected);
}

void check_broadcast(LocalHub& hub, int rank, int64_t count) {
  for (int root = 0; root < hub.size(); ++root) {
    Values x = filled(rank, 1, count);
    hub.start(rank, call(OpKind::kBroadcast, count, bytes(x), bytes(x), root)).wait();
    ASSERT_EQ(x, filled(root, 1, count));
  }
}

// Both directions at once, several in flight, to everybody.
void check_messages(LocalHub& hub, int rank, int64_t count) {
  constexpr int kMessages = 3;
  std::vector<Values> sent, received;
  std::vector<Pending> pending;
  for (int peer = 0; peer < hub.size(); ++peer) {
    for (int m = 0; m < kMessages && peer != rank; ++m) {
      sent.push_back(filled(rank, 1, count + m));
      received.emplace_back(static_cast<size_t>(count + m), -1);
      pending.push_back(
          hub.start(rank, call(OpKind::kRecv, count + m, nullptr, bytes(received.back()), peer)));
      pending.push_back(hub.start(rank, call(OpKind::kSend, count + m, bytes(sent.back()), nullptr, peer)));
    }
  }
  for (Pending& p : pending) p.wait();
  size_t next = 0;
  for (int peer = 0; peer < hub.size(); ++peer)
    for (int m = 0; m < kMessages && peer != rank; ++m)
      ASSERT_EQ(received[next++], filled(peer, 1, count + m)) << "message " << m << " from " << peer;
}

TEST(LocalHub, EveryOperationMovesWhatItShould) {
  for (const int threads : {0, 2}) {
    for (int size = 2; size <= 5; ++size) {
      HubWorld world(size, {.progress_threads = threads});
      on_all_ranks(world, [&](int rank) {
        LocalHub& hub = world.hub("all", first_ranks(size));
        for (const int64_t count : {0, 1, 7, 1000, 40'000}) {
          check_all_reduce(hub, rank, count);
          check_all_gather(hub, rank, count);
          check_reduce_scatter(hub, rank, count);
          check_all_to_all(hub, rank, count);
          check_broadcast(hub, rank, count);
          check_messages(hub, rank, count);
          hub.start(rank, call(OpKind::kBarrier, 0, nullptr, nullptr)).wait();
        }
      });
    }
  }
}

// Two groups that cross, whose operations every rank starts in its own order and waits for in another one.
TEST(LocalHub, GroupsDoNotWaitForEachOther) {
  constexpr int64_t kCount = 30'000;
  HubWorld world(4, {.progress_threads = 2});
  on_all_ranks(world, [&](int rank) {
    const int row = rank / 2, column = rank % 2;
    LocalHub& rows = world.hub("row", {2 * row, 2 * row + 1});
    LocalHub& columns = world.hub("column", {column, column + 2});
    for (int round = 0; round < 20; ++round) {
      Values a = filled(rank, 1, kCount), b = filled(rank, 1, kCount);
      const auto start_row = [&] {
        return rows.start(column, call(OpKind::kAllReduce, kCount, bytes(a), bytes(a)));
      };
      const auto start_column = [&] {
        return columns.start(row, call(OpKind::kAllReduce, kCount, bytes(b), bytes(b)));
      };
      Pending first = rank % 2 == 0 ? start_row() : start_column();
      Pending second = rank % 2 == 0 ? start_column() : start_row();
      if ((rank + round) % 3 == 0) {
        second.wait();
        first.wait();
      } else {
        first.wait();
        second.wait();
      }
      const Values mate = filled(4 * row + 1 - rank, 1, kCount), other = filled((rank + 2) % 4, 1, kCount);
      const Values mine = filled(rank, 1, kCount);
      for (size_t i = 0; i < mine.size(); ++i) {
        ASSERT_EQ(a[i], mine[i] + mate[i]);
        ASSERT_EQ(b[i], mine[i] + other[i]);
      }
    }
  });
}

// A rank that only computes is not needed for what it has started.
TEST(LocalHub, AStartedOperationGoesOnWhileItsRanksCompute) {
  constexpr int64_t kCount = 1 << 20;
  HubWorld world(2, {.progress_threads = 1});
  on_all_ranks(world, [&](int rank) {
    LocalHub& hub = world.hub("all", {0, 1});
    Values x = filled(rank, 1, kCount);
    Pending pending = hub.start(rank, call(OpKind::kAllReduce, kCount, bytes(x), bytes(x)));
    const double give_up = monotonic_seconds() + 20;
    while (!pending.done() && monotonic_seconds() < give_up)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_TRUE(pending.done());
    pending.wait();
    EXPECT_EQ(x[5], filled(0, 1, 6)[5] + filled(1, 1, 6)[5]);
  });
}

TEST(LocalHub, PollingAloneMovesAnOperationWithoutThreads) {
  constexpr int64_t kCount = 100'000;
  HubWorld world(2, {.progress_threads = 0});
  on_all_ranks(world, [&](int rank) {
    Values x = filled(rank, 1, kCount);
    Pending pending =
        world.hub("all", {0, 1}).start(rank, call(OpKind::kAllReduce, kCount, bytes(x), bytes(x)));
    while (!pending.done()) std::this_thread::yield();
    pending.wait();
    EXPECT_EQ(x[0], value(0, 0, 0) + value(1, 0, 0));
  });
}

TEST(LocalHub, ALateRankIsNamedWithItsLastWords) {
  HubWorld world(3, {.deadline = 0.2});
  const auto texts = outcomes(world, [&](int rank) {
    LocalHub& hub = world.hub("tp", {0, 1, 2});
    check_all_reduce(hub, rank, 4);
    if (rank == 2) std::this_thread::sleep_for(std::chrono::milliseconds(600));
    check_broadcast(hub, rank, 4);
  });
  for (int rank = 0; rank < 2; ++rank) {
    EXPECT_THAT(texts[static_cast<size_t>(rank)],
                AllOf(HasSubstr("broadcast from rank 0 i64 [4] #1 of group 'tp'"),
                      HasSubstr("no rank 2 (it was last in all_reduce sum i64 [4] #0 of group 'tp', 0."),
                      HasSubstr("within 0.2 s; needed all of ranks 0, 1, 2.")));
  }
  EXPECT_THAT(texts[2], AllOf(HasSubstr("rank 2, broadcast from rank 0 i64 [4] #1"),
                              HasSubstr("a failure elsewhere"), HasSubstr("within 0.2 s")));
}

// Rank 0 asks for an all_reduce, rank 1 for something else; also as messages.
TEST(LocalHub, AContradictionIsToldOnBothSides) {
  Values x(8, 1);
  const Call right = call(OpKind::kAllReduce, 4, bytes(x), bytes(x));
  Call longer = call(OpKind::kAllReduce, 5, bytes(x), bytes(x)), other_dtype = right, other_op = right;
  other_dtype.what.dtype = Dtype::kF64;
  other_op.what.reduce = ReduceOp::kMax;
  struct Pair {
    Call first, second;
    std::string first_text, second_text;
  };
  const std::string sum = "all_reduce sum i64 [4]";
  const std::vector<Pair> pairs{
      {right, longer, sum, "all_reduce sum i64 [5]"},
      {right, other_dtype, sum, "all_reduce sum f64 [4]"},
      {right, other_op, sum, "all_reduce max i64 [4]"},
      {right, call(OpKind::kAllGather, 4, bytes(x), bytes(x)), sum, "all_gather i64 [4]"},
      {right, {}, sum, "barrier"},
      {call(OpKind::kBroadcast, 4, bytes(x), bytes(x), 0), call(OpKind::kBroadcast, 4, bytes(x), bytes(x), 1),
       "broadcast from rank 0 i64 [4]", "broadcast from rank 1 i64 [4]"},
      {call(OpKind::kSend, 4, bytes(x), nullptr, 1), call(OpKind::kRecv, 3, nullptr, bytes(x), 0),
       "send to rank 1 i64 [4]", "recv from rank 0 i64 [3]"},
  };
  for (const Pair& pair : pairs) {
    HubWorld world(2, {.deadline = 20});
    const auto texts = outcomes(world, [&](int rank) {
      world.hub("tp", {0, 1}).start(rank, rank == 0 ? pair.first : pair.second).wait();
    });
    for (const std::string& text : texts) {
      EXPECT_THAT(text,
                  AllOf(HasSubstr("group 'tp', operation #0"), HasSubstr(pair.first_text + " on rank 0"),
                        HasSubstr(pair.second_text + " on rank 1")));
    }
  }
}

// Rank 2 waits for rank 1 elsewhere: who waits for rank 2 hears of both.
TEST(LocalHub, ALateRankNamesWhomItWaitsFor) {
  HubWorld world(3, {.deadline = 0.3});
  const auto texts = outcomes(world, [&](int rank) {
    LocalHub& pair = world.hub("pair", {0, 2});
    LocalHub& other = world.hub("other", {1, 2});
    if (rank == 0) check_broadcast(pair, 0, 4);
    if (rank == 1) std::this_thread::sleep_for(std::chrono::milliseconds(800));
    if (rank == 2) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      check_all_reduce(other, 1, 4);
    }
  });
  EXPECT_THAT(texts[0],
              HasSubstr("no rank 2 (it waits in all_reduce sum i64 [4] #0 of group 'other', for 0."));
  EXPECT_THAT(texts[0], HasSubstr("s), which waits for rank 1 (it has called nothing) within 0.3 s"));
}

TEST(LocalHub, ARankThatHasEndedIsNotWaitedFor) {
  HubWorld world(3, {.deadline = 60});
  const double before = monotonic_seconds();
  const auto texts = outcomes(world, [&](int rank) {
    LocalHub& hub = world.hub("tp", {0, 1, 2});
    check_all_reduce(hub, rank, 4);
    if (rank != 1) check_all_gather(hub, rank, 4);
  });
  EXPECT_LT(monotonic_seconds() - before, 20);
  for (const int rank : {0, 2}) {
    EXPECT_THAT(
        texts[static_cast<size_t>(rank)],
        AllOf(HasSubstr("all_gather i64 [4] #1 of group 'tp'"),
              HasSubstr("no rank 1 (it has ended and was last in all_reduce sum i64 [4] #0 of group 'tp'")));
  }
}

// A stack that unwinds with operations in flight: the buffers go, and nobody writes to them afterwards.
TEST(LocalHub, ADroppedOperationLetsGoOfItsBuffers) {
  constexpr int64_t kCount = 200'000;
  for (int round = 0; round < 20; ++round) {
    HubWorld world(3, {.deadline = 20, .progress_threads = 2});
    const auto texts = outcomes(world, [&](int rank) {
      LocalHub& hub = world.hub("tp", {0, 1, 2});
      Values x(kCount, rank), y(kCount, rank);
      Pending first = hub.start(rank, call(OpKind::kAllReduce, kCount, bytes(x), bytes(x)));
      if (rank == round % 3) throw std::runtime_error("out of luck");
      Pending second = hub.start(rank, call(OpKind::kAllReduce, kCount, bytes(y), bytes(y)));
      first.wait();
      second.wait();
    });
    for (int rank = 0; rank < 3; ++rank) {
      const std::string& text = texts[static_cast<size_t>(rank)];
      if (rank == round % 3) {
        EXPECT_EQ(text, "out of luck");
      } else {
        EXPECT_THAT(text, AllOf(HasSubstr("of group 'tp'"), HasSubstr("a failure elsewhere"),
                                HasSubstr(fmt::format("rank {}", round % 3))));
      }
    }
  }
}

}  // namespace
}  // namespace phalanx::comm
