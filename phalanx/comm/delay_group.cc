#include "phalanx/comm/delay_group.h"

#include <algorithm>
#include <thread>

namespace phalanx::comm {
namespace {

class DelayedWork : public Work {
 public:
  DelayedWork(WorkPtr inner, std::shared_ptr<DelayBoard::Meeting> meeting, double seconds)
      : inner_(std::move(inner)), meeting_(std::move(meeting)), seconds_(seconds) {}
  void wait() override {
    if (inner_) inner_->wait();
    std::this_thread::sleep_until(over());
  }
  bool done() override {
    if (inner_ && !inner_->done()) return false;
    // Done without everybody there: it has failed, and wait() says how.
    return !meeting_->complete() || std::chrono::steady_clock::now() >= over();
  }

 private:
  DelayBoard::Time over() const {
    const std::chrono::duration<double> delay(seconds_);
    return meeting_->last() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(delay);
  }

  WorkPtr inner_;
  std::shared_ptr<DelayBoard::Meeting> meeting_;
  double seconds_;
};

}  // namespace

void DelayBoard::Meeting::arrive() {
  const std::lock_guard lock(mutex_);
  --missing_;
  last_ = std::chrono::steady_clock::now();
}

bool DelayBoard::Meeting::complete() const {
  const std::lock_guard lock(mutex_);
  return missing_ == 0;
}

DelayBoard::Time DelayBoard::Meeting::last() const {
  const std::lock_guard lock(mutex_);
  return last_;
}

std::shared_ptr<DelayBoard::Meeting> DelayBoard::arrive(const Key& key, int ranks) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<Meeting>& entry = open_[key];
  if (!entry) {
    entry = std::make_shared<Meeting>();
    entry->missing_ = ranks;
  }
  const std::shared_ptr<Meeting> meeting = entry;
  meeting->arrive();
  if (meeting->complete()) open_.erase(key);
  return meeting;
}

WorkPtr DelayGroup::around(const Asked& asked, const std::function<WorkPtr()>& start) {
  if (size() == 1) return start();
  const bool sends = asked.kind == OpKind::kSend, message = sends || asked.kind == OpKind::kRecv;
  const int from = sends ? rank() : asked.peer, to = sends ? asked.peer : rank();
  const int lane = message ? from * size() + to : -1;
  // Before the inner operation: once that is over, every rank is known to have come here.
  auto meeting = board_->arrive({name(), ranks(), lane, next_[lane]++}, message ? 2 : size());
  const double seconds = delay_.seconds + delay_.seconds_per_byte * static_cast<double>(asked.bytes);
  return std::make_shared<DelayedWork>(start(), std::move(meeting), seconds);
}

}  // namespace phalanx::comm
