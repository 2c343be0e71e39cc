// Measures this machine as a cluster of one node whose ranks are its cores, for the planner.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cstring>
#include <fstream>
#include <thread>

#include "apps/phalanx/bench_verbs.h"
#include "apps/phalanx/data_verbs.h"
#include "phalanx/base/clock.h"
#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"
#include "phalanx/base/threads.h"
#include "phalanx/config/config_tree.h"
#include "phalanx/plan/cluster.h"
#include "phalanx/telemetry/human.h"
#include "phalanx/telemetry/progress.h"
#include "phalanx/train/report.h"

namespace phalanx::apps {
namespace {

constexpr double kMiB = 1048576.0;
constexpr int kRounds = 5;
constexpr size_t kTriadBytes = size_t{64} << 20;      // an array, at least
constexpr size_t kTriadBytesACore = size_t{8} << 20;  // so that many cores' caches do not hold it
constexpr size_t kCopyBytes = size_t{16} << 20;       // a message
constexpr int kPings = 20000;
constexpr int kBarriers = 2000;

double four_digits(double value) {
  return parse_number(fmt::format("{:.4g}", value)).value();
}

// The name that the kernel gives the processor.
std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "an unnamed processor";
}

// What this process may use: the machine's, or its control group's where that is less.
int64_t memory_bytes() {
  int64_t bytes = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE);
  std::ifstream file("/sys/fs/cgroup/memory.max");
  if (int64_t limit = 0; file >> limit && limit > 0) bytes = std::min(bytes, limit);
  return bytes;
}

// Seconds of the fastest round, from when the first thread starts until the last one is done. prepare(t) is not timed.
double fastest_round(int threads, const std::function<void(int)>& prepare,
                     const std::function<void(int)>& work) {
  std::barrier together(threads);
  double best = 1e9;
  parallel_ranges(threads, threads, [&](int t, int64_t, int64_t) {
    for (int round = 0; round < kRounds; ++round) {
      prepare(t);
      together.arrive_and_wait();
      const double before = monotonic_seconds();
      work(t);
      together.arrive_and_wait();
      if (t == 0) best = std::min(best, monotonic_seconds() - before);
    }
  });
  return best;
}

// FLOP/s of each of `ranks` cores when all multiply at once.
double product_rate(int ranks) {
  const kernels::Gemm gemm;
  std::vector<double> rates(static_cast<size_t>(ranks), 0);
  fastest_round(
      ranks, [](int) { at::set_num_threads(1); },  // of the calling thread
      [&](int t) {
        double& rate = rates[static_cast<size_t>(t)];
        rate = std::max(rate, measure_gemm_flops(gemm, at::kFloat, at::kCPU));
      });
  double sum = 0;
  for (const double rate : rates) sum += rate;
  return sum / ranks;
}

// bytes/s of each of `ranks` cores in a = b + s c, two reads and a write.
double triad_rate(int ranks) {
  const size_t bytes = std::max(kTriadBytes, kTriadBytesACore * static_cast<size_t>(ranks));
  const size_t count = bytes / sizeof(double) / static_cast<size_t>(ranks);
  struct Arrays {
    std::vector<double> a, b, c;
  };
  std::vector<Arrays> arrays(static_cast<size_t>(ranks));
  const double seconds = fastest_round(
      ranks,
      [&](int t) {
        Arrays& mine = arrays[static_cast<size_t>(t)];
        if (mine.a.empty())
          mine = {std::vector<double>(count, 0), std::vector<double>(count, 1),
                  std::vector<double>(count, 2)};
      },
      [&](int t) {
        Arrays& mine = arrays[static_cast<size_t>(t)];
        double* a = mine.a.data();
        const double* b = mine.b.data();
        const double* c = mine.c.data();
        for (size_t i = 0; i < count; ++i) a[i] = b[i] + 3.0 * c[i];
      });
  PHALANX_CHECK(arrays[0].a.back() == 7.0, "the triad ran");
  return 3 * sizeof(double) * static_cast<double>(count) / seconds;
}

