// What a step really holds for its backward, against what the planner says it holds: every rank's peak, label by label, under
// every policy of recomputation, tensor and sequence parallelism and every schedule; and pairs in flight against the
// schedule's own count.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <map>

#include "phalanx/base/philox.h"
#include "phalanx/kernels/selective_scan/selective_scan.h"
#include "phalanx/mesh/plan_mesh.h"
#include "phalanx/pipeline/generate.h"
#include "phalanx/plan/memory.h"
#include "phalanx/train/rank_layout.h"
#include "phalanx/train/verify_layout.h"

namespace phalanx {
namespace {

constexpr int64_t kLength = 16;
constexpr int64_t kMicroBatches = 8;
constexpr double kBar = 0.005;
static_assert(kMamba1StateTokens == kernels::kScanChunk);

struct Family {
  const char* name;
  void (*set)(ModelConfig& c);
};

const std::vector<Family>& families() {
  static const std::vector<Family> list = {
      {"gpt", [](ModelConfig& c) { c.hidden_dropout = c.attention_dropout = 0.1; }},
      {"llama",
       [](ModelConfig& c) {
         c.normalization = NormKind::kRmsNorm;
         c.activation = ActivationKind::kSwiglu;
         c.ffn_hidden_size = 40;
         c.position_embedding = PositionKind::kRope;
         c.num_query_groups = 2;
         c.bias = false;
         c.tied_embeddings = false;
       }},
      {"one key group, q and k normed",
       [](ModelConfig& c) {
         c.num_query_groups = 1;
         c.qk_norm = true;
         c.kv_channels = 8;
       }},
      {"hybrid",
       [](ModelConfig& c) {
         c.num_layers = 0;
         for (int i = 0; i < 4; ++i) c.pattern += "M*-m";
         c.normalization = NormKind::kRmsNorm;
         c.bias = false;
         c.mamba_num_heads = 4;
         c.mamba_head_dim = 8;
         c.mamba_num_groups = 2;
         c.mamba_state_dim = 3;
         c.mamba1_state_dim = 5;
       }},
  };
  return list;
}

struct Policy {
  const char* name;
  void (*set)(TrainConfig& t);
  bool needs_whole_streams = false;  // refused under sequence parallelism and on one tensor rank
};

const std::vector<Policy>& policies() {
  static const auto full = [](TrainConfig& t, RecomputeMethod method, int64_t layers) {
    t.recompute = RecomputeMode::kFull;
    t.recompute_method = method;
    t.recompute_num_layers = layers;
  };
  static const std::vector<Policy> list = {
      {"none", [](TrainConfig&) {}},
      {"selective", [](TrainConfig& t) { t.recompute = RecomputeMode::kSelective; }},
      {"uniform 1", [](TrainConfig& t) { full(t, RecomputeMethod::kUniform, 1); }},
      {"uniform 2", [](TrainConfig& t) { full(t, RecomputeMethod::kUniform, 2); }},
      {"block 1", [](TrainConfig& t) { full(t, RecomputeMethod::kBlock, 1); }},
      {"mlp",
       [](TrainConfig& t) {
         t.recompute = RecomputeMode::kSelective;
         t.recompute_modules = {"core_attn", "mlp"};
       }},
      {"window 2 of uniform 1",
       [](TrainConfig& t) {
         full(t, RecomputeMethod::kUniform, 1);
         t.recompute_window_micro_batches = 2;
       }},
      {"uniform 1, shared inputs",
       [](TrainConfig& t) {
         full(t, RecomputeMethod::kUniform, 1);
         t.distribute_saved_activations = true;
       },
       true},
  };
  return list;
}

struct Pipeline {
  std::string schedule;
  int64_t pp;
  int64_t chunks;
};

const std::vector<Pipeline>& pipelines() {
  static const std::vector<Pipeline> list = [] {
    std::vector<Pipeline> all = {{"1f1b", 1, 1}, {"gpipe", 1, 1}, {"zb-h1", 1, 1}};
    for (const int64_t pp : {2, 4}) {
      all.insert(all.end(), {{"1f1b", pp, 1},
                             {"gpipe", pp, 1},
                             {"gpipe", pp, 2},
                             {"interleaved", pp, 2},
                             {"zb-h1", pp, 1},
                             {"zb-v", pp, 2},
                             {"v-half", pp, 2}});
    }
    return all;
  }();
  return list;
}

struct Case {
  const Family* family;
  const Policy* policy;
  const Pipeline* pipeline;
  int64_t tp;
  bool sequence_parallel;
  DtypeKind dtype;

