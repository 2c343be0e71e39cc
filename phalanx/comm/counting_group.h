// File: phalanx/comm/counting_group.h
//
// Purpose: how often a rank calls each operation, and over how many bytes: what a layout's communication is tested by.
// Contract: wrapped_group.h. A counter may be shared by several groups and read by any thread.
// Units: calls; bytes as in wrapped_group.h.
// Example:
//   auto counter = std::make_shared<CallCounter>();
//   auto tp = std::make_unique<CountingGroup>(world.group(rank, "tp", ranks), counter);
//   ...
//   EXPECT_EQ(counter->calls(OpKind::kAllReduce), 4 * layers);
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "phalanx/comm/wrapped_group.h"

namespace phalanx::comm {

class CallCounter {
 public:
  void add(OpKind kind, int64_t bytes);
  int64_t calls(OpKind kind) const { return calls_[static_cast<size_t>(kind)]; }
  int64_t bytes(OpKind kind) const { return bytes_[static_cast<size_t>(kind)]; }
  int64_t calls() const;  // of every kind
  void reset();
  std::string text() const;  // "2 x all_reduce of 512 bytes in all, .."

 private:
  std::array<std::atomic<int64_t>, kOpKinds> calls_{}, bytes_{};
};

class CountingGroup : public WrappedGroup {
 public:
  CountingGroup(std::unique_ptr<Group> inner, std::shared_ptr<CallCounter> counter)
      : WrappedGroup(std::move(inner)), counter_(std::move(counter)) {}

 protected:
  WorkPtr around(const Asked& asked, const std::function<WorkPtr()>& start) override;

 private:
  std::shared_ptr<CallCounter> counter_;
};

}  // namespace phalanx::comm
