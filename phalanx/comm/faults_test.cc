#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <random>
#include <thread>

#include "phalanx/base/clock.h"
#include "phalanx/base/error.h"
#include "phalanx/comm/local.h"
#include "phalanx/comm/local_hub.h"

namespace phalanx::comm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kSteps = 14;
constexpr double kShortDeadline = 0.3;

enum class Fault { kThrow, kHang, kWrongOperation, kWrongShape, kWrongDtype, kWrongRoot, kMissing, kEnds };
constexpr int kFaults = 8;

// One mistake of one rank at one step of a program that all ranks run.
struct Injection {
  Fault fault;
  int size, rank, step;
  uint32_t seed;
  std::string text() const {
    return fmt::format("fault {} of rank {} of {} at step {}, seed {}", static_cast<int>(fault), rank, size,
                       step, seed);
  }
};

// Step k of the program, each with another shape. Steps alternate between all ranks and pairs of neighbours.
enum class Step { kAllReduce, kAllGather, kReduceScatter, kAllToAll, kBroadcast, kRing, kBarrier };
Step step_of(int step) {
  return static_cast<Step>(step % 7);
}
bool on_all(int step) {
  return step % 3 != 1 || step_of(step) == Step::kRing;
}

class Program {
 public:
  Program(LocalWorld& world, int rank, const Injection& injection, std::atomic<bool>& noticed)
      : rank_(rank),
        injection_(injection),
        noticed_(noticed),
        random_(injection.seed + static_cast<uint32_t>(rank)) {
    std::vector<int> all;
    for (int r = 0; r < injection.size; ++r) all.push_back(r);
    all_ = world.group(rank, "everyone", all);
    const int first = rank / 2 * 2;
    const bool has_mate = first + 1 < injection.size;
    pair_ =
        world.group(rank, "pair", has_mate ? std::vector<int>{first, first + 1} : std::vector<int>{first});
  }

  void run() {
    try {
      run_steps();
    } catch (...) {
      noticed_ = true;
      throw;
    }
  }

 private:
  void run_steps() {
    for (int step = 0; step < kSteps; ++step) {
      const bool mine = rank_ == injection_.rank && step == injection_.step;
      if (mine && injection_.fault == Fault::kEnds) break;
      if (mine && injection_.fault == Fault::kThrow) throw std::runtime_error("injected");
      if (mine && injection_.fault == Fault::kHang) hang();
      if (!mine || injection_.fault != Fault::kMissing) start(step, mine);
      // Sometimes with an operation or two under way.
      while (works_.size() > random_() % 3) wait_oldest();
    }
    while (!works_.empty()) wait_oldest();
  }

  void hang() {
    const double give_up = monotonic_seconds() + 20;
    while (!noticed_ && monotonic_seconds() < give_up)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }

  void wait_oldest() {
    const WorkPtr work = works_.front();
    works_.pop_front();
    work->wait();
  }

  void start(int step, bool mine) {
    const Fault fault = mine ? injection_.fault : Fault::kThrow;
    Group& group = on_all(step) ? *all_ : *pair_;
    const int64_t rows = 3 + step + (fault == Fault::kWrongShape ? 1 : 0);
    const at::ScalarType dtype = fault == Fault::kWrongDtype ? at::kDouble : at::kFloat;
    const Tensor one = at::zeros({rows, 2000}, dtype), every = at::zeros({rows * group.size(), 2000}, dtype);
    Step kind = step_of(step);
    if (fault == Fault::kWrongOperation)
      kind = kind == Step::kAllReduce ? Step::kAllGather : Step::kAllReduce;
    const int n = group.size(), root = (step + (fault == Fault::kWrongRoot ? 1 : 0)) % n;
    switch (kind) {
      case Step::kAllReduce:
        works_.push_back(group.start_all_reduce(one, ReduceOp::kSum));
        break;
      case Step::kAllGather:
        works_.push_back(group.start_all_gather(every, one));
        break;
      case Step::kReduceScatter:
        works_.push_back(group.start_reduce_scatter(one, every));
        break;
      case Step::kAllToAll:
        works_.push_back(group.start_all_to_all(every, at::zeros_like(every), {}, {}));
        break;
      case Step::kBroadcast:
        works_.push_back(group.start_broadcast(one, root));
        break;
      case Step::kRing:
        works_.push_back(group.start_send(one, (group.rank() + 1) % n));
        works_.push_back(group.start_recv(at::zeros_like(one), (group.rank() + n - 1) % n));
        break;
      case Step::kBarrier:
        group.barrier();
        break;
    }
  }

