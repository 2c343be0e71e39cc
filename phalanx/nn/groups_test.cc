// The groups that watch layers, and that they notice what they are for.
#include <gtest/gtest-spi.h>

#include <cmath>
#include <memory>
#include <thread>

#include "phalanx/comm/local.h"
#include "phalanx/nn/test_groups.h"

namespace phalanx::nn::testing {
namespace {

using Clock = std::chrono::steady_clock;

class FunctionWork : public comm::Work {
 public:
  explicit FunctionWork(std::function<void()> finish) : finish_(std::move(finish)) {}
  void wait() override {
    if (!finish_) {
      ADD_FAILURE() << "waited for twice";
      return;
    }
    std::exchange(finish_, nullptr)();
  }
  bool done() override { return !finish_; }

 private:
  std::function<void()> finish_;
};

comm::WorkPtr work(std::function<void()> finish) {
  return std::make_shared<FunctionWork>(std::move(finish));
}

}  // namespace

comm::WorkPtr OneSidedGroup::done() {
  return work([] {});
}

comm::WorkPtr MirrorGroup::start(const char* what, Seconds time, std::function<void()> arrive) {
  events.push_back(std::string("start ") + what);
  const auto due = Clock::now() + time;
  return work([this, what, due, arrive = std::move(arrive)] {
    events.push_back(std::string("wait ") + what);
    std::this_thread::sleep_until(due);
    arrive();
  });
}

comm::WorkPtr MirrorGroup::start_all_reduce(Tensor tensor, comm::ReduceOp) {
  return start("all_reduce", sum_, [tensor] { tensor.mul_(2.0); });
}

comm::WorkPtr MirrorGroup::start_all_gather(Tensor out, Tensor in) {
  out.narrow(0, 0, in.size(0)).copy_(in);
  out.narrow(0, in.size(0), in.size(0)).copy_(in);
  return start("all_gather", gather_, [out] {});
}

comm::WorkPtr MirrorGroup::start_reduce_scatter(Tensor out, Tensor in) {
  return start("reduce_scatter", sum_, [out, in] { out.copy_(in.narrow(0, 0, out.size(0))).mul_(2.0); });
}

comm::WorkPtr StrictGroup::late(const char* what, const Tensor& out, const Tensor& in,
                                std::function<void()> run) {
  EXPECT_TRUE(out.is_contiguous() && in.is_contiguous()) << what;
  calls.emplace_back(what);
  ++outstanding_;
  const Tensor before = in.clone();
  const bool in_place = out.is_same(in);
  if (out.is_floating_point()) out.fill_(std::nan(""));
  return work([this, what, out, in, before, in_place, run = std::move(run)] {
    --outstanding_;
    if (in_place) {
      EXPECT_TRUE(in.isnan().all().item<bool>()) << what << " was written into while it was under way";
      in.copy_(before);
    } else {
      EXPECT_TRUE(in.equal(before)) << what << " read what was written meanwhile";
      EXPECT_TRUE(!out.is_floating_point() || out.isnan().all().item<bool>()) << what << " out was written";
    }
    run();
  });
}

comm::WorkPtr StrictGroup::start_all_reduce(Tensor tensor, comm::ReduceOp op) {
  return late("all_reduce", tensor, tensor,
              [this, tensor, op] { inner_.start_all_reduce(tensor, op)->wait(); });
}

comm::WorkPtr StrictGroup::start_all_gather(Tensor out, Tensor in) {
  return late("all_gather", out, in, [this, out, in] { inner_.start_all_gather(out, in)->wait(); });
}

comm::WorkPtr StrictGroup::start_reduce_scatter(Tensor out, Tensor in) {
  return late("reduce_scatter", out, in, [this, out, in] { inner_.start_reduce_scatter(out, in)->wait(); });
}

comm::WorkPtr StrictGroup::start_all_to_all(Tensor, Tensor, std::vector<int64_t>, std::vector<int64_t>) {
  ADD_FAILURE() << "no layer exchanges";
  return work([] {});
}

comm::WorkPtr StrictGroup::start_broadcast(Tensor tensor, int root) {
  ADD_FAILURE() << "no layer broadcasts";
  return inner_.start_broadcast(std::move(tensor), root);
}

comm::WorkPtr StrictGroup::start_send(Tensor tensor, int peer) {
  ADD_FAILURE() << "no layer sends";
  return inner_.start_send(std::move(tensor), peer);
}

comm::WorkPtr StrictGroup::start_recv(Tensor tensor, int peer) {
  ADD_FAILURE() << "no layer receives";
  return inner_.start_recv(std::move(tensor), peer);
}

void on_ranks(int ranks, const std::function<void(StrictGroup&)>& body) {
  std::vector<int> all;
  for (int r = 0; r < ranks; ++r) all.push_back(r);
  comm::LocalWorld world(ranks);
  comm::run_ranks(world, [&](int rank) {
    const std::unique_ptr<comm::Group> group = world.group(rank, "tp", all);
    StrictGroup strict(*group);
    body(strict);
  });
}

TEST(StrictGroup, NoticesEarlyReadsAndLateWrites) {
  MirrorGroup mirror;
  StrictGroup group(mirror);
  const Tensor in = at::ones({2, 3});
  const Tensor out = at::zeros({4, 3});
  const comm::WorkPtr gather = group.start_all_gather(out, in);
  EXPECT_TRUE(out.isnan().all().item<bool>()) << "nothing has arrived before wait";
  gather->wait();
  EXPECT_TRUE(out.eq(1.0).all().item<bool>());
  EXPECT_NONFATAL_FAILURE(gather->wait(), "waited for twice");
  const comm::WorkPtr sum = group.start_reduce_scatter(in.clone(), out);
  out.add_(1.0);
  EXPECT_NONFATAL_FAILURE(sum->wait(), "read what was written meanwhile");
  EXPECT_NONFATAL_FAILURE(
      {
        StrictGroup forgetful(mirror);
        forgetful.start_all_gather(out, in);
      },
      "nobody waited for");
}

}  // namespace phalanx::nn::testing
