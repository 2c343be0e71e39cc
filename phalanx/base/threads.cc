#include "phalanx/base/threads.h"

#include <sched.h>

#include <algorithm>
#include <atomic>

namespace phalanx {
namespace {

// Runs job(t) on threads 0 .. threads - 1, the caller being thread 0, and throws the error of the lowest t.
void run_threads(int threads, const std::function<void(int)>& job) {
  std::vector<std::exception_ptr> errors(static_cast<size_t>(threads));
  const auto guarded = [&](int t) {
    try {
      job(t);
    } catch (...) {
      errors[static_cast<size_t>(t)] = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> pool;
    for (int t = 1; t < threads; ++t) pool.emplace_back(guarded, t);
    guarded(0);
  }
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace

int thread_count(int64_t requested) {
  if (requested > 0) return static_cast<int>(requested);
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

void parallel_ranges(int64_t count, int threads, const std::function<void(int, int64_t, int64_t)>& body) {
  const int used = static_cast<int>(std::clamp<int64_t>(threads, 1, std::max<int64_t>(count, 1)));
  const auto bound = [&](int t) { return count / used * t + std::min<int64_t>(count % used, t); };
  run_threads(used, [&](int t) { body(t, bound(t), bound(t + 1)); });
}

void parallel_for(int64_t count, int threads, const std::function<void(int64_t)>& body) {
  const int used = static_cast<int>(std::clamp<int64_t>(threads, 1, std::max<int64_t>(count, 1)));
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  std::map<int64_t, std::exception_ptr> errors;
  run_threads(used, [&](int) {
    for (int64_t i = next++; i < count; i = next++) {
      try {
        body(i);
      } catch (...) {
        next = count;  // nobody starts another one
        const std::lock_guard lock(mutex);
        errors.emplace(i, std::current_exception());
        return;
      }
    }
  });
  if (!errors.empty()) std::rethrow_exception(errors.begin()->second);
}

}  // namespace phalanx
