// train.stash_mode paper: layers that really keep what Korthikanti et al. 2022 count. Their bytes are the paper's, layer by
// layer and rank by rank, and the run is the same run.
#include <gtest/gtest.h>

#include <map>

#include "phalanx/base/philox.h"
#include "phalanx/mesh/plan_mesh.h"
#include "phalanx/pipeline/generate.h"
#include "phalanx/plan/memory.h"
#include "phalanx/train/rank_layout.h"
#include "phalanx/train/recompute_config.h"
#include "phalanx/train/verify_layout.h"

namespace phalanx {
namespace {

constexpr int64_t kLength = 16;
constexpr int64_t kSize = 2;  // of a micro-batch
constexpr int64_t kMicroBatches = 4;
constexpr int64_t kHidden = 32;
constexpr int64_t kHeads = 4;
constexpr int64_t kLayers = 4;  // transformer layers

enum class Recomputes { kNone, kCore, kFull };

RunConfig config_of(int64_t tp, bool sp, Recomputes recomputes, DtypeKind dtype = DtypeKind::kBf16) {
  RunConfig c;
  c.model.num_layers = kLayers;
  c.model.hidden_size = kHidden;
  c.model.num_attention_heads = kHeads;
  c.model.vocab_size = 61;
  c.model.make_vocab_size_divisible_by = 4;
  c.model.seq_length = kLength;
  c.model.hidden_dropout = c.model.attention_dropout = 0.1;
  c.model.init_std = 0.2;
  c.parallel.tensor = tp;
  c.parallel.sequence_parallel = sp;
  c.parallel.data = 1;
  c.train.micro_batch_size = kSize;
  c.train.global_batch_size = kSize * kMicroBatches;
  c.train.dtype = dtype;
  c.train.seed = 3;
  c.train.stash_mode = StashMode::kPaper;
  if (recomputes == Recomputes::kCore) c.train.recompute = RecomputeMode::kSelective;
  if (recomputes == Recomputes::kFull) c.train.recompute = RecomputeMode::kFull;
  c.optim.lr = 1e-3;
  return c;
}

RunConfig resolved(RunConfig c) {
  finalize(c.model);
  validate(c.model);
  c.parallel = plan_mesh(c.parallel).config;
  check_layout(c);
  EXPECT_TRUE(recompute_violations(c).empty());
  return c;
}

std::vector<HostBatch> data_of(int64_t step, bool documents) {
  std::vector<HostBatch> batches;
  const RandomKey key{.seed = 5, .purpose = RandomPurpose::kMockData, .step = step};
  for (int64_t m = 0; m < kMicroBatches; ++m) {
    HostBatch host;
    host.num_samples = kSize;
    host.first_sample = kSize * m;
    for (int64_t i = 0; i < kSize * kLength; ++i) {
      const auto element = static_cast<uint64_t>(m * (kSize * kLength + 1) + i);
      host.tokens.push_back(static_cast<int64_t>(philox_u32(key, element) % 61));
      host.labels.push_back(static_cast<int64_t>(philox_u32(key, element + 1) % 61));
      host.label_mask.push_back(philox_u32(key, element + 1000) % 5 == 0 ? 0 : 1);
      host.position.push_back(i % kLength);
      if (documents) host.document.push_back(i % kLength / 5);
    }
    batches.push_back(std::move(host));
  }
  return batches;
}

LayoutRun run(const RunConfig& config, int64_t steps, bool documents = false) {
  return run_layout(config, [documents](int64_t step, int64_t, int64_t) { return data_of(step, documents); },
                    steps, {.record = true});
}

// Bytes of each transformer layer of rank 0, one micro-batch.
std::vector<int64_t> layer_bytes(const RunConfig& config) {
  std::map<int, int64_t> by_layer;
  for (const HeldItem& held : run(config, 1).last[0].stash_items) {
    if (held.item.layer >= 0) by_layer[held.item.layer / 2] += held.item.bytes;
  }
  std::vector<int64_t> bytes;
  for (const auto& [layer, sum] : by_layer) bytes.push_back(sum);
  return bytes;
}

// Section 4 of the paper, table 2, per layer.
TEST(PaperStash, BytesOfALayerAreThePapers) {
  const int64_t s = kLength, b = kSize, h = kHidden, a = kHeads;
  const int64_t sbh = s * b * h;
  const int64_t scores = 5 * a * s * s * b;  // 5 a s / h x s b h
  EXPECT_EQ(layer_bytes(resolved(config_of(1, false, Recomputes::kNone))),
            std::vector<int64_t>(kLayers, 34 * sbh + scores));
  EXPECT_EQ(layer_bytes(resolved(config_of(1, false, Recomputes::kFull))),
            std::vector<int64_t>(kLayers, 2 * sbh));
  for (const int64_t t : {2, 4}) {
    const auto layers = [&](bool sp, Recomputes recomputes) {
      return layer_bytes(resolved(config_of(t, sp, recomputes)));
    };
    const auto all = [](int64_t bytes) { return std::vector<int64_t>(kLayers, bytes); };
    EXPECT_EQ(layers(false, Recomputes::kNone), all(10 * sbh + (24 * sbh + scores) / t)) << t;
    EXPECT_EQ(layers(true, Recomputes::kNone), all((34 * sbh + scores) / t)) << t;
    EXPECT_EQ(layers(false, Recomputes::kCore), all(10 * sbh + 24 * sbh / t)) << t;
    EXPECT_EQ(layers(true, Recomputes::kCore), all(34 * sbh / t)) << t;
    EXPECT_EQ(layers(false, Recomputes::kFull), all(2 * sbh)) << t;
    RunConfig shared = config_of(t, false, Recomputes::kFull);
    shared.train.distribute_saved_activations = true;
    EXPECT_EQ(layer_bytes(resolved(shared)), all(2 * sbh / t)) << "by an extra all-gather, tp " << t;
  }
}

void expect_planned(RunConfig config, const std::string& what) {
  SCOPED_TRACE(what);
  config = resolved(config);
  const PlanModel model = planned_model(config);
  const PlanLayout layout = plan_layout(config);
  const MemoryOptions options{.account = StashAccount::kPaper};
  const Schedule schedule = make_schedule({.kind = layout.schedule,
                                           .pp = static_cast<int>(layout.pp),
                                           .chunks = static_cast<int>(layout.chunks),
                                           .micro_batches = static_cast<int>(kMicroBatches)});
  const MemoryPlan plan = plan_memory(model, layout, options, &schedule);
  const Mesh mesh = plan_mesh(config.parallel).mesh;
  const LayoutRun ran = run(config, 1);
  for (size_t rank = 0; rank < ran.last.size(); ++rank) {
    const auto stage_rank = static_cast<size_t>(mesh.coordinate(static_cast<int>(rank), "pp"));
    EXPECT_EQ(ran.last[rank].stash_bytes, plan.ranks[stage_rank].activations()) << "rank " << rank;
    std::map<std::string, int64_t> labels;
    for (const ByteItem& item : rank_stash(model, layout, stage_rank, options, &schedule))
      labels[std::string(item.label)] += item.bytes;
    EXPECT_EQ(ran.last[rank].stash_by_label, labels) << "rank " << rank;
  }
}

// Embedding mask, final norm, head input and fp32 logits included; 1F1B and interleaved, as the paper has them.
TEST(PaperStash, RanksHoldWhatThePapersAccountSays) {
  for (const Recomputes recomputes : {Recomputes::kNone, Recomputes::kCore, Recomputes::kFull}) {
    for (const auto& [tp, sp] : std::vector<std::pair<int64_t, bool>>{{1, false}, {2, false}, {2, true}}) {
      if (sp && recomputes == Recomputes::kFull) continue;  // the paper keeps whole inputs there, we never do
      for (const auto& [pp, chunks] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {4, 1}, {2, 2}}) {
        RunConfig config = config_of(tp, sp, recomputes);
        config.parallel.pipeline = pp;
        config.parallel.chunks = chunks;
        expect_planned(config, "tp " + std::to_string(tp) + " pp " + std::to_string(pp));
      }
    }
  }
}

// Of section 4.2.3: with one stage, layers L s b h / t (34 + 5 a s / h) and extras by its formula.
TEST(PaperStash, OneStageIsTheFormulaOfSection423) {
  const RunConfig config = resolved(config_of(2, true, Recomputes::kNone));
  const PaperFirstStage paper = paper_first_stage(planned_model(config), plan_layout(config));
  EXPECT_EQ(static_cast<double>(run(config, 1).last[0].stash_bytes), paper.layers + paper.extras);
}

TEST(PaperStash, TheRunIsTheSameRun) {
  int compared = 0;
  const auto compare = [&](RunConfig config, bool documents) {
    RunConfig plain = config;
    plain.train.stash_mode = StashMode::kPhalanx;
    plain.train.recompute = RecomputeMode::kNone;
    plain.train.recompute_modules = {};
    EXPECT_EQ(first_difference(run(resolved(config), 2, documents), run(resolved(plain), 2, documents), {}),
              "")
        << "comparison " << compared;
    ++compared;
  };
  for (const Recomputes recomputes : {Recomputes::kNone, Recomputes::kCore, Recomputes::kFull}) {
    compare(config_of(1, false, recomputes, DtypeKind::kFp64), false);
    compare(config_of(2, recomputes == Recomputes::kCore, recomputes, DtypeKind::kFp64), true);
  }
  RunConfig llama = config_of(2, true, Recomputes::kCore, DtypeKind::kFp64);
  llama.model.normalization = NormKind::kRmsNorm;
  llama.model.activation = ActivationKind::kSwiglu;
  llama.model.ffn_hidden_size = 40;
  llama.model.position_embedding = PositionKind::kRope;
  llama.model.num_query_groups = 2;
  llama.model.window_size = 5;
  llama.model.bias = llama.model.tied_embeddings = false;
  llama.model.hidden_dropout = 0;
  llama.train.recompute_modules = {"core_attn", "mlp"};
  compare(llama, false);
  llama.parallel.tensor = 1;  // two heads a group on one rank
  llama.parallel.sequence_parallel = false;
  llama.model.attention_dropout = 0;
  llama.train.recompute = RecomputeMode::kNone;
  llama.train.recompute_modules = {};
  compare(llama, true);
  RunConfig split = config_of(2, true, Recomputes::kNone, DtypeKind::kFp64);
  split.parallel.pipeline = 2;
  split.parallel.schedule = "zb-h1";
  compare(split, false);
}

}  // namespace
}  // namespace phalanx
