// Speed of the ranks that are threads: comm_bench [RANKS] [SECONDS A MEASUREMENT]
//
// One line an operation and size: milliseconds a call, the best and the median of the rounds. A size is that of the whole
// buffer of a rank: the tensor of all_reduce, broadcast and messages, `out` of all_gather, `in` of reduce_scatter. A message
// is half of a round trip between ranks 0 and 1 while the others wait in a barrier. The lines at the end compare the
// all_reduce of 64 MiB with what the memory allows: it reads and writes the buffer of every rank once.
#include <ATen/ATen.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "phalanx/base/clock.h"
#include "phalanx/base/threads.h"
#include "phalanx/comm/local.h"

namespace phalanx::comm {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

struct Timing {
  double best = 0, median = 0;  // seconds
};

Timing timing_of(std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  return {.best = seconds.front(), .median = seconds[seconds.size() / 2]};
}

// Rank 0 measures rounds of a few calls, which all ranks make, until `budget` seconds are over.
Timing measure(Group& group, double budget, const std::function<void()>& call) {
  std::vector<double> rounds;
  Tensor go_on = at::ones({1}, at::kInt), calls = at::ones({1}, at::kInt);
  call();
  double began = monotonic_seconds();
  call();
  if (group.rank() == 0) {
    const double once = std::max(monotonic_seconds() - began, 1e-7);
    calls.fill_(std::clamp(static_cast<int>(0.02 / once), 1, 2000));
  }
  group.broadcast(calls, 0);
  const int count = calls.item<int>();
  const double end = monotonic_seconds() + budget;
  while (go_on.item<int>() != 0) {
    group.barrier();
    began = monotonic_seconds();
    for (int i = 0; i < count; ++i) call();
    group.barrier();
    rounds.push_back((monotonic_seconds() - began) / count);
    if (group.rank() == 0) go_on.fill_(monotonic_seconds() < end || rounds.size() < 3 ? 1 : 0);
    group.broadcast(go_on, 0);
  }
  return timing_of(rounds);
}

struct Operation {
  const char* name;
  at::ScalarType dtype;
  std::function<void(Group&, Tensor& whole, Tensor& other, Tensor& part)> call;
};

std::vector<Operation> operations() {
  const auto all_reduce = [](Group& g, Tensor& whole, Tensor&, Tensor&) { g.all_reduce(whole); };
  return {
      {"all_reduce f32", at::kFloat, all_reduce},
      {"all_reduce bf16", at::kBFloat16, all_reduce},
      {"reduce_scatter f32", at::kFloat,
       [](Group& g, Tensor& whole, Tensor&, Tensor& part) { g.reduce_scatter(part, whole); }},
      {"all_gather f32", at::kFloat,
       [](Group& g, Tensor& whole, Tensor&, Tensor& part) { g.all_gather(whole, part); }},
      {"all_to_all f32", at::kFloat,
       [](Group& g, Tensor& whole, Tensor& other, Tensor&) { g.all_to_all(other, whole); }},
      {"broadcast f32", at::kFloat, [](Group& g, Tensor& whole, Tensor&, Tensor&) { g.broadcast(whole, 0); }},
      {"ring f32", at::kFloat,
       [](Group& g, Tensor& whole, Tensor& other, Tensor&) {
         const WorkPtr sent = g.start_send(whole, (g.rank() + 1) % g.size());
         g.recv(other, (g.rank() + g.size() - 1) % g.size());
         sent->wait();
       }},
  };
}

void print(const char* name, int ranks, int64_t bytes, const Timing& t) {
  std::printf("%-20s ranks %d  %9lld bytes  best %9.4f ms  median %9.4f ms\n", name, ranks,
              static_cast<long long>(bytes), t.best * 1e3, t.median * 1e3);
  std::fflush(stdout);
}

Timing run_operation(LocalWorld& world, const Operation& operation, int64_t bytes, double budget) {
  Timing result;
  run_ranks(world, [&](int rank) {
    std::vector<int> ranks;
    for (int r = 0; r < world.size(); ++r) ranks.push_back(r);
    const auto group = world.group(rank, "all", ranks);
    const int64_t count = bytes / static_cast<int64_t>(c10::elementSize(operation.dtype));
    // Zeros stay zeros however often they are summed.
    Tensor whole = at::zeros({count}, operation.dtype), other = at::zeros_like(whole);
    Tensor part = at::zeros({count / world.size()}, operation.dtype);
    const Timing t = measure(*group, budget, [&] { operation.call(*group, whole, other, part); });
    if (rank == 0) result = t;
  });
  return result;
}

Timing run_message(int64_t bytes, double budget) {
  Timing result;
  LocalWorld world(2);
  run_ranks(world, [&](int rank) {
    const auto group = world.group(rank, "all", {0, 1});
    Tensor x = at::zeros({bytes}, at::kByte);
    const Timing t = measure(*group, budget, [&] {
      if (rank == 0) {
        group->send(x, 1);
        group->recv(x, 1);
      } else {
        group->recv(x, 0);
        group->send(x, 0);
      }
    });
    if (rank == 0) result = {.best = t.best / 2, .median = t.median / 2};
  });
  return result;
}

// bytes/s of all cores together in a = b + s c, over arrays that no cache holds.
double triad_rate(int cores, double budget) {
  constexpr size_t kCount = size_t{12} << 20;
  std::vector<std::vector<double>> a(static_cast<size_t>(cores)), b = a, c = a;
  const auto on_all = [cores](const std::function<void(size_t)>& body) {
    std::vector<std::jthread> threads;
    for (int t = 0; t < cores; ++t) threads.emplace_back([&body, t] { body(static_cast<size_t>(t)); });
  };
  on_all([&](size_t t) {
    a[t].assign(kCount, 0);
    b[t].assign(kCount, 1);
    c[t].assign(kCount, 2);
  });
  double best = 1e9;
  const double end = monotonic_seconds() + budget;
  for (int round = 0; round < 5 || monotonic_seconds() < end; ++round) {
    const double began = monotonic_seconds();
    on_all([&](size_t t) {
      double* to = a[t].data();
      const double* x = b[t].data();
      const double* y = c[t].data();
      for (size_t i = 0; i < kCount; ++i) to[i] = x[i] + 3.0 * y[i];
    });
    best = std::min(best, monotonic_seconds() - began);
  }
  return 3.0 * sizeof(double) * static_cast<double>(kCount) * cores / best;
}

void run(int ranks, double budget) {
  LocalWorld world(ranks);
  const int cores = thread_count(0);
  double triad = triad_rate(cores, budget);
  for (const int64_t bytes : {int64_t{4096}, kMiB / 4, 4 * kMiB, 64 * kMiB}) {
    for (const Operation& operation : operations())
      print(operation.name, ranks, bytes, run_operation(world, operation, bytes, budget));
    print("message", 2, bytes, run_message(bytes, budget));
  }
  const double bytes = 2.0 * ranks * 64.0 * static_cast<double>(kMiB);
  const Timing t = run_operation(world, operations()[0], 64 * kMiB, 3 * budget);
  triad = std::max(triad, triad_rate(cores, budget));
  std::printf(
      "triad of %d cores %.2f GB/s; all_reduce f32 of 64 MiB at %d ranks: best %.2f ms, median %.2f ms\n",
      cores, triad * 1e-9, ranks, t.best * 1e3, t.median * 1e3);
  std::printf("over 2 n bytes / triad = %.2f ms: best %.2f, median %.2f (bar: 2)\n", bytes / triad * 1e3,
              t.best / (bytes / triad), t.median / (bytes / triad));
}

}  // namespace
}  // namespace phalanx::comm

int main(int argc, char** argv) {
  const int ranks = argc > 1 ? std::atoi(argv[1]) : 4;
  const double budget = argc > 2 ? std::atof(argv[2]) : 0.5;
  if (ranks < 2 || budget <= 0) {
    std::fprintf(stderr, "usage: comm_bench [RANKS, at least 2] [SECONDS A MEASUREMENT]\n");
    return 2;
  }
  phalanx::comm::run(ranks, budget);
  return 0;
}
