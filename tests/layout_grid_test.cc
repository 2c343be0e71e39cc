// The layout grid (DESIGN 7.2): the same run under every layout, ranks as threads, against one rank over five steps. One
// table of axes; later issues extend it. A cell that the rules refuse is not coverage.
#include <gtest/gtest.h>

#include <cstdio>
#include <map>

#include "phalanx/base/philox.h"
#include "phalanx/mesh/plan_mesh.h"
#include "phalanx/pipeline/generate.h"
#include "phalanx/train/rank_layout.h"
#include "phalanx/train/verify_layout.h"
#include "tests/legal_cover.h"

namespace phalanx {
namespace {

using testing::Axis;
using testing::Cell;

constexpr int64_t kLength = 8;
constexpr int64_t kSteps = 5;

const std::vector<Axis>& axes() {
  static const std::vector<Axis> table = {
      {"tp", {"1", "2", "4"}},
      {"pp", {"1", "2", "4"}},
      {"recompute", {"none", "selective", "uniform1", "uniform2", "block1"}},
      {"sp", {"no", "yes"}},
      {"schedule", {"1f1b", "gpipe", "interleaved", "zb-h1", "zb-v", "v-half"}},
      {"chunks", {"1", "2"}},
      {"dp", {"1", "2", "3"}},
      {"zero", {"0", "1"}},
      {"micro_batch", {"1", "2"}},
      {"samples", {"12", "24", "2"}},       // of a step; 2: fewer micro-batches than stages
      {"last", {"whole", "short"}},         // the last step has one sample less
      {"dropout", {"0", "0.1"}},
      {"label_mask", {"none", "some", "whole_samples"}},
      {"attention", {"causal", "documents"}},
      {"tied", {"yes", "no"}},
      {"vocab", {"128", "211"}},
      {"kv_groups", {"4", "2", "1"}},
      {"family", {"gpt", "llama"}},
      {"dtype", {"fp64", "fp32"}},
  };
  return table;
}

struct Setting {
  std::map<std::string, std::string> values;
  const std::string& operator[](const std::string& axis) const { return values.at(axis); }
  int64_t number(const std::string& axis) const { return std::stoll(values.at(axis)); }
};

Setting setting_of(const Cell& cell) {
  Setting setting;
  for (size_t a = 0; a < axes().size(); ++a) setting.values[axes()[a].name] = axes()[a].values[cell[a]];
  return setting;
}

std::string describe(const Setting& s) {
  std::string text;
  for (const Axis& axis : axes()) text += axis.name + "=" + s[axis.name] + " ";
  return text;
}

void set_model(const Setting& s, ModelConfig& c) {
  c.num_layers = 8;
  c.hidden_size = 16;
  c.num_attention_heads = 4;
  c.num_query_groups = s.number("kv_groups");
  c.vocab_size = s.number("vocab");
  c.make_vocab_size_divisible_by = 4;
  c.seq_length = kLength;
  c.tied_embeddings = s["tied"] == "yes";
  c.hidden_dropout = c.attention_dropout = std::stod(s["dropout"]);
  if (s["family"] == "llama") {
    c.normalization = NormKind::kRmsNorm;
    c.activation = ActivationKind::kSwiglu;
    c.ffn_hidden_size = 40;
    c.position_embedding = PositionKind::kRope;
    c.qk_norm = true;
    c.bias = false;
  }
  c.init_std = 0.2;  // far from zero, so that every path carries a gradient that matters
  finalize(c);
  validate(c);
}

void set_recompute(const std::string& name, TrainConfig& t) {
  if (name == "none") return;
  t.recompute = name == "selective" ? RecomputeMode::kSelective : RecomputeMode::kFull;
  t.recompute_method = name == "block1" ? RecomputeMethod::kBlock : RecomputeMethod::kUniform;
  t.recompute_num_layers = name == "uniform2" ? 2 : 1;
}

RunConfig config_of(const Setting& s) {
  RunConfig c;
  set_model(s, c.model);
  set_recompute(s["recompute"], c.train);
  c.parallel.tensor = s.number("tp");
  c.parallel.sequence_parallel = s["sp"] == "yes";
  c.parallel.pipeline = s.number("pp");
  c.parallel.chunks = s.number("chunks");
  c.parallel.schedule = s["schedule"];
  c.parallel.data = s.number("dp");
  c.parallel.zero_stage = s.number("zero");
  c.train.micro_batch_size = s.number("micro_batch");
  c.train.global_batch_size = s.number("samples");
  c.train.dtype = s["dtype"] == "fp64" ? DtypeKind::kFp64 : DtypeKind::kFp32;
  c.train.seed = 3;
  c.optim.lr = 1e-3;
  c.optim.clip_grad = 0.5;
  return c;
}

// What a user could ask for, and what names another layout by the same words.
bool is_legal(const Cell& cell) {
  const Setting s = setting_of(cell);
  if (s["sp"] == "yes" && s["tp"] == "1") return false;
  if (s["zero"] == "1" && s["dp"] == "1") return false;
  if (s.number("tp") * s.number("pp") * s.number("dp") > 16) return false;  // threads
  if (s["schedule"] == "1f1b" && s["chunks"] == "2") return false;          // is called interleaved
  if (s["pp"] == "1" && s["schedule"] != "1f1b" && s["schedule"] != "gpipe" && s["schedule"] != "zb-h1") return false;
  if (s["samples"] == "2" && s["last"] == "short" && s["label_mask"] == "whole_samples") return false;
  RunConfig c = config_of(s);
  c.train.global_batch_size = c.parallel.data * c.train.micro_batch_size;  // shorter steps are legal, too
  try {
    c.parallel = plan_mesh(c.parallel).config;
    check_layout(c);
  } catch (const Error&) {
    return false;
  }
  return true;
}

int64_t samples_of(const Setting& s, int64_t step) {
  return s.number("samples") - (s["last"] == "short" && step == kSteps ? 1 : 0);
}

void add_sample(const Setting& s, int64_t step, int64_t sample, HostBatch& host) {
  const auto vocab = static_cast<uint64_t>(s.number("vocab"));
  const RandomKey key{.seed = 5, .purpose = RandomPurpose::kMockData, .step = step};
  const RandomKey mask_key{.seed = 5, .purpose = RandomPurpose::kMockMask, .step = step};
  int64_t document = 0;
  for (int64_t i = 0; i < kLength; ++i) {
    const auto element = static_cast<uint64_t>(sample * (kLength + 1) + i);
    host.tokens.push_back(static_cast<int64_t>(philox_u32(key, element) % vocab));
    host.labels.push_back(static_cast<int64_t>(philox_u32(key, element + 1) % vocab));
    bool counts = true;
    if (s["label_mask"] == "some") counts = philox_uniform(mask_key, element) < 0.6f;
    if (s["label_mask"] == "whole_samples") counts = sample % 4 != 1;
    host.label_mask.push_back(counts ? 1 : 0);
    host.position.push_back(i);
    if (s["attention"] == "documents") {
      host.document.push_back(document);
      if (philox_u32(mask_key, element + 100000) % 5 == 0) ++document;
    }
  }
}

StepData data_of(const Setting& s, int64_t micro_batch) {
  return [s, micro_batch](int64_t step, int64_t data_rank, int64_t data_size) {
    std::vector<HostBatch> mine;
    const int64_t samples = samples_of(s, step);
    for (int64_t first = micro_batch * data_rank; first < samples; first += micro_batch * data_size) {
      HostBatch host;
      host.first_sample = first;
      host.num_samples = std::min(micro_batch, samples - first);
      for (int64_t i = 0; i < host.num_samples; ++i) add_sample(s, step, first + i, host);
      mine.push_back(std::move(host));
    }
    return mine;
  };
}

LayoutRun run(const Setting& s, const LayoutHooks& hooks = {}) {
  RunConfig config = config_of(s);
  config.parallel = plan_mesh(config.parallel).config;
  return run_layout(config, data_of(s, s.number("micro_batch")), kSteps, hooks);
}

// One rank, all samples at once, nothing recomputed.
LayoutRun reference(const Setting& s) {
  RunConfig config = on_one_rank(config_of(s));
  config.train.recompute = RecomputeMode::kNone;
  return run_layout(config, data_of(s, s.number("samples")), kSteps);
}

std::string difference(const Setting& s, const LayoutHooks& hooks = {}) {
  return first_difference(run(s, hooks), reference(s), layout_bars(config_of(s).train.dtype));
}

TEST(LayoutGrid, EveryLayoutIsTheSameRun) {
  const testing::LegalCover cover = testing::legal_cover(axes(), {0, 1, 2}, is_legal);
  int bodies = 0;
  for (const Cell& cell : cover.cells) {
    const Setting s = setting_of(cell);
    EXPECT_EQ(difference(s), "") << describe(s);
    ++bodies;
  }
  std::printf("layout grid: %d cells over %zu axes; pairs: %zu wanted, %zu of them illegal, the rest covered; triples of tp x pp "
              "x recompute: %zu wanted, %zu illegal\n",
              bodies, axes().size(), cover.pairs_wanted, cover.pairs_illegal, cover.triples_wanted,
              cover.triples_illegal);
  EXPECT_EQ(cover.triples_illegal, 0U);
  EXPECT_GT(bodies, 40);
}

}  // namespace
}  // namespace phalanx