  int rank_;
  const Injection& injection_;
  std::atomic<bool>& noticed_;  // by some rank: it has thrown
  std::mt19937 random_;
  std::unique_ptr<Group> all_, pair_;
  std::deque<WorkPtr> works_;
};

Injection random_injection(uint32_t seed) {
  std::mt19937 random(seed);
  Injection injection{.fault = static_cast<Fault>(seed % kFaults),
                      .size = static_cast<int>(2 + random() % 3),
                      .rank = 0,
                      .step = static_cast<int>(random() % kSteps),
                      .seed = seed};
  injection.rank = static_cast<int>(random() % static_cast<uint32_t>(injection.size));
  const auto suits = [&] {
    const Step kind = step_of(injection.step);
    const bool alone = !on_all(injection.step) && injection.size == 3 && injection.rank == 2;
    const Fault fault = injection.fault;
    if (fault == Fault::kThrow) return true;
    if (fault == Fault::kWrongRoot && kind != Step::kBroadcast) return false;
    if (fault == Fault::kWrongOperation && kind == Step::kRing) return false;
    if ((fault == Fault::kWrongShape || fault == Fault::kWrongDtype) && kind == Step::kBarrier) return false;
    return !alone;
  };
  while (!suits()) injection.step = (injection.step + 1) % kSteps;
  return injection;
}

void inject(const Injection& injection) {
  SCOPED_TRACE(injection.text());
  // Who leaves out an operation may leave everybody waiting, himself too; only a deadline can end that.
  const bool needs_deadline = injection.fault == Fault::kHang || injection.fault == Fault::kMissing;
  LocalWorld world(injection.size, {.deadline = needs_deadline ? kShortDeadline : 60});
  const double before = monotonic_seconds();
  std::atomic<bool> noticed = false;
  try {
    run_ranks(world, [&](int rank) { Program(world, rank, injection, noticed).run(); });
    ADD_FAILURE() << "nothing was noticed";
  } catch (const Error& error) {
    EXPECT_NE(injection.fault, Fault::kThrow) << error.what();
    EXPECT_EQ(error.kind(), ErrorKind::kPeer);
    EXPECT_EQ(dynamic_cast<const PeerFailed*>(&error), nullptr) << error.what();
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr(fmt::format("rank {}", injection.rank)), HasSubstr(" #"),
                      ::testing::AnyOf(HasSubstr("group 'everyone'"), HasSubstr("group 'pair'"))));
  } catch (const std::runtime_error& error) {
    EXPECT_EQ(injection.fault, Fault::kThrow);
    EXPECT_STREQ(error.what(), "injected");
  }
  EXPECT_LT(monotonic_seconds() - before, 30);
}

TEST(Faults, AreNoticedAndNamed) {
  for (uint32_t seed = 0; seed < 24; ++seed) inject(random_injection(seed));
}

TEST(FaultsSlow, TwoHundredAreNoticedAndNamed) {
  for (uint32_t seed = 100; seed < 300; ++seed) inject(random_injection(seed));
}

TEST(Faults, TheProgramItselfIsRight) {
  for (int size = 2; size <= 4; ++size) {
    const Injection none{.fault = Fault::kThrow, .size = size, .rank = -1, .step = -1, .seed = 7};
    LocalWorld world(size);
    std::atomic<bool> noticed = false;
    run_ranks(world, [&](int rank) { Program(world, rank, none, noticed).run(); });
  }
}