// bytes/s that each rank receives when every one copies what its neighbour has just written.
double copy_rate(int ranks) {
  const auto n = static_cast<size_t>(ranks);
  std::vector<std::vector<char>> sent(n), received(n);
  const double seconds = fastest_round(
      ranks,
      [&](int t) {
        sent[static_cast<size_t>(t)].assign(kCopyBytes, static_cast<char>(t));
        received[static_cast<size_t>(t)].resize(kCopyBytes);
      },
      [&](int t) {
        const auto mine = static_cast<size_t>(t);
        std::memcpy(received[mine].data(), sent[(mine + 1) % n].data(), kCopyBytes);
      });
  PHALANX_CHECK(received[0].back() == static_cast<char>(1 % ranks), "the copy arrived");
  return static_cast<double>(kCopyBytes) / seconds;
}

// Seconds one way: a word goes back and forth between two threads.
double ping_seconds() {
  std::atomic<int> ball = 0;
  const auto play = [&](int side) {
    for (int i = 0; i < kPings; ++i) {
      for (int waited = 0; ball.load(std::memory_order_acquire) != 2 * i + side; ++waited) {
        if (waited > 1000) std::this_thread::yield();
      }
      ball.store(2 * i + side + 1, std::memory_order_release);
    }
  };
  const double before = monotonic_seconds();
  std::jthread other(play, 1);
  play(0);
  other.join();
  return (monotonic_seconds() - before) / (2.0 * kPings);
}

// Seconds of a barrier of all ranks.
double barrier_seconds(int ranks) {
  std::barrier together(ranks);
  const double seconds = fastest_round(
      ranks, [](int) {},
      [&](int) {
        for (int i = 0; i < kBarriers; ++i) together.arrive_and_wait();
      });
  return seconds / kBarriers;
}

class Measurement {
 public:
  explicit Measurement(std::string name)
      : bar_(
            {.title = "measuring", .total = 7, .unit = ProgressUnit::kItems, .terminal = stderr_terminal()},
            [](std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); },
            monotonic_seconds) {
    cluster_.name = std::move(name);
    measured_ = fmt::format("measured on {} {:%Y-%m-%d} by phalanx bench machine: ", cpu_name(),
                            fmt::gmtime(static_cast<std::time_t>(wall_seconds())));
  }

  Cluster run(int ranks) {
    counts(ranks);
    const double alone = step([] { return product_rate(1); });
    set("peak_flops", cluster_.peak_flops, alone, "fp32 products of 768 x 768 on one core");
    const double products = step([&] { return product_rate(ranks); });
    set("matmul_efficiency", cluster_.matmul_efficiency, share(products, alone),
        "the same with every core at it");
    const double triad = step([] { return triad_rate(1); });
    set("memory_bandwidth", cluster_.memory_bandwidth, triad,
        fmt::format("a triad over arrays of {:.0f} MiB or more on one core",
                    static_cast<double>(kTriadBytes) / kMiB));
    const double triads = step([&] { return triad_rate(ranks); });
    set("memory_efficiency", cluster_.memory_efficiency, share(triads, triad),
        "the same with every core at it");
    const double copy = step([&] { return copy_rate(ranks); });
    set("intra_bandwidth", cluster_.intra_bandwidth, copy,
        fmt::format("each thread copies {:.0f} MiB that its neighbour wrote",
                    static_cast<double>(kCopyBytes) / kMiB));
    const double ping = step([] { return ping_seconds(); });
    set("intra_latency", cluster_.intra_latency, ping, "a word between two threads and back, halved");
    const double barrier = step([&] { return barrier_seconds(ranks); });
    set("launch_latency", cluster_.launch_latency, barrier, "a barrier of all ranks");
    set("intra_efficiency", cluster_.intra_efficiency, 1, "intra_bandwidth is what copies attain");
    no_network();
    bar_.finish();
    check_cluster(cluster_);
    return cluster_;
  }

 private:
  template <typename Work>
  double step(const Work& work) {
    const double value = work();
    bar_.update(++done_);
    return value;
  }

  static double share(double of_all, double alone) { return std::min(of_all / alone, 1.2); }

  void set(const std::string& field, double& storage, double value, const std::string& how) {
    storage = four_digits(value);
    cluster_.source[field] = measured_ + how;
  }

  void counts(int ranks) {
    cluster_.nodes = 1;
    cluster_.source["nodes"] = measured_ + "this machine alone";
    cluster_.gpus_per_node = ranks;
    cluster_.source["gpus_per_node"] = measured_ + "a rank is a core that this process may use";
    cluster_.multiprocessors = 1;
    cluster_.source["multiprocessors"] = measured_ + "a rank is one core";
    cluster_.memory_bytes = memory_bytes() / ranks;
    cluster_.source["memory_bytes"] = measured_ + "a rank's part of what this process may use";
  }

  void no_network() {
    const std::string never = "not " + measured_ + "one node has no other; that inside the node";
    cluster_.nics_per_node = 1;
    cluster_.inter_bandwidth = cluster_.intra_bandwidth;
    cluster_.inter_latency = cluster_.intra_latency;
    cluster_.inter_efficiency = cluster_.intra_efficiency;
    for (const char* field : {"nics_per_node", "inter_bandwidth", "inter_latency", "inter_efficiency"}) {
      cluster_.source[field] = never;
    }
  }

  Cluster cluster_;
  std::string measured_;
  ProgressBar bar_;
  double done_ = 0;
};

