// File: phalanx/data/prefetcher.h
//
// Purpose: items made ahead on a background thread, so that training does not wait for data.
// Contract: next() gives what `produce` returned, in its order; nothing ends the stream. An error of `produce` is thrown
//   by next() after the items before it. At most `depth` finished items wait. depth 0 calls produce inside next().
//   `produce` runs on one thread at a time and must not touch what the consumer changes.
// Units: waited_seconds is the time that next() spent waiting, since the start.
// Example: Prefetcher<Step> steps([&] { return make(position++); }, 2); while (auto s = steps.next()) train(*s);
#pragma once

#include <functional>
#include <optional>
#include <thread>
#include <utility>

#include "phalanx/base/clock.h"
#include "phalanx/base/threads.h"

namespace phalanx {

template <typename Item>
class Prefetcher {
 public:
  Prefetcher(std::function<std::optional<Item>()> produce, int64_t depth)
      : produce_(std::move(produce)), ready_(static_cast<size_t>(depth)) {
    if (depth > 0) thread_ = std::thread([this] { run(); });
  }
  ~Prefetcher() {
    ready_.close();
    if (thread_.joinable()) thread_.join();
  }
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  std::optional<Item> next() {
    const double before = monotonic_seconds();
    std::optional<Item> item = thread_.joinable() ? ready_.pop() : produce_();
    waited_ += monotonic_seconds() - before;
    return item;
  }

  double waited_seconds() const { return waited_; }

 private:
  void run() {
    try {
      while (std::optional<Item> item = produce_()) {
        if (!ready_.push(std::move(*item))) return;
      }
      ready_.close();
    } catch (...) {
      ready_.fail(std::current_exception());
    }
  }

  std::function<std::optional<Item>()> produce_;
  Channel<Item> ready_;
  std::thread thread_;
  double waited_ = 0;
};

}  // namespace phalanx
