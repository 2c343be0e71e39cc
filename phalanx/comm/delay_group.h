// File: phalanx/comm/delay_group.h
//
// Purpose: a slow network on one machine: an operation is over only some time after its last rank has come. The wait
//   burns no core, so that it can be measured on two cores what a layout hides behind computation and what it does not.
// Contract: wrapped_group.h, around a transport between threads. The ranks' groups of one world share a board. Delays of
//   operations that are under way together pass together.
// Units: seconds, bytes as in wrapped_group.h.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "phalanx/comm/wrapped_group.h"

namespace phalanx::comm {

struct Delay {
  double seconds = 0;
  double seconds_per_byte = 0;
};

// Who has come to which operation, and when.
class DelayBoard {
 public:
  using Time = std::chrono::steady_clock::time_point;
  class Meeting {
   public:
    void arrive();
    bool complete() const;
    Time last() const;

   private:
    friend class DelayBoard;
    mutable std::mutex mutex_;
    int missing_ = 0;
    Time last_{};
  };
  // A group, a lane in it (-1 for collectives, from * size + to for messages) and a sequence number.
  using Key = std::tuple<std::string, std::vector<int>, int, int64_t>;
  // Arrives at the meeting of `ranks` ranks.
  std::shared_ptr<Meeting> arrive(const Key& key, int ranks);

 private:
  std::mutex mutex_;
  std::map<Key, std::shared_ptr<Meeting>> open_;
};

class DelayGroup : public WrappedGroup {
 public:
  DelayGroup(std::unique_ptr<Group> inner, std::shared_ptr<DelayBoard> board, Delay delay)
      : WrappedGroup(std::move(inner)), board_(std::move(board)), delay_(delay) {}

 protected:
  WorkPtr around(const Asked& asked, const std::function<WorkPtr()>& start) override;

 private:
  std::shared_ptr<DelayBoard> board_;
  Delay delay_;
  std::map<int, int64_t> next_;  // sequence number by lane
};

}  // namespace phalanx::comm
