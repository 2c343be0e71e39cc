#include "phalanx/comm/timed_group.h"

#include "phalanx/base/clock.h"
#include "phalanx/comm/wrapped_group.h"

namespace phalanx::comm {
namespace {

class TimedWork : public Work {
 public:
  TimedWork(WorkPtr work, CommClock* clock) : work_(std::move(work)), clock_(clock) {}
  void wait() override {
    const double begin = monotonic_seconds();
    work_->wait();
    clock_->add(begin, monotonic_seconds());
  }
  bool done() override { return work_->done(); }

 private:
  WorkPtr work_;
  CommClock* clock_;
};

class TimedGroup : public WrappedGroup {
 public:
  TimedGroup(std::unique_ptr<Group> inner, CommClock* clock)
      : WrappedGroup(std::move(inner)), clock_(clock) {}

 protected:
  // A barrier is over when it has started, and leaves no work.
  WorkPtr around(const Asked& asked, const std::function<WorkPtr()>& start) override {
    if (asked.kind != OpKind::kBarrier) return std::make_shared<TimedWork>(start(), clock_);
    const double begin = monotonic_seconds();
    start();
    clock_->add(begin, monotonic_seconds());
    return nullptr;
  }

 private:
  CommClock* clock_;
};

}  // namespace

std::unique_ptr<Group> make_timed_group(std::unique_ptr<Group> group, CommClock* clock) {
  if (group->size() == 1) return group;
  return std::make_unique<TimedGroup>(std::move(group), clock);
}

}  // namespace phalanx::comm
