#include "phalanx/comm/timed_group.h"

#include "phalanx/base/clock.h"

namespace phalanx::comm {
namespace {

class TimedWork : public Work {
 public:
  TimedWork(WorkPtr work, CommClock* clock) : work_(std::move(work)), clock_(clock) {}
  void wait() override {
    const double begin = monotonic_seconds();
    work_->wait();
    clock_->exposed += monotonic_seconds() - begin;
  }
  bool done() override { return work_->done(); }

 private:
  WorkPtr work_;
  CommClock* clock_;
};

class TimedGroup : public Group {
 public:
  TimedGroup(std::unique_ptr<Group> group, CommClock* clock) : group_(std::move(group)), clock_(clock) {}
  int rank() const override { return group_->rank(); }
  int size() const override { return group_->size(); }
  const std::string& name() const override { return group_->name(); }
  const std::vector<int>& ranks() const override { return group_->ranks(); }

  WorkPtr start_all_reduce(Tensor tensor, ReduceOp op) override {
    return timed(group_->start_all_reduce(std::move(tensor), op));
  }
  WorkPtr start_all_gather(Tensor out, Tensor in) override {
    return timed(group_->start_all_gather(std::move(out), std::move(in)));
  }
  WorkPtr start_reduce_scatter(Tensor out, Tensor in) override {
    return timed(group_->start_reduce_scatter(std::move(out), std::move(in)));
  }
  WorkPtr start_all_to_all(Tensor out, Tensor in, std::vector<int64_t> out_rows,
                           std::vector<int64_t> in_rows) override {
    return timed(
        group_->start_all_to_all(std::move(out), std::move(in), std::move(out_rows), std::move(in_rows)));
  }
  WorkPtr start_broadcast(Tensor tensor, int root) override {
    return timed(group_->start_broadcast(std::move(tensor), root));
  }
  WorkPtr start_send(Tensor tensor, int peer) override {
    return timed(group_->start_send(std::move(tensor), peer));
  }
  WorkPtr start_recv(Tensor tensor, int peer) override {
    return timed(group_->start_recv(std::move(tensor), peer));
  }
  void barrier() override {
    const double begin = monotonic_seconds();
    group_->barrier();
    clock_->exposed += monotonic_seconds() - begin;
  }

 private:
  WorkPtr timed(WorkPtr work) {
    ++clock_->operations;
    return std::make_shared<TimedWork>(std::move(work), clock_);
  }

  std::unique_ptr<Group> group_;
  CommClock* clock_;
};

}  // namespace

std::unique_ptr<Group> make_timed_group(std::unique_ptr<Group> group, CommClock* clock) {
  if (group->size() == 1) return group;
  return std::make_unique<TimedGroup>(std::move(group), clock);
}

}  // namespace phalanx::comm
