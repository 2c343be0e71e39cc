// File: phalanx/comm/progress.h
//
// Purpose: operations of ranks in one process, from the first rank's arrival to the last byte, and the threads that move
//   bytes while the ranks compute.
// Contract: an operation goes from gathering to ready (all have come) to done, or from gathering to failed. Once ready it
//   always ends, whoever of its ranks gives up: it needs nobody but a thread that helps. A helper takes slice after slice
//   until none is left, and never blocks, so no operation can hold up another one.
// Units: seconds of the monotonic clock.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "phalanx/base/error.h"
#include "phalanx/comm/flight_recorder.h"
#include "phalanx/comm/transfer.h"

namespace phalanx::comm {

enum class Stage : uint32_t { kGathering, kReady, kDone, kFailed };

// A stage that threads wait on.
class StageWord {
 public:
  Stage get() const { return static_cast<Stage>(word_.load(std::memory_order_acquire)); }
  void set(Stage stage);  // wakes every waiter
  // Returns when the stage is no longer `from`, and false when `deadline` came first.
  bool wait_past(Stage from, double deadline) const;

 private:
  std::atomic<uint32_t> word_{0};
  mutable std::atomic<int32_t> sleepers_{0};
};

struct Operation {
  // Set while gathering, under the lock of the hub that it belongs to, and not changed afterwards.
  Description what;  // as the first rank called it
  int first = 0;     // that rank
  int64_t sequence = 0;
  int64_t count = 0;
  std::vector<Part> parts;
  std::vector<char> here;  // by part: whether its rank has come
  int missing = 0;
  struct Recorded {
    FlightRecorder* recorder;
    uint64_t id;
  };
  std::vector<Recorded> records;
  ErrorParts failure{};  // why, once failed, where that is the first failure of its world
  bool is_cause = false;

  StageWord stage;

  void make_ready();  // by the last rank
  int64_t written_bytes() const { return transfer_.written_bytes(); }
  int64_t slices_left() const { return left_.load(std::memory_order_relaxed); }
  bool help();  // runs what slices it can get; whether it got one

 private:
  void finish();

  Transfer transfer_;
  std::atomic<int64_t> next_{0};
  std::atomic<int64_t> left_{0};
};

// Threads that help operations which are ready.
class ProgressPool {
 public:
  explicit ProgressPool(int threads);
  ~ProgressPool();
  bool empty() const { return threads_.empty(); }
  void add(std::shared_ptr<Operation> operation);

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Operation>> ready_;
  bool stopped_ = false;
  std::vector<std::jthread> threads_;
};

}  // namespace phalanx::comm
