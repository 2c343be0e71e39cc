// Every policy about activation memory leaves the same bits: losses, gradient norms and weights of a few steps, under dropout,
// with tensor, pipeline and data parallelism; and it holds what it says.
#include <gtest/gtest.h>

#include <cstdio>

#include "phalanx/base/error.h"
#include "phalanx/base/philox.h"
#include "phalanx/mesh/plan_mesh.h"
#include "phalanx/train/rank_layout.h"
#include "phalanx/train/recompute_config.h"
#include "phalanx/train/verify_layout.h"

namespace phalanx {
namespace {

constexpr int64_t kLength = 8;
constexpr int64_t kSamples = 8;
constexpr int64_t kSteps = 2;

struct Layout {
  const char* name;
  void (*set)(ParallelConfig& p);
};

const std::vector<Layout>& layouts() {
  static const std::vector<Layout> list = {
      {"one rank", [](ParallelConfig&) {}},
      {"tp 2", [](ParallelConfig& p) { p.tensor = 2; }},
      {"tp 4 sp",
       [](ParallelConfig& p) {
         p.tensor = 4;
         p.sequence_parallel = true;
       }},
      {"tp 2 pp 2 zb-v",
       [](ParallelConfig& p) {
         p.tensor = p.pipeline = p.chunks = 2;
         p.schedule = "zb-v";
       }},
      {"pp 4 1f1b dp 2 zero 1",
       [](ParallelConfig& p) {
         p.pipeline = 4;
         p.data = 2;
         p.zero_stage = 1;
       }},
      {"pp 2 interleaved",
       [](ParallelConfig& p) {
         p.pipeline = p.chunks = 2;
         p.schedule = "interleaved";
       }},
  };
  return list;
}

struct Policy {
  const char* name;
  void (*set)(TrainConfig& t);
};

void set_full(TrainConfig& t, RecomputeMethod method, int64_t layers) {
  t.recompute = RecomputeMode::kFull;
  t.recompute_method = method;
  t.recompute_num_layers = layers;
}

const std::vector<Policy>& policies() {
  static const std::vector<Policy> list = {
      {"selective",
       [](TrainConfig& t) {
         t.recompute = RecomputeMode::kSelective;
         t.recompute_modules = {"core_attn", "layernorm", "mlp_act"};
       }},
      {"selective with mlp",
       [](TrainConfig& t) {
         t.recompute = RecomputeMode::kSelective;
         t.recompute_modules = {"mlp"};
       }},
      {"uniform 1", [](TrainConfig& t) { set_full(t, RecomputeMethod::kUniform, 1); }},
      {"uniform 2", [](TrainConfig& t) { set_full(t, RecomputeMethod::kUniform, 2); }},
      {"block 1", [](TrainConfig& t) { set_full(t, RecomputeMethod::kBlock, 1); }},
      {"window 1 of uniform 1",
       [](TrainConfig& t) {
         set_full(t, RecomputeMethod::kUniform, 1);
         t.recompute_window_micro_batches = 1;
       }},
      {"window 2 of mlp",
       [](TrainConfig& t) {
         t.recompute = RecomputeMode::kSelective;
         t.recompute_modules = {"mlp"};
         t.recompute_window_micro_batches = 2;
       }},
      {"shared inputs",
       [](TrainConfig& t) {
         set_full(t, RecomputeMethod::kUniform, 1);
         t.distribute_saved_activations = true;
       }},
      {"offload", [](TrainConfig& t) { t.offload_stash = true; }},
      {"offload of uniform 2",
       [](TrainConfig& t) {
         set_full(t, RecomputeMethod::kUniform, 2);
         t.offload_stash = true;
       }},
  };
  return list;
}

RunConfig config_of(const Layout& layout, DtypeKind dtype) {
  RunConfig c;
  c.model.num_layers = 4;
  c.model.hidden_size = 16;
  c.model.num_attention_heads = 4;
  c.model.num_query_groups = 2;
  c.model.activation = ActivationKind::kSwiglu;
  c.model.ffn_hidden_size = 24;
  c.model.position_embedding = PositionKind::kRope;
  c.model.qk_norm = true;
  c.model.vocab_size = 50;
  c.model.make_vocab_size_divisible_by = 4;
  c.model.seq_length = kLength;
  c.model.hidden_dropout = 0.1;
  c.model.attention_dropout = 0.2;
  c.model.init_std = 0.2;
  finalize(c.model);
  validate(c.model);
  layout.set(c.parallel);
  c.parallel = plan_mesh(c.parallel).config;
  c.train.global_batch_size = kSamples;
  c.train.dtype = dtype;
  c.train.seed = 3;
  c.optim.lr = 1e-3;
  return c;
}

std::vector<HostBatch> data_of(int64_t step, int64_t data_rank, int64_t data_size) {
  std::vector<HostBatch> mine;
  const RandomKey key{.seed = 5, .purpose = RandomPurpose::kMockData, .step = step};
  for (int64_t sample = data_rank; sample < kSamples; sample += data_size) {
    HostBatch host;
    host.num_samples = 1;
    host.first_sample = sample;
    for (int64_t i = 0; i < kLength; ++i) {
      const auto element = static_cast<uint64_t>(sample * (kLength + 1) + i);
      host.tokens.push_back(static_cast<int64_t>(philox_u32(key, element) % 50));
      host.labels.push_back(static_cast<int64_t>(philox_u32(key, element + 1) % 50));
      host.label_mask.push_back(1);
      host.position.push_back(i);
    }
    mine.push_back(std::move(host));
  }
  return mine;
}

// A distance that no two different doubles of this size have.
constexpr LayoutBars kSameBits{.loss = 0, .norm = 0, .weights = 1e-300};

int compare_policies(const Layout& layout, DtypeKind dtype) {
  int compared = 0;
  const RunConfig plain = config_of(layout, dtype);
  const LayoutRun want = run_layout(plain, data_of, kSteps);
  for (const Policy& policy : policies()) {
    RunConfig config = plain;
    policy.set(config.train);
    if (!recompute_violations(config).empty()) continue;
    EXPECT_EQ(first_difference(run_layout(config, data_of, kSteps), want, kSameBits), "")
        << policy.name << " on " << layout.name;
    ++compared;
  }
  return compared;
}

TEST(RecomputePolicies, LeaveTheSameBits) {
  EXPECT_EQ(compare_policies(layouts()[0], DtypeKind::kFp64), 9) << "nothing to share on one rank";
  EXPECT_EQ(compare_policies(layouts()[3], DtypeKind::kFp64), 10);
}

TEST(RecomputePolicies, SlowLeaveTheSameBitsInEveryLayout) {
  int compared = 0;
  for (const DtypeKind dtype : {DtypeKind::kFp64, DtypeKind::kBf16}) {
    for (const Layout& layout : layouts()) compared += compare_policies(layout, dtype);
  }
  std::printf("recompute policies: %d runs bit-equal to none\n", compared);
  EXPECT_EQ(compared, 2 * (6 * 10 - 4)) << "shared inputs need whole streams on several tensor ranks";
}

const StepOutcome& first_rank(const LayoutRun& run) {
  return run.last.at(0);
}

LayoutRun run_with(const Layout& layout, void (*set)(TrainConfig& t)) {
  RunConfig config = config_of(layout, DtypeKind::kFp32);
  if (set != nullptr) set(config.train);
  return run_layout(config, data_of, 1);
}

TEST(RecomputePolicies, TheWindowFillsUpAndMovesOn) {
  const Layout& four_stages = layouts()[4];
  const auto bytes = [&](int64_t window) {
    RunConfig config = config_of(four_stages, DtypeKind::kFp32);
    set_full(config.train, RecomputeMethod::kUniform, 1);
    config.train.recompute_window_micro_batches = window;
    return first_rank(run_layout(config, data_of, 1)).stash_bytes;
  };
  // Rank 0 of four stages has four micro-batches in flight.
  const int64_t none = first_rank(run_with(four_stages, nullptr)).stash_bytes;
  const int64_t all = bytes(0);
  EXPECT_EQ(none % 4, 0);
  EXPECT_EQ(all % 4, 0);
  for (int64_t window = 0; window <= 5; ++window) {
    const int64_t whole = std::min<int64_t>(window, 4);
    EXPECT_EQ(bytes(window), whole * (none / 4) + (4 - whole) * (all / 4)) << window;
  }
}

TEST(RecomputePolicies, OffloadedActivationsAreOnTheHost) {
  const LayoutRun plain = run_with(layouts()[0], nullptr);
  const LayoutRun moved = run_with(layouts()[0], [](TrainConfig& t) { t.offload_stash = true; });
  EXPECT_EQ(first_rank(plain).host_bytes, 0);
  EXPECT_EQ(first_rank(moved).host_bytes, first_rank(plain).stash_bytes);
  EXPECT_EQ(first_rank(moved).stash_bytes, 0);
  EXPECT_EQ(first_rank(moved).stash_by_label, first_rank(plain).stash_by_label);
}

TEST(RecomputePolicies, SharedInputsTakeAnEqualPartOfEachTensorRank) {
  const Layout& two = layouts()[1];
  const auto inputs = [&](bool shared) {
    RunConfig config = config_of(two, DtypeKind::kFp32);
    set_full(config.train, RecomputeMethod::kUniform, 1);
    config.train.distribute_saved_activations = shared;
    const LayoutRun run = run_layout(config, data_of, 1);
    EXPECT_EQ(run.last[0].stash_by_label, run.last[1].stash_by_label);
    return first_rank(run).stash_by_label.at("recompute input");
  };
  EXPECT_EQ(inputs(false), 4 * kLength * 16 * 4);
  EXPECT_EQ(inputs(true), inputs(false) / 2);
}

TEST(RecomputePolicies, WhatDoesNotGoTogetherIsSaid) {
  RunConfig config = config_of(layouts()[2], DtypeKind::kFp32);
  EXPECT_TRUE(recompute_violations(config).empty());
  config.train.recompute_modules = {"core_attn", "moe"};
  config.train.recompute_window_micro_batches = 2;
  config.train.distribute_saved_activations = true;
  config.train.stash_mode = StashMode::kPaper;
  const std::vector<std::string> want = {
      "train.recompute_modules has 'moe'; known: core_attn, layernorm, mlp_act, mlp",
      "train.recompute_modules needs train.recompute selective (--recompute-granularity selective)",
      "train.recompute_window_micro_batches needs train.recompute selective or full (--recompute-granularity)",
      "train.distribute_saved_activations needs train.recompute full (--recompute-granularity full)",
      "train.distribute_saved_activations and parallel.sequence_parallel both split the kept inputs: drop one",
      "train.stash_mode paper knows no norms of queries and keys: drop model.qk_norm or the mode"};
  EXPECT_EQ(recompute_violations(config), want);
  config.model.pattern = "M*-m";
  EXPECT_EQ(
      recompute_violations(config).back(),
      "train.stash_mode paper knows no state-space layers: drop M and m from model.pattern or the mode");
  config.train.recompute_modules = {"layernorm"};
  config.train.recompute_window_micro_batches = -1;
  config.parallel = {};
  EXPECT_EQ(
      recompute_violations(config)[0],
      "train.recompute_modules has 'layernorm', which train.stash_mode paper keeps: core_attn and mlp go with it");
  EXPECT_EQ(recompute_violations(config)[2], "train.recompute_window_micro_batches is -1: give 0 or more");
  EXPECT_EQ(recompute_violations(config)[5],
            "train.distribute_saved_activations needs parallel.tensor above 1");
}

}  // namespace
}  // namespace phalanx
