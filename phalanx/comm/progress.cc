#include "phalanx/comm/progress.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cmath>
#include <ctime>

#include "phalanx/base/clock.h"

namespace phalanx::comm {
namespace {

// How often a waiting thread offers its core to the others before it sleeps. Keeping the core instead is no faster on an
// idle machine, and on a busy one it may be the core that the other rank needs; offering it often counts as using it,
// so that the system lets others go first when the other rank has come.
constexpr int kYields = 20;
constexpr int64_t kWorthAThread = 4;  // slices

// The C++ library waits on an atomic without a deadline and on a condition variable only through a lock that all waiters
// then queue for; the system call has neither fault.
void futex_wait(const std::atomic<uint32_t>& word, uint32_t value, double seconds) {
  const double whole = std::floor(seconds);
  const timespec timeout{.tv_sec = static_cast<time_t>(whole),
                         .tv_nsec = static_cast<long>((seconds - whole) * 1e9)};
  ::syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, &timeout, nullptr, 0);
}

void futex_wake_all(const std::atomic<uint32_t>& word) {
  ::syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace

void StageWord::set(Stage stage) {
  word_.store(static_cast<uint32_t>(stage), std::memory_order_seq_cst);
  // A waiter counts itself before the system looks at the word, so one of the two sees the other.
  if (sleepers_.load(std::memory_order_seq_cst) > 0) futex_wake_all(word_);
}

bool StageWord::wait_past(Stage from, double deadline) const {
  for (int i = 0; i < kYields; ++i) {
    if (get() != from) return true;
    std::this_thread::yield();
  }
  while (get() == from) {
    const double left = deadline - monotonic_seconds();
    if (left <= 0) return false;
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    futex_wait(word_, static_cast<uint32_t>(from), std::min(left, 3600.0));
    sleepers_.fetch_sub(1, std::memory_order_relaxed);
  }
  return true;
}

void Operation::make_ready() {
  transfer_ = Transfer(what, count, parts);
  left_.store(transfer_.slices(), std::memory_order_relaxed);
  for (const Recorded& record : records) record.recorder->started(record.id);
  if (transfer_.slices() == 0) {
    finish();
  } else {
    stage.set(Stage::kReady);
  }
}

bool Operation::help() {
  const int64_t slices = transfer_.slices();
  bool helped = false;
  for (int64_t slice = 0; (slice = next_.fetch_add(1, std::memory_order_relaxed)) < slices; helped = true) {
    transfer_.run(slice);
    if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) finish();
  }
  return helped;
}

void Operation::finish() {
  for (const Recorded& record : records) record.recorder->done(record.id);
  stage.set(Stage::kDone);
}

ProgressPool::ProgressPool(int threads) {
  for (int t = 0; t < threads; ++t) threads_.emplace_back([this] { run(); });
}

ProgressPool::~ProgressPool() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
}

void ProgressPool::add(std::shared_ptr<Operation> operation) {
  {
    const std::lock_guard lock(mutex_);
    ready_.push_back(std::move(operation));
  }
  changed_.notify_one();
}

void ProgressPool::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopped_ || !ready_.empty(); });
    if (stopped_) return;
    const std::shared_ptr<Operation> operation = ready_.front();
    lock.unlock();
    // One wakes the next, as long as there is work for it: the ranks themselves may be faster.
    if (operation->slices_left() > kWorthAThread) changed_.notify_one();
    operation->help();
    lock.lock();
    // Nothing is left to take from it; who comes back first removes it.
    if (!ready_.empty() && ready_.front() == operation) ready_.pop_front();
  }
}

}  // namespace phalanx::comm
