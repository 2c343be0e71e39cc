// File: phalanx/nn/test_groups.h
//
// Purpose: for tests only: tensor groups that watch what a layer asks of them.
//   OneSidedGroup  rank 0 of two, alone in its thread; a test overrides the operations it expects
//   MirrorGroup    the other rank always has the same as this one; its operations take time and write down their order
//   StrictGroup    stands before a real group: an operation happens no earlier than wait(), its result is NaN until then,
//                  its input must not have changed, and every Work must be waited for once
//   on_ranks       runs a function as n ranks, each with its StrictGroup
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "phalanx/comm/group.h"

namespace phalanx::nn::testing {

using at::Tensor;

class OneSidedGroup : public comm::Group {
 public:
  int rank() const override { return 0; }
  int size() const override { return 2; }
  const std::string& name() const override { return name_; }
  const std::vector<int>& ranks() const override { return ranks_; }
  comm::WorkPtr start_all_reduce(Tensor, comm::ReduceOp) override { return unexpected("all_reduce"); }
  comm::WorkPtr start_all_gather(Tensor, Tensor) override { return unexpected("all_gather"); }
  comm::WorkPtr start_reduce_scatter(Tensor, Tensor) override { return unexpected("reduce_scatter"); }
  comm::WorkPtr start_all_to_all(Tensor, Tensor, std::vector<int64_t>, std::vector<int64_t>) override {
    return unexpected("all_to_all");
  }
  comm::WorkPtr start_broadcast(Tensor, int) override { return unexpected("broadcast"); }
  comm::WorkPtr start_send(Tensor, int) override { return unexpected("send"); }
  comm::WorkPtr start_recv(Tensor, int) override { return unexpected("recv"); }
  void barrier() override { unexpected("barrier"); }

 protected:
  static comm::WorkPtr done();

 private:
  static comm::WorkPtr unexpected(const char* what) {
    ADD_FAILURE() << "unexpected " << what;
    return done();
  }
  std::string name_ = "one of two";
  std::vector<int> ranks_ = {0, 1};
};

class MirrorGroup : public OneSidedGroup {
 public:
  using Seconds = std::chrono::duration<double>;
  explicit MirrorGroup(Seconds gather = {}, Seconds sum = {}) : gather_(gather), sum_(sum) {}
  comm::WorkPtr start_all_reduce(Tensor tensor, comm::ReduceOp op) override;
  comm::WorkPtr start_all_gather(Tensor out, Tensor in) override;
  comm::WorkPtr start_reduce_scatter(Tensor out, Tensor in) override;

  std::vector<std::string> events;  // "start all_gather", "wait all_gather", ..

 private:
  comm::WorkPtr start(const char* what, Seconds time, std::function<void()> arrive);
  Seconds gather_;
  Seconds sum_;
};

class StrictGroup : public comm::Group {
 public:
  explicit StrictGroup(comm::Group& inner) : inner_(inner) {}
  ~StrictGroup() override { EXPECT_EQ(outstanding_, 0) << "operations that nobody waited for"; }
  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  const std::string& name() const override { return inner_.name(); }
  const std::vector<int>& ranks() const override { return inner_.ranks(); }
  comm::WorkPtr start_all_reduce(Tensor tensor, comm::ReduceOp op) override;
  comm::WorkPtr start_all_gather(Tensor out, Tensor in) override;
  comm::WorkPtr start_reduce_scatter(Tensor out, Tensor in) override;
  comm::WorkPtr start_all_to_all(Tensor, Tensor, std::vector<int64_t>, std::vector<int64_t>) override;
  comm::WorkPtr start_broadcast(Tensor tensor, int root) override;
  comm::WorkPtr start_send(Tensor tensor, int peer) override;
  comm::WorkPtr start_recv(Tensor tensor, int peer) override;
  void barrier() override { inner_.barrier(); }
  comm::Group& inner() { return inner_; }

  std::vector<std::string> calls;  // names, in the order of their start

 private:
  comm::WorkPtr late(const char* what, const Tensor& out, const Tensor& in, std::function<void()> run);
  comm::Group& inner_;
  int outstanding_ = 0;
};

void on_ranks(int ranks, const std::function<void(StrictGroup&)>& body);

}  // namespace phalanx::nn::testing
