#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <functional>
#include <numeric>

#include "phalanx/base/fs.h"
#include "phalanx/comm/flight_recorder.h"
#include "phalanx/comm/local.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::comm {
namespace {

constexpr int kLargest = 5;
const std::vector<int64_t> kRows{0, 1, 7, 1025, 20'001};

std::vector<int> first_ranks(int count) {
  std::vector<int> ranks(static_cast<size_t>(count));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

// What each rank gives, [rows, 3]: fractions that every dtype must round; positive for u8.
class Given {
 public:
  explicit Given(at::ScalarType dtype) {
    for (int rank = 0; rank < kLargest; ++rank) {
      const Tensor x = testing::random_tensor({kRows.back(), 3}, static_cast<uint64_t>(rank)).mul(50.0);
      by_rank_.push_back((dtype == at::kByte ? x.abs() : x).to(dtype));
    }
  }
  Tensor operator()(int rank, int64_t rows) const {
    return by_rank_[static_cast<size_t>(rank)].narrow(0, 0, rows).clone();
  }

 private:
  std::vector<Tensor> by_rank_;
};

at::ScalarType accumulated(at::ScalarType dtype) {
  return dtype == at::kBFloat16 || dtype == at::kHalf ? at::kFloat : dtype;
}

// One after the other, in rank order.
Tensor reduced(const std::vector<Tensor>& parts, ReduceOp op) {
  const at::ScalarType dtype = parts[0].scalar_type();
  Tensor sum = parts[0].to(accumulated(dtype), /*non_blocking=*/false, /*copy=*/true);
  for (size_t k = 1; k < parts.size(); ++k) {
    const Tensor next = parts[k].to(accumulated(dtype));
    sum = op == ReduceOp::kSum ? sum.add(next) : at::maximum(sum, next);
  }
  return sum.to(dtype);
}

struct Case {
  Group& group;
  int64_t rows;
  const Given& given;
  Tensor given_by(int rank) const { return given(rank, rows); }
  Tensor own() const { return given_by(group.rank()); }
  std::vector<Tensor> all() const {
    std::vector<Tensor> parts;
    for (int rank = 0; rank < group.size(); ++rank) parts.push_back(given_by(rank));
    return parts;
  }
  Tensor blank(int64_t times = 1) const { return at::full({rows * times, 3}, 99, given(0, 0).options()); }
};

// at::equal compares values: NaN apart, equal values of one dtype that are not zero have equal bits.
#define EXPECT_SAME(a, b) EXPECT_TRUE(at::equal(a, b)) << c.group.size() << " ranks, " << c.rows << " rows"

void check_reductions(const Case& c) {
  for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kMax}) {
    Tensor x = c.own();
    c.group.all_reduce(x, op);
    EXPECT_SAME(x, reduced(c.all(), op));
  }
  // Rank k gives k's numbers, turned round, to make every piece another one.
  const auto whole = [&](int rank) {
    std::vector<Tensor> pieces = c.all();
    std::rotate(pieces.begin(), pieces.begin() + rank, pieces.end());
    return at::cat(pieces);
  };
  std::vector<Tensor> wholes;
  for (int rank = 0; rank < c.group.size(); ++rank) wholes.push_back(whole(rank));
  const Tensor expected = reduced(wholes, ReduceOp::kSum).narrow(0, c.rows * c.group.rank(), c.rows);
  Tensor out = c.blank(), in = whole(c.group.rank());
  c.group.reduce_scatter(out, in);
  EXPECT_SAME(out, expected);
  EXPECT_SAME(in, whole(c.group.rank()));
  Tensor in_place = in.narrow(0, c.rows * c.group.rank(), c.rows);
  c.group.reduce_scatter(in_place, in);
  EXPECT_SAME(in_place, expected);
}

void check_copies(const Case& c) {
  Tensor gathered = c.blank(c.group.size());
  c.group.all_gather(gathered, c.own());
  EXPECT_SAME(gathered, at::cat(c.all()));
  Tensor in_place = c.blank(c.group.size());
  Tensor mine = in_place.narrow(0, c.rows * c.group.rank(), c.rows).copy_(c.own());
  c.group.all_gather(in_place, mine);
  EXPECT_SAME(in_place, at::cat(c.all()));
  for (int root = 0; root < c.group.size(); ++root) {
    Tensor x = c.own();
    c.group.broadcast(x, root);
    EXPECT_SAME(x, c.given_by(root));
  }
}

// Even: rank a sends its numbers plus nothing to everybody. Uneven: the first rows / (1 + (a + b) % 3) of them to rank b.
void check_exchanges(const Case& c) {
  std::vector<Tensor> in;
  for (int peer = 0; peer < c.group.size(); ++peer) in.push_back(c.own());
  Tensor out = c.blank(c.group.size());
  c.group.all_to_all(out, at::cat(in));
  EXPECT_SAME(out, at::cat(c.all()));

  std::vector<int64_t> out_rows, in_rows;
  std::vector<Tensor> sent, expected;
  for (int peer = 0; peer < c.group.size(); ++peer) {
    const int64_t rows = c.rows / (1 + (c.group.rank() + peer) % 3);
    in_rows.push_back(rows);
    out_rows.push_back(rows);
    sent.push_back(c.own().narrow(0, 0, rows));
    expected.push_back(c.given_by(peer).narrow(0, 0, rows));
  }
  Tensor got = at::full_like(at::cat(expected), 99);
  c.group.all_to_all(got, at::cat(sent), out_rows, in_rows);
  EXPECT_SAME(got, at::cat(expected));
}

// A ring, in both directions at once.
void check_messages(const Case& c) {
  if (c.group.size() == 1) return;
  const int n = c.group.size(), next = (c.group.rank() + 1) % n, last = (c.group.rank() + n - 1) % n;
  Tensor up = c.blank(), down = c.blank();
  const Tensor mine = c.own();
  const std::vector<WorkPtr> works{c.group.start_recv(up, last), c.group.start_send(mine, next),
                                   c.group.start_send(mine, last), c.group.start_recv(down, next)};
  for (const WorkPtr& work : works) work->wait();
  EXPECT_SAME(up, c.given_by(last));
  EXPECT_SAME(down, c.given_by(next));
}

class LocalGroupOfDtype : public ::testing::TestWithParam<at::ScalarType> {};

TEST_P(LocalGroupOfDtype, EveryOperationMatchesASerialReference) {
  int cases = 0;
  const Given given(GetParam());
  for (int size = 1; size <= kLargest; ++size) {
    LocalWorld world(size);
    run_ranks(world, [&](int rank) {
      const auto group = world.group(rank, "all", first_ranks(size));
      for (const int64_t rows : kRows) {
        const Case c{*group, rows, given};
        for (const auto& check : {check_reductions, check_copies, check_exchanges, check_messages}) check(c);
        group->barrier();
        if (rank == 0) ++cases;
      }
    });
  }
  EXPECT_EQ(cases, kLargest * static_cast<int>(kRows.size()));
}

INSTANTIATE_TEST_SUITE_P(Dtypes, LocalGroupOfDtype,
                         ::testing::Values(at::kDouble, at::kFloat, at::kBFloat16, at::kHalf, at::kLong,
                                           at::kInt, at::kByte),
                         [](const auto& info) { return std::string(c10::toString(info.param)); });

// Halves: every value there is, through the sum of a value and zeros, and rounding of sums that lie between two.
TEST(LocalGroup, HalvesRoundAsLibTorchDoes) {
  for (const at::ScalarType dtype : {at::kHalf, at::kBFloat16}) {
    LocalWorld world(2);
    run_ranks(world, [&](int rank) {
      const auto group = world.group(rank, "all", {0, 1});
      const Tensor every = at::arange(65536, at::kInt).to(at::kShort).view(dtype);
      for (const double other : {0.0, 1.0, 6e-8, 1e-3, 65504.0, -3e38}) {
        const Tensor constant = at::full_like(every.to(at::kDouble), other).to(dtype);
        Tensor x = (rank == 0 ? every : constant).clone();
        group->all_reduce(x);
        const Tensor expected = (every.to(at::kFloat) + constant.to(at::kFloat)).to(dtype);
        const Tensor number = expected.isnan().logical_not();
        EXPECT_TRUE(at::equal(x.isnan(), expected.isnan()));
        EXPECT_TRUE(at::equal(x.view(at::kShort).masked_select(number),
                              expected.view(at::kShort).masked_select(number)));
      }
    });
  }
}

TEST(LocalGroup, TheLargestOfSeveralIsNotANumberWhenOneIsNot) {
  LocalWorld world(3);
  run_ranks(world, [&](int rank) {
    const auto group = world.group(rank, "all", {0, 1, 2});
    for (const at::ScalarType dtype : {at::kDouble, at::kFloat, at::kBFloat16, at::kHalf}) {
      Tensor x = at::arange(3, at::kDouble).mul(rank).to(dtype);
      if (rank == 1) x[0] = std::nan("");
      group->all_reduce(x, ReduceOp::kMax);
      EXPECT_TRUE(x[0].isnan().item<bool>());
      EXPECT_EQ(x[2].item<double>(), 4.0);
    }
  });
}

// Many messages on one lane, of lengths that do not tell them apart, and waited for from the last to the first.
TEST(LocalGroup, MessagesArriveInTheOrderInWhichTheyWereSent) {
  constexpr int kMessages = 200;
  LocalWorld world(3);
  run_ranks(world, [&](int rank) {
    const auto group = world.group(rank, "pp", {0, 1, 2});
    std::vector<Tensor> received;
    std::vector<WorkPtr> works;
    for (int m = 0; m < kMessages; ++m) {
      for (int peer = 0; peer < 3; ++peer) {
        if (peer == rank) continue;
        received.push_back(at::zeros({16}, at::kInt));
        works.push_back(group->start_send(at::full({16}, 1000 * rank + m, at::kInt), peer));
        works.push_back(group->start_recv(received.back(), peer));
      }
    }
    for (auto work = works.rbegin(); work != works.rend(); ++work) (*work)->wait();
    size_t next = 0;
    for (int m = 0; m < kMessages; ++m) {
      for (int peer = 0; peer < 3; ++peer) {
        if (peer == rank) continue;
        EXPECT_EQ(received[next++][15].item<int>(), 1000 * peer + m);
      }
    }
  });
}

// Every rank is in four groups and starts and waits in an order of its own.
TEST(LocalGroup, GroupsInAnyOrderDoNotBlockEachOther) {
  const Given given(at::kFloat);
  LocalWorld world(4);
  run_ranks(world, [&](int rank) {
    const std::vector<std::vector<int>> members{{0, 1, 2, 3},
                                                {rank / 2 * 2, rank / 2 * 2 + 1},
                                                {rank % 2, rank % 2 + 2},
                                                {std::min(rank, 3 - rank), std::max(rank, 3 - rank)}};
    std::vector<std::unique_ptr<Group>> groups;
    for (size_t g = 0; g < members.size(); ++g)
      groups.push_back(world.group(rank, "g" + std::to_string(g), members[g]));
    for (int round = 0; round < 30; ++round) {
      const int64_t rows = round % 3 == 0 ? 20'000 : 5;
      std::vector<Tensor> tensors(4);
      std::vector<WorkPtr> works(4);
      for (int k = 0; k < 4; ++k) {
        const auto g = static_cast<size_t>((k + rank) % 4);
        tensors[g] = given(rank, rows);
        works[g] = groups[g]->start_all_reduce(tensors[g], ReduceOp::kSum);
      }
      for (int k = 0; k < 4; ++k) works[static_cast<size_t>((k * 3 + rank + round) % 4)]->wait();
      for (size_t g = 0; g < 4; ++g) {
        std::vector<Tensor> parts;
        for (const int member : members[g]) parts.push_back(given(member, rows));
        EXPECT_TRUE(at::equal(tensors[g], reduced(parts, ReduceOp::kSum)));
      }
    }
  });
}

TEST(LocalGroup, FiftyRunsGiveTheSameBits) {
  const Given floats(at::kFloat), halves(at::kBFloat16);
  Tensor first;
  for (int run = 0; run < 50; ++run) {
    LocalWorld world(4, {.progress_threads = run % 4});
    run_ranks(world, [&](int rank) {
      const auto group = world.group(rank, "dp", {0, 1, 2, 3});
      Tensor x = floats(rank, 20'000);
      const Tensor half = halves(rank, 20'000);
      const WorkPtr a = group->start_all_reduce(x, ReduceOp::kSum);
      const WorkPtr b = group->start_all_reduce(half, ReduceOp::kSum);
      if ((rank + run) % 2 == 0) b->wait();
      a->wait();
      if ((rank + run) % 2 != 0) b->wait();
      if (rank != run % 4) return;
      const Tensor result =
          at::cat({x.view(at::kInt).flatten(), half.view(at::kShort).to(at::kInt).flatten()});
      if (!first.defined()) first = result;
      EXPECT_TRUE(at::equal(result, first)) << "run " << run;
    });
  }
}

// A started operation keeps its tensors: the caller may let go of them.
TEST(LocalGroup, AStartedOperationOwnsItsTensors) {
  LocalWorld world(2);
  run_ranks(world, [&](int rank) {
    const auto group = world.group(rank, "pp", {0, 1});
    Tensor received = at::zeros({100'000}, at::kInt);
    WorkPtr work =
        rank == 0 ? group->start_send(at::full({100'000}, 7, at::kInt), 1) : group->start_recv(received, 0);
    const Tensor other = at::full({100'000}, 8, at::kInt);  // would take the place of what was freed
    work->wait();
    EXPECT_TRUE(rank == 0 || received.eq(7).all().item<bool>());
  });
}

TEST(LocalWorld, GroupsKnowTheirMembers) {
  LocalWorld world(4);
  run_ranks(world, [&](int rank) {
    const auto one = world.group(rank, "tp", {rank});
    EXPECT_EQ(one->size(), 1);
    EXPECT_EQ(one->ranks(), std::vector<int>{rank});
    if (rank % 2 == 0) return;
    const auto odd = world.group(rank, "odd", {1, 3});
    EXPECT_EQ(odd->rank(), rank / 2);
    EXPECT_EQ(odd->size(), 2);
    EXPECT_EQ(odd->name(), "odd");
    EXPECT_EQ(odd->ranks(), (std::vector<int>{1, 3}));
  });
}

TEST(LocalWorld, SetsUpTheThreadOfEveryRankAndRunsAgain) {
  LocalWorld world(3, {.threads_per_rank = 3});
  for (int run = 0; run < 3; ++run) {
    run_ranks(world, [&](int rank) {
      EXPECT_EQ(at::get_num_threads(), 3);
      EXPECT_FALSE(at::GradMode::is_enabled());
      const auto group = world.group(rank, "all", {0, 1, 2});
      Tensor x = at::full({3}, rank, at::kFloat);
      group->all_reduce(x);
      EXPECT_EQ(x[1].item<float>(), 3.0f);
    });
  }
}

// Every rank writes down what it asks, and the marks of the others' arrival and of the end come from whoever knows.
TEST(LocalWorld, KeepsAFlightRecordOfEveryRank) {
  const TemporaryDirectory folder;
  LocalWorld world(2, {.flight_folder = folder.path() + "/flight"});
  run_ranks(world, [&](int rank) {
    const auto group = world.group(rank, "pp", {0, 1});
    Tensor x = at::zeros({100'000});
    group->all_reduce(x);
    if (rank == 0) group->send(x, 1);
    if (rank == 1) group->recv(x, 0);
  });
  for (int rank = 0; rank < 2; ++rank) {
    const FlightLog log = read_flight(fmt::format("{}/flight/rank_{}.flight", folder.path(), rank));
    EXPECT_EQ(log.header.rank, rank);
    ASSERT_EQ(log.records.size(), 2u);
    for (const FlightRecord& record : log.records) {
      EXPECT_STREQ(record.state(), "done");
      EXPECT_STREQ(record.group, "pp");
      EXPECT_EQ(record.bytes, 400'000);
      EXPECT_LE(record.started_ns, record.done_ns);
    }
    EXPECT_EQ(static_cast<OpKind>(log.records[1].kind), rank == 0 ? OpKind::kSend : OpKind::kRecv);
    EXPECT_EQ(log.records[1].peer, 1 - rank);
  }
}

}  // namespace
}  // namespace phalanx::comm