// Ranks that wait in groups which the failing one is not in hear of it at once, and a rank that goes on all the same
// gets no further than its next operation.
TEST(Faults, OneFailureStopsEveryGroup) {
  LocalWorld world(5, {.deadline = 600});
  const double before = monotonic_seconds();
  std::string later;
  try {
    run_ranks(world, [&](int rank) {
      const auto pair = rank < 2 ? world.group(rank, "pair", {0, 1}) : nullptr;
      const auto other = rank >= 2 && rank < 4 ? world.group(rank, "other", {2, 3}) : nullptr;
      Tensor x = at::zeros({3});
      if (rank == 0) pair->all_reduce(x);
      if (rank == 1) std::this_thread::sleep_for(std::chrono::milliseconds(100));
      if (rank == 2) other->recv(x, 1);
      if (rank == 3) {
        EXPECT_THROW(other->recv(x, 0), PeerFailed);
        try {
          world.group(3, "new", {3, 4})->barrier();
        } catch (const PeerFailed& error) {
          later = error.what();
        }
      }
      if (rank == 1) throw Error(ErrorKind::kNumeric, {.where = "step 3", .got = "a loss of nan"});
      if (rank == 4) std::this_thread::sleep_for(std::chrono::milliseconds(200));
    });
    ADD_FAILURE() << "the error was lost";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNumeric);
    EXPECT_STREQ(error.what(), "step 3: got a loss of nan");
  }
  EXPECT_LT(monotonic_seconds() - before, 10);
  EXPECT_THAT(later,
              AllOf(HasSubstr("rank 3, barrier #0 of group 'new': got a failure elsewhere: rank 1 failed: "),
                    HasSubstr("step 3: got a loss of nan")));
  // A world that has failed stays so.
  EXPECT_THROW(run_ranks(world,
                         [&](int rank) {
                           if (rank < 2) world.group(rank, "another", {0, 1})->barrier();
                         }),
               PeerFailed);
}

// The others learn of it while the stack of the failing rank still unwinds, and end before it does.
TEST(Faults, AConsequenceThatComesFirstDoesNotHideTheCause) {
  struct SlowEnd {
    ~SlowEnd() { std::this_thread::sleep_for(std::chrono::milliseconds(100)); }
  };
  LocalWorld world(2);
  try {
    run_ranks(world, [&](int rank) {
      const auto group = world.group(rank, "tp", {0, 1});
      Tensor x = at::zeros({3});
      if (rank == 1) group->all_reduce(x);
      const SlowEnd slow;
      const WorkPtr work = group->start_recv(x, 1);
      throw Error(ErrorKind::kNumeric, {.where = "step 3", .got = "a loss of nan"});
    });
    ADD_FAILURE() << "the error was lost";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "step 3: got a loss of nan");
  }
}

TEST(Faults, AnythingThatIsThrownArrives) {
  LocalWorld world(2);
  EXPECT_THROW(run_ranks(world,
                         [&](int rank) {
                           if (rank == 1) throw 42;
                           world.group(rank, "all", {0, 1})->barrier();
                         }),
               int);
}

TEST(Faults, TensorsThatCannotTravelAreTheUsersError) {
  LocalWorld world(2);
  try {
    run_ranks(world, [&](int rank) {
      Tensor x = at::zeros({3}, at::kComplexFloat);
      world.group(rank, "tp", {0, 1})->all_reduce(x);
    });
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    EXPECT_STREQ(
        error.what(),
        "all_reduce of group 'tp': got a tensor of ComplexFloat; needed f64, f32, bf16, f16, i64, i32 or u8. "
        "Fix: convert it first");
  }
}

TEST(Faults, UnevenRowsThatDoNotMatchNameBothRanks) {
  LocalWorld world(2);
  try {
    run_ranks(world, [&](int rank) {
      const auto group = world.group(rank, "ep", {0, 1});
      Tensor in = at::zeros({4, 8}), out = at::zeros({4, 8});
      if (rank == 0) group->all_to_all(out, in, {2, 2}, {1, 3});
      if (rank == 1) group->all_to_all(out, in, {2, 2}, {2, 2});
    });
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kPeer);
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("all_to_all f32 [*, 8] #0 of group 'ep'"),
                      HasSubstr("got 8 elements from rank 0 for rank 0; needed the 16 elements")));
  }
}

}  // namespace
}  // namespace phalanx::comm
