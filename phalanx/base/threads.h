// File: phalanx/base/threads.h
//
// Purpose: threads for the pure tier: a loop cut over threads, a bounded channel between two of them, and an ordered
//   pipeline (read, work on many threads, write in order). The tensor tier uses LibTorch's own pool instead.
// Contract: what the caller can see never depends on the number of threads: loops have fixed cuts, pipelines deliver
//   in input order. The first exception (of the lowest index, where several throw) ends the job and is thrown again in
//   the caller after every thread has stopped. threads == 1 starts none. Bodies must not touch shared state unlocked.
// Units: threads; 0 asks for every core that this process may use.
// Example: parallel_ranges(n, threads, [&](int, int64_t begin, int64_t end) { ... });
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace phalanx {

// The cores that the scheduler lets this process use, or `requested` when it is not 0.
int thread_count(int64_t requested);

// body(thread, begin, end) for `threads` consecutive ranges of [0, count), each within one of the others in size.
void parallel_ranges(int64_t count, int threads, const std::function<void(int, int64_t, int64_t)>& body);

// body(i) for each i in [0, count), handed out one by one: for items of unequal cost.
void parallel_for(int64_t count, int threads, const std::function<void(int64_t)>& body);

// First in, first out, at most `capacity` items. push waits for room, pop for an item. After close(), push refuses and
// pop hands out what is left; after fail(), push throws at once and pop after what is left.
template <typename T>
class Channel {
 public:
  explicit Channel(size_t capacity) : capacity_(capacity == 0 ? 1 : capacity) {}

  bool push(T item) {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [&] { return closed_ || items_.size() < capacity_; });
    if (error_) std::rethrow_exception(error_);
    if (closed_) return false;
    items_.push_back(std::move(item));
    ready_.notify_one();
    return true;
  }

  std::optional<T> pop() {
    std::unique_lock lock(mutex_);
    ready_.wait(lock, [&] { return closed_ || !items_.empty(); });
    if (items_.empty() && error_) std::rethrow_exception(error_);
    if (items_.empty()) return std::nullopt;
    T item = std::move(items_.front());
    items_.pop_front();
    room_.notify_one();
    return item;
  }

  void close() { fail(nullptr); }
  void fail(std::exception_ptr error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
    closed_ = true;
    room_.notify_all();
    ready_.notify_all();
  }

  size_t size() const {
    const std::lock_guard lock(mutex_);
    return items_.size();
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable room_, ready_;
  std::deque<T> items_;
  std::exception_ptr error_;
  size_t capacity_;
  bool closed_ = false;
};

// Calls source() on one thread at a time until it returns nothing, work(item) on `threads` threads, and sink(result)
// in the caller's thread, in the order of the source. At most `in_flight` items exist at once, so memory is bounded
// even when one item is slow.
template <typename In, typename Out>
class OrderedPipeline {
 public:
  OrderedPipeline(int threads, int64_t in_flight) : threads_(threads), in_flight_(in_flight) {}

  void run(const std::function<std::optional<In>()>& source, const std::function<Out(In)>& work,
           const std::function<void(Out)>& sink) {
    if (threads_ <= 1) {
      while (std::optional<In> item = source()) sink(work(std::move(*item)));
      return;
    }
    std::vector<std::jthread> pool;
    const Joiner joiner{*this, pool};
    for (int t = 0; t < threads_; ++t) pool.emplace_back([&] { worker(source, work); });
    while (std::optional<Out> result = next()) sink(std::move(*result));
  }

 private:
  struct Joiner {  // a sink that throws still stops the pool before its stack goes
    OrderedPipeline& pipeline;
    std::vector<std::jthread>& pool;
    ~Joiner() {
      pipeline.stop();
      pool.clear();
    }
  };

  void worker(const std::function<std::optional<In>()>& source, const std::function<Out(In)>& work) {
    while (true) {
      std::optional<In> item;
      int64_t index = 0;
      {
        // The source has a lock of its own, so that results can be taken while it reads.
        const std::lock_guard reading(source_mutex_);
        {
          std::unique_lock lock(mutex_);
          changed_.wait(lock, [&] { return stopped_ || taken_ - delivered_ < in_flight_; });
          if (stopped_ || ended_) return;
          index = taken_;
        }
        try {
          item = source();
        } catch (...) {
          keep_error(index, std::current_exception());
          return;
        }
        const std::lock_guard lock(mutex_);
        if (!item) {
          ended_ = true;
          changed_.notify_all();
          return;
        }
        ++taken_;
      }
      try {
        Out out = work(std::move(*item));
        const std::lock_guard lock(mutex_);
        results_.emplace(index, std::move(out));
      } catch (...) {
        keep_error(index, std::current_exception());
      }
      changed_.notify_all();
    }
  }

  // An error waits for its turn: everything before it is delivered first, as with one thread.
  void keep_error(int64_t index, std::exception_ptr error) {
    const std::lock_guard lock(mutex_);
    errors_.emplace(index, std::move(error));
    ended_ = true;
    if (taken_ <= index) taken_ = index + 1;
    changed_.notify_all();
  }

  std::optional<Out> next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] {
      return results_.count(delivered_) != 0 || errors_.count(delivered_) != 0 ||
             (ended_ && delivered_ == taken_);
    });
    if (const auto error = errors_.find(delivered_); error != errors_.end())
      std::rethrow_exception(error->second);
    const auto result = results_.find(delivered_);
    if (result == results_.end()) return std::nullopt;
    Out out = std::move(result->second);
    results_.erase(result);
    ++delivered_;
    changed_.notify_all();
    return out;
  }

  void stop() {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    changed_.notify_all();
  }

  int threads_;
  int64_t in_flight_;
  std::mutex source_mutex_, mutex_;
  std::condition_variable changed_;
  std::map<int64_t, Out> results_;
  std::map<int64_t, std::exception_ptr> errors_;
  int64_t taken_ = 0, delivered_ = 0;
  bool ended_ = false, stopped_ = false;
};

}  // namespace phalanx