Json to_json(Cluster cluster) {
  Json json;
  for (const FieldRef& field : collect_fields(cluster)) {
    const ConfigScalar scalar = field.value().items.at(0);
    std::visit(Overloaded{[&](const auto& value) { json[field.name()] = value; },
                          [&](std::monostate) { json[field.name()] = nullptr; }},
               scalar);
  }
  json["source"] = cluster.source;
  return json;
}

void print_cluster(const Cluster& c) {
  print_line(fmt::format("machine      {}: {} rank{} of one core, {} each", c.name, c.gpus_per_node,
                         c.gpus_per_node == 1 ? "" : "s", human_bytes(static_cast<double>(c.memory_bytes))));
  print_line(fmt::format("products     {:.1f} GFLOP/s a core, {} of it with all at work", c.peak_flops * 1e-9,
                         human_percent(c.matmul_efficiency)));
  print_line(fmt::format("memory       {}/s a core, {} of it with all at work",
                         human_bytes(c.memory_bandwidth), human_percent(c.memory_efficiency)));
  print_line(fmt::format("rank to rank {}/s, {:.2f} us a message, {:.2f} us a barrier",
                         human_bytes(c.intra_bandwidth), c.intra_latency * 1e6, c.launch_latency * 1e6));
}

}  // namespace

int run_bench_machine(const Arguments& args) {
  const ParsedFlags flags = parse_flags(
      args, ConfigTree(),
      {.aliases = {{"--out", ""}, {"--name", ""}, {"--ranks", ""}, {"--json", "", FlagKind::kSwitch}},
       .megatron = false});
  const std::string out = flags.option("--out");
  if (flags.has("--out") && !out.ends_with(".toml")) {
    throw Error(ErrorKind::kUsage, {.where = "--out",
                                    .got = "'" + out + "'",
                                    .needed = "a name that ends in .toml",
                                    .fix = "--cluster reads such files"});
  }
  const int64_t ranks = whole_number(flags, "--ranks", "0");
  if (ranks > 4096 || !flags.positionals.empty()) {
    throw Error(ErrorKind::kUsage,
                {.where = "phalanx bench machine",
                 .got = ranks > 4096 ? "--ranks above 4096" : "'" + flags.positionals[0] + "'",
                 .needed = "flags only, at most 4096 ranks",
                 .fix = "phalanx bench --help"});
  }
  const Cluster cluster = Measurement(flags.option("--name", "this-machine")).run(thread_count(ranks));
  if (flags.has("--out")) write_file_atomic(out, to_toml(cluster));
  if (flags.has("--json")) {
    print_line(to_json(cluster).dump());
  } else {
    print_cluster(cluster);
    if (flags.has("--out")) print_line("written to   " + out);
  }
  return 0;
}

}  // namespace phalanx::apps
