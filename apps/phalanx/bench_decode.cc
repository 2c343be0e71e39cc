#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "apps/phalanx/bench_verbs.h"
#include "phalanx/base/clock.h"
#include "phalanx/base/error.h"
#include "phalanx/base/json.h"
#include "phalanx/config/flags.h"
#include "phalanx/model/model.h"
#include "phalanx/train/run_config.h"

namespace phalanx::apps {
namespace {

struct DecodeBench {
  std::string config = "small";
  std::vector<int64_t> batch = {1};
  std::vector<int64_t> context = {128};
  int64_t steps = 64;
  int64_t rounds = 3;
  int64_t threads = 1;
  DtypeKind dtype = DtypeKind::kFp32;

  template <typename Visitor>
  void visit_fields(Visitor& v) {
    v.field("config", config, "preset, config file or run folder");
    v.field("batch", batch, "sequences at a time; several with commas");
    v.field("context", context, "tokens before the first timed one; several with commas");
    v.field("steps", steps, "timed steps of a round");
    v.field("rounds", rounds, "rounds; the median counts");
    v.field("threads", threads, "threads");
    v.field("dtype", dtype, "dtype of weights and activations");
  }
};

// Sequences that stand at the same length, made of random tokens.
class Sequences {
 public:
  Sequences(Model& model, int64_t count) : model_(model), cache_(model.make_cache()) {
    for (int64_t i = 0; i < count; ++i) slots_.push_back(cache_.new_slot());
    tokens_ = at::randint(model.config().vocab_size, {count}, at::TensorOptions(at::kLong));
  }

  // Attention reads this many more random keys and values; a state stays as large as it is and holds random numbers, too.
  void lengthen(int64_t to) {
    const int64_t rows = to - length_;
    if (rows <= 0) return;
    for (size_t layer = 0; layer < cache_.shapes().size(); ++layer) {
      const Cache::LayerShape& shape = cache_.shapes()[layer];
      if (!shape.state.empty()) {
        cache_.windows(static_cast<int64_t>(layer)).normal_();
        cache_.states(static_cast<int64_t>(layer)).normal_();
      }
      if (shape.groups == 0) continue;
      for (const int64_t slot : slots_) {
        const auto fresh = [&] {
          return at::randn({rows, shape.groups, shape.head_dim}, at::TensorOptions(model_.dtype()));
        };
        cache_.append(static_cast<int64_t>(layer), slot, fresh(), fresh());
      }
    }
    length_ = to;
  }

  void step() {
    Batch batch;
    batch.num_samples = 1;
    batch.seq_length = length_ + 1;
    batch.tokens = tokens_;
    batch.position = at::full_like(tokens_, length_++);
    batch.token_id = batch.position;
    batch.slot = at::tensor(slots_, at::TensorOptions(at::kLong));
    Side side;
    tokens_ = model_.step(batch, side, cache_).argmax(1);
  }

  int64_t cache_bytes() const { return cache_.bytes_in_use(); }

 private:
  Model& model_;
  Cache cache_;
  std::vector<int64_t> slots_;
  Tensor tokens_;
  int64_t length_ = 0;
};

Json measure(Model& model, const DecodeBench& bench, int64_t batch, int64_t context) {
  Sequences sequences(model, batch);
  sequences.lengthen(context);
  sequences.step();  // buffers of the first step
  std::vector<double> seconds;
  for (int64_t round = 0; round < bench.rounds; ++round) {
    const double before = monotonic_seconds();
    for (int64_t i = 0; i < bench.steps; ++i) sequences.step();
    seconds.push_back((monotonic_seconds() - before) / static_cast<double>(bench.steps));
  }
  const double step = median(seconds);
  return {{"batch", batch},
          {"context", context},
          {"step_ms", step * 1e3},
          {"tokens_s", static_cast<double>(batch) / step},
          {"cache_mb", static_cast<double>(sequences.cache_bytes()) / 1048576.0}};
}

Json bench_decode(const DecodeBench& bench) {
  const c10::NoGradGuard no_grad;
  ModelConfig config = bench_model(bench.config);
  const int64_t longest = *std::ranges::max_element(bench.context) + bench.rounds * bench.steps + 1;
  config.max_position_embeddings = std::max(config.max_position_embeddings, longest);
  finalize(config);
  validate(config);
  at::set_num_threads(static_cast<int>(bench.threads));
  const kernels::Gemm gemm;
  const auto group = comm::make_self_group("tp");
  Model model(config, {.dtype = scalar_type(bench.dtype)}, gemm, *group);
  Json rows = Json::array();
  for (const int64_t batch : bench.batch) {
    for (const int64_t context : bench.context) rows.push_back(measure(model, bench, batch, context));
  }
  return {{"script", "phalanx bench decode"},
          {"config", bench.config},
          {"threads", bench.threads},
          {"params", model.table().num_parameters()},
          {"rows", rows}};
}

void check(const DecodeBench& bench) {
  const auto positive = [](const std::vector<int64_t>& values) {
    return !values.empty() && *std::ranges::min_element(values) >= 1;
  };
  if (positive(bench.batch) && positive(bench.context) && bench.steps > 0 && bench.rounds > 0 &&
      bench.threads > 0) {
    return;
  }
  throw Error(ErrorKind::kUsage, {.where = "phalanx bench decode",
                                  .got = "a count that is too small",
                                  .needed = "sequences, contexts, steps, rounds and threads of at least 1",
                                  .fix = "change the flags"});
}

}  // namespace

int run_bench_decode(const Arguments& args) {
  DecodeBench bench;
  const ParsedFlags flags = parse_bench_flags(args, bench);
  check(bench);
  const Json result = bench_decode(bench);
  if (flags.has("--json")) {
    print_line(result.dump());
    return 0;
  }
  print_line(
      fmt::format("{:>6} {:>8} {:>10} {:>10} {:>10}", "batch", "context", "ms/step", "tokens/s", "cache MB"));
  for (const Json& row : result["rows"]) {
    print_line(fmt::format("{:>6} {:>8} {:>10.3f} {:>10.1f} {:>10.2f}", row["batch"].get<int64_t>(),
                           row["context"].get<int64_t>(), row["step_ms"].get<double>(),
                           row["tokens_s"].get<double>(), row["cache_mb"].get<double>()));
  }
  return 0;
}

}  // namespace phalanx::apps