  std::string text() const {
    return std::string(family->name) + ", " + policy->name + ", " + pipeline->schedule + " pp " +
           std::to_string(pipeline->pp) + " x " + std::to_string(pipeline->chunks) + ", tp " +
           std::to_string(tp) + (sequence_parallel ? " sp" : "");
  }
};

std::vector<Case> all_cases() {
  const std::vector<DtypeKind> dtypes = {DtypeKind::kFp32, DtypeKind::kBf16, DtypeKind::kFp64};
  std::vector<Case> cases;
  for (const Family& family : families()) {
    for (const Policy& policy : policies()) {
      for (const Pipeline& pipeline : pipelines()) {
        for (const auto& [tp, sp] : std::vector<std::pair<int64_t, bool>>{
                 {1, false}, {2, false}, {2, true}, {4, false}, {4, true}}) {
          if (policy.needs_whole_streams && (sp || tp == 1)) continue;
          cases.push_back({&family, &policy, &pipeline, tp, sp, dtypes[cases.size() % dtypes.size()]});
        }
      }
    }
  }
  return cases;
}

RunConfig config_of(const Case& c) {
  RunConfig config;
  ModelConfig& model = config.model;
  model.num_layers = 8;
  model.hidden_size = 16;
  model.num_attention_heads = 4;
  model.vocab_size = 64;
  model.make_vocab_size_divisible_by = 4;
  model.seq_length = kLength;
  c.family->set(model);
  finalize(model);
  validate(model);
  config.parallel.tensor = c.tp;
  config.parallel.sequence_parallel = c.sequence_parallel;
  config.parallel.pipeline = c.pipeline->pp;
  config.parallel.chunks = c.pipeline->chunks;
  config.parallel.schedule = c.pipeline->schedule;
  config.parallel.data = 1;
  config.parallel = plan_mesh(config.parallel).config;
  config.train.micro_batch_size = 2;
  config.train.global_batch_size = 2 * kMicroBatches;
  config.train.dtype = c.dtype;
  c.policy->set(config.train);
  check_layout(config);
  return config;
}

std::vector<HostBatch> data_of_step(int64_t vocab) {
  std::vector<HostBatch> batches;
  for (int64_t m = 0; m < kMicroBatches; ++m) {
    HostBatch host;
    host.num_samples = 2;
    host.first_sample = 2 * m;
    for (int64_t i = 0; i < 2 * kLength; ++i) {
      const auto element = static_cast<uint64_t>(m * 2 * kLength + i);
      host.tokens.push_back(
          static_cast<int64_t>(philox_u32({.seed = 5}, element) % static_cast<uint64_t>(vocab)));
      host.labels.push_back(
          static_cast<int64_t>(philox_u32({.seed = 6}, element) % static_cast<uint64_t>(vocab)));
      host.label_mask.push_back(1);
      host.position.push_back(i % kLength);
    }
    batches.push_back(std::move(host));
  }
  return batches;
}

ByteSizes bytes_of(DtypeKind dtype) {
  const auto element = static_cast<int64_t>(c10::elementSize(scalar_type(dtype)));
  return {.activation = element, .statistic = std::max<int64_t>(element, 4)};
}

Schedule schedule_of(const RunConfig& config) {
  return make_schedule({.kind = schedule_name(config.parallel),
                        .pp = static_cast<int>(config.parallel.pipeline),
                        .chunks = static_cast<int>(config.parallel.chunks),
                        .micro_batches = static_cast<int>(kMicroBatches)});
}

struct Worst {
  double off = -1;
  std::string where;
  size_t ranks = 0;
};

void expect_labels(const std::map<std::string, int64_t>& executed, const std::vector<ByteItem>& planned) {
  std::map<std::string, int64_t> wanted;
  for (const ByteItem& item : planned) wanted[std::string(item.label)] += item.bytes;
  EXPECT_EQ(executed, wanted);
}

void check_case(const Case& c, Worst& worst) {
  SCOPED_TRACE(c.text());
  const RunConfig config = config_of(c);
  const std::vector<HostBatch> batches = data_of_step(config.model.vocab_size);
  const LayoutRun run = run_layout(
      config, [&](int64_t, int64_t, int64_t) { return batches; }, 1);
  const Mesh mesh = plan_mesh(config.parallel).mesh;
  const PlanModel model = planned_model(config);
  const PlanLayout layout = plan_layout(config);
  const MemoryOptions options{.bytes = bytes_of(c.dtype)};
  const Schedule schedule = schedule_of(config);
  const MemoryPlan plan = plan_memory(model, layout, options, &schedule);
  for (size_t rank = 0; rank < run.last.size(); ++rank) {
    const auto stage_rank = static_cast<size_t>(mesh.coordinate(static_cast<int>(rank), "pp"));
    const auto executed = static_cast<double>(run.last[rank].stash_bytes);
    const auto planned = static_cast<double>(plan.ranks[stage_rank].activations());
    const double off = std::abs(executed - planned) / planned;
    EXPECT_LE(off, kBar) << "rank " << rank << ": executed " << executed << ", planned " << planned;
    expect_labels(run.last[rank].stash_by_label, rank_stash(model, layout, stage_rank, options, &schedule));
    EXPECT_EQ(run.last[rank].peak_pairs, schedule.peak_stash[stage_rank]);
    ++worst.ranks;
    if (off <= worst.off) continue;
    worst.off = off;
    worst.where = c.text() + ", rank " + std::to_string(rank);
  }
}

// Every `stride`-th case, from `first` on.
void check_cases(size_t first, size_t stride) {
  const std::vector<Case> cases = all_cases();
  Worst worst;
  size_t checked = 0;
  for (size_t i = first; i < cases.size(); i += stride, ++checked) check_case(cases[i], worst);
  std::printf("stash: %zu of %zu cells, %zu ranks; worst %.4f %% (%s)\n", checked, cases.size(), worst.ranks,
              100 * worst.off, worst.where.c_str());
}

TEST(StashPlan, ExecutedIsPlanned) {
  check_cases(3, 97);
}

TEST(StashPlan, SlowExecutedIsPlannedInEveryCell) {
  check_cases(0, 1);
}

}  // namespace
}  // namespace phalanx
