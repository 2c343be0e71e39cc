#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <sys/resource.h>

#include <algorithm>

#include "apps/phalanx/bench_verbs.h"
#include "phalanx/arch/pattern.h"
#include "phalanx/base/clock.h"
#include "phalanx/base/error.h"
#include "phalanx/base/json.h"
#include "phalanx/config/flags.h"
#include "phalanx/engine/train_step.h"
#include "phalanx/telemetry/flops.h"
#include "phalanx/tensor/device.h"
#include "phalanx/train/report.h"

namespace phalanx::apps {
namespace {

constexpr const char* kHelp =
    "usage: phalanx bench train [--config PRESET|FILE.toml|RUN] [--steps N] [--warmup N] [--threads N]\n"
    "                           [--micro-batch B] [--dtype fp32|bf16|fp64] [--device cpu|cuda] [--json]\n"
    "Training speed on one repeated random batch; the matrix-product rate is measured between the steps.\n"
    "usage: phalanx bench decode [--config PRESET|FILE.toml|RUN] [--batch B,..] [--context L,..] [--steps N] [--rounds N]\n"
    "                            [--threads N] [--dtype fp32|bf16|fp64] [--json]\n"
    "Time and cache of a greedy step at each batch and context; keys and values before it are random.\n"
    "usage: phalanx bench tokenizer --tokenizer-type T --tokenizer-model M --input FILE.jsonl [--json]\n"
    "Encoding speed of one thread on text that it sees for the first time, setting up included.\n"
    "usage: phalanx bench order --lengths FILE --samples N --seq-length S [--threads N] [--json]\n"
    "Time to build sample and shuffle index; FILE holds document lengths as int32.\n"
    "usage: phalanx bench machine [--out FILE.toml] [--name NAME] [--ranks N] [--json]\n"
    "This machine's products, memory and copies between ranks, as a cluster file for the planner.\n"
    "example: phalanx bench train --config small --threads 1 --json\n";

// The peers' micro-batches for their sizes; any other preset takes 1.
int64_t default_micro_batch(const std::string& config) {
  if (config == "tiny" || config == "small") return 8;
  return config == "base" || config == "mamba2-small" ? 2 : 1;
}

double peak_rss_mb() {
  struct rusage usage {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024.0;
}

// A config section, so that its flags go through the same machinery as a run's.
struct TrainBench {
  std::string config = "small";
  int64_t steps = 10;
  int64_t warmup = 3;
  int64_t threads = 1;
  int64_t micro_batch = 0;
  DtypeKind dtype = DtypeKind::kFp32;
  DeviceKind device = DeviceKind::kCpu;

  template <typename Visitor>
  void visit_fields(Visitor& v) {
    v.field("config", config, "preset, config file or run folder");
    v.field("steps", steps, "timed steps");
    v.field("warmup", warmup, "steps before");
    v.field("threads", threads, "threads");
    v.field("micro_batch", micro_batch, "samples; 0 means the peers' size");
    v.field("dtype", dtype, "dtype of weights and activations");
    v.field("device", device, "where tensors live");
  }
};

std::vector<HostBatch> random_batch(const ModelConfig& m, int64_t samples) {
  HostBatch host;
  host.num_samples = samples;
  const auto rows = static_cast<size_t>(samples * m.seq_length);
  for (size_t i = 0; i < rows; ++i) {
    const uint64_t element = i + i / static_cast<size_t>(m.seq_length);
    const RandomKey key{.seed = 1, .purpose = RandomPurpose::kMockData};
    host.tokens.push_back(philox_u32(key, element) % static_cast<uint64_t>(m.vocab_size));
    host.labels.push_back(philox_u32(key, element + 1) % static_cast<uint64_t>(m.vocab_size));
    host.position.push_back(static_cast<int64_t>(i) % m.seq_length);
  }
  host.label_mask.assign(rows, 1);
  return {host};
}

// Forward and backward; a GPT by paper 1's form, whole square.
double step_flops_of(const ModelConfig& c, int64_t samples) {
  if (!is_transformer(parse_pattern(c.pattern))) return train_flops(c, samples);
  return paper_gpt_flops(samples, c.seq_length, c.num_layers, c.hidden_size, c.vocab_size);
}

Json bench_train(const TrainBench& bench) {
  const ModelConfig model_config = bench_model(bench.config);
  validate(model_config);
  at::set_num_threads(static_cast<int>(bench.threads));
  const at::ScalarType dtype = scalar_type(bench.dtype);
  const at::Device device = checked_device(bench.device == DeviceKind::kCuda);
  const kernels::Gemm gemm;
  const auto group = comm::make_self_group("tp");
  Model model(model_config, {.device = device, .dtype = dtype}, gemm, *group);
  OptimConfig optim;
  Optimizer optimizer(model.parameters(), optim, accumulator_of(dtype));
  const int64_t samples = bench.micro_batch > 0 ? bench.micro_batch : default_micro_batch(bench.config);
  const std::vector<HostBatch> batches = random_batch(model_config, samples);

  std::vector<double> seconds, rates;
  StepContext context{.step = 1, .seed = 1, .lr = 3e-4};
  double first_loss = 0;
  StepOutcome outcome;
  for (int64_t i = 0; i < bench.warmup + bench.steps; ++i) {
    const double before = monotonic_seconds();
    outcome = run_train_step(model, optimizer, batches, context);
    const double took = monotonic_seconds() - before;
    if (i == 0) first_loss = outcome.loss;
    context.step++;
    if (i < bench.warmup) continue;
    seconds.push_back(took);
    rates.push_back(measure_gemm_flops(gemm, dtype, device));
  }
  const double tokens = static_cast<double>(outcome.tokens);
  const double step = median(seconds);
  const double rate = median(rates);
  const double flops = step_flops_of(model_config, samples);
  return {{"script", "phalanx bench train"},
          {"config", bench.config},
          {"threads", bench.threads},
          {"params", model.table().num_parameters()},
          {"tokens_s", tokens / step},
          {"tokens_s_best", tokens / *std::min_element(seconds.begin(), seconds.end())},
          {"step_ms", step * 1e3},
          {"gflops", flops / step * 1e-9},
          {"gemm_gflops", rate * 1e-9},
          {"pct_of_gemm", 100.0 * flops / step / rate},
          {"stash_mb", static_cast<double>(outcome.stash_bytes) / 1048576.0},
          {"rss_mb", peak_rss_mb()},
          {"loss", first_loss},
          {"last_loss", outcome.loss}};
}

}  // namespace

int run_bench(const Arguments& args) {
  const std::string word = sub_verb("bench", args, {"train", "decode", "tokenizer", "order", "machine"});
  if (word == "--help" || std::find(args.begin(), args.end(), "--help") != args.end()) {
    print_line(kHelp);
    return 0;
  }
  const Arguments rest(args.begin() + 1, args.end());
  if (word == "decode") return run_bench_decode(rest);
  if (word == "tokenizer") return run_bench_tokenizer(rest);
  if (word == "order") return run_bench_order(rest);
  if (word == "machine") return run_bench_machine(rest);
  TrainBench bench;
  const ParsedFlags flags = parse_bench_flags(rest, bench);
  if (bench.steps < 1 || bench.warmup < 0 || bench.threads < 1) {
    throw Error(ErrorKind::kUsage, {.where = "phalanx bench train",
                                    .got = "a count that is too small",
                                    .needed = "steps and threads of at least 1, warmup of at least 0",
                                    .fix = "change the flags"});
  }
  const Json result = bench_train(bench);
  if (flags.has("--json")) {
    print_line(result.dump());
  } else {
    for (const auto& [key, value] : result.items()) print_line(key + " " + value.dump());
  }
  return 0;
}

}  // namespace phalanx::apps
