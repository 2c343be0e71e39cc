// File: tests/layout_setting.h
//
// Purpose: the axes of the layout grid (DESIGN 7.2), and a run under any choice of their values: what the grid, the named
//   layouts and the mutants share. Later issues extend the one table.
// Contract: sample and position decide tokens, labels, masks and documents, never the cut. A setting differs from
//   `plain_setting` where the test says so. References runs each function once: one rank, all samples at once, nothing
//   recomputed.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "phalanx/base/error.h"
#include "phalanx/base/philox.h"
#include "phalanx/mesh/plan_mesh.h"
#include "phalanx/train/rank_layout.h"
#include "phalanx/train/recompute_config.h"
#include "phalanx/train/verify_layout.h"
#include "tests/covering_grid.h"
#include "tests/mock_samples.h"

namespace phalanx::testing {

inline constexpr int64_t kSteps = 5;
inline constexpr int64_t kPairs = 8;  // of layers
inline constexpr int64_t kHidden = 16;

// The first value of an axis is what the plain setting has.
inline const std::vector<Axis>& layout_axes() {
  static const std::vector<Axis> table = {
      {"tp", {"1", "2", "4"}},
      {"pp", {"1", "2", "4"}},
      {"recompute", {"none", "selective", "mlp", "uniform1", "uniform2", "block1"}},
      {"sp", {"no", "yes"}},
      {"schedule", {"1f1b", "gpipe", "interleaved", "zb-h1", "zb-v", "v-half"}},
      {"chunks", {"1", "2"}},
      {"cut", {"equal", "bars"}},  // bars: uneven stages through | in the pattern, some empty
      {"scatter_gather", {"on", "off"}},
      {"order", {"tp-cp-dp-pp", "pp-dp-cp-tp"}},
      {"dp", {"1", "2", "3"}},
      {"zero", {"0", "1"}},
      {"micro_batch", {"1", "2"}},
      {"samples", {"12", "24", "2"}},  // of a step; 2: fewer micro-batches than stages
      {"last", {"whole", "short"}},    // the last step has one sample less
      {"length", {"8", "7"}},          // of a sample; 7: rows that do not divide over tensor ranks
      {"dropout", {"0", "0.1"}},
      {"label_mask", {"none", "some", "whole_samples"}},
      {"attention", {"causal", "documents"}},
      {"tied", {"no", "yes"}},
      {"vocab", {"128", "211"}},
      {"kv_groups", {"4", "2", "1"}},
      {"family", {"gpt", "llama"}},
      {"dtype", {"fp64", "fp32"}},
      {"stash",
       {"here", "window", "offload",
        "shared"}},                          // kept inputs: all, of later micro-batches, on the host, 1 / tp
      {"layers", {"*-", "M-", "m-", "M*"}},  // two of the pattern, repeated
      {"mamba_groups", {"4", "2", "1"}},
      {"norm_group", {"own", "whole"}},  // of Mamba-2's gated norm: a group's channels, or all
  };
  return table;
}

using Changes = std::vector<std::pair<std::string, std::string>>;  // axis, value

struct Setting {
  std::map<std::string, std::string> values;
  const std::string& operator[](const std::string& axis) const { return values.at(axis); }
  int64_t number(const std::string& axis) const { return std::stoll(values.at(axis)); }
  Setting with(const Changes& changes) const {
    Setting other = *this;
    for (const auto& [axis, value] : changes) other.values.at(axis) = value;
    return other;
  }
};

inline Setting setting_of(const Cell& cell) {
  Setting setting;
  for (size_t a = 0; a < cell.size(); ++a)
    setting.values[layout_axes()[a].name] = layout_axes()[a].values[cell[a]];
  return setting;
}

inline Setting plain_setting() {
  return setting_of(Cell(layout_axes().size(), 0));
}

inline std::string describe(const Setting& s) {
  std::string text;
  for (const Axis& axis : layout_axes()) text += axis.name + "=" + s[axis.name] + " ";
  return text;
}

// Equal stages but for: the first takes up to three layers of the second, the middle one gives all of its to the one
// before.
inline std::string pattern_with_bars(int64_t stages, const std::string& pair) {
  const int64_t layers = 2 * kPairs;
  std::vector<int64_t> sizes(static_cast<size_t>(stages), layers / stages);
  const int64_t moved = std::min<int64_t>(3, sizes[1]);
  sizes[0] += moved;
  sizes[1] -= moved;
  if (stages > 2) {
    const auto middle = static_cast<size_t>(stages / 2);
    sizes[middle - 1] += std::exchange(sizes[middle], 0);
  }
  std::string pattern;
  int64_t layer = 0;
  for (size_t s = 0; s < sizes.size(); ++s) {
    if (s > 0) pattern += "|";
    for (int64_t i = 0; i < sizes[s]; ++i) pattern += pair[static_cast<size_t>(layer++ % 2)];
  }
  return pattern;
}

inline void set_model(const Setting& s, ModelConfig& c) {
  const int64_t stages = s.number("pp") * s.number("chunks");
  const std::string& pair = s["layers"];
  if (s["cut"] == "bars") {
    c.pattern = pattern_with_bars(stages, pair);
  } else if (pair == "*-") {
    c.num_layers = kPairs;
  } else {
    for (int64_t i = 0; i < kPairs; ++i) c.pattern += pair;
  }
  c.mamba_num_heads = 4;
  c.mamba_head_dim =
      32;  // with norm groups of 16 channels one rank alone is 8e-6 off its fp64 run, with 32 1e-6
  c.mamba_num_groups = s.number("mamba_groups");
  c.mamba_state_dim = 3;
  c.mamba_chunk_size = 3;
  c.mamba_norm_group_size = s["norm_group"] == "whole" ? 128 : 0;
  c.mamba1_state_dim = 3;
  c.hidden_size = kHidden;
  c.num_attention_heads = 4;
  c.num_query_groups = s.number("kv_groups");
  c.vocab_size = s.number("vocab");
  c.make_vocab_size_divisible_by = 4;
  c.seq_length = s.number("length");
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
}

inline void set_recompute(const std::string& name, TrainConfig& t) {
  if (name == "none") return;
  const bool selective = name == "selective" || name == "mlp";
  t.recompute = selective ? RecomputeMode::kSelective : RecomputeMode::kFull;
  if (name == "mlp") t.recompute_modules = {"mlp"};
  t.recompute_method = name == "block1" ? RecomputeMethod::kBlock : RecomputeMethod::kUniform;
  t.recompute_num_layers = name == "uniform2" ? 2 : 1;
}

// `change_model`: of what the axes do not say.
using ModelChange = std::function<void(ModelConfig&)>;

inline RunConfig config_of(const Setting& s, const ModelChange& change_model = {}) {
  RunConfig c;
  set_model(s, c.model);
  if (change_model) change_model(c.model);
  finalize(c.model);
  validate(c.model);
  set_recompute(s["recompute"], c.train);
  c.train.recompute_window_micro_batches = s["stash"] == "window" ? 1 : 0;
  c.train.offload_stash = s["stash"] == "offload";
  c.train.distribute_saved_activations = s["stash"] == "shared";
  c.parallel.tensor = s.number("tp");
  c.parallel.sequence_parallel = s["sp"] == "yes";
  c.parallel.pipeline = s.number("pp");
  c.parallel.chunks = s.number("chunks");
  c.parallel.schedule = s["schedule"];
  c.parallel.order = s["order"];
  c.parallel.data = s.number("dp");
  c.parallel.zero_stage = s.number("zero");
  c.train.micro_batch_size = s.number("micro_batch");
  c.train.global_batch_size = s.number("samples");
  c.train.dtype = s["dtype"] == "fp64" ? DtypeKind::kFp64 : DtypeKind::kFp32;
  c.train.seed = 3;
  c.optim.lr = 1e-3;
  c.optim.clip_grad = 0.5;
  // Above the rounding of fp32 gradients, which AdamW would turn into whole steps where the true gradient is zero: one
  // rank is then 2e-7 off its fp64 run, with 1e-8 it is 1.4e-5.
  c.optim.epsilon = 1e-6;
  c.runtime.threads = 1;  // the products are tiny, and threads of LibTorch that wait for them keep a core
  return c;
}

inline int64_t samples_of(const Setting& s, int64_t step) {
  return s.number("samples") - (s["last"] == "short" && step == kSteps ? 1 : 0);
}

inline MockSamples samples_like(const Setting& s) {
  return {.vocab = s.number("vocab"),
          .length = s.number("length"),
          .label_mask = s["label_mask"],
          .documents = s["attention"] == "documents"};
}

inline StepData data_of(const Setting& s, int64_t micro_batch) {
  return [s, micro_batch](int64_t step, int64_t data_rank, int64_t data_size) {
    std::vector<HostBatch> mine;
    const int64_t samples = samples_of(s, step);
    for (int64_t first = micro_batch * data_rank; first < samples; first += micro_batch * data_size) {
      HostBatch host;
      host.first_sample = first;
      host.num_samples = std::min(micro_batch, samples - first);
      for (int64_t i = 0; i < host.num_samples; ++i) add_sample(samples_like(s), step, first + i, host);
      mine.push_back(std::move(host));
    }
    return mine;
  };
}

inline LayoutRun run(const Setting& s, LayoutHooks hooks = {}, const ModelChange& change_model = {}) {
  RunConfig config = config_of(s, change_model);
  config.parallel = plan_mesh(config.parallel).config;
  hooks.scatter_gather = s["scatter_gather"] == "on";
  return run_layout(config, data_of(s, s.number("micro_batch")), kSteps, hooks);
}

inline LayoutRun reference(const Setting& s, const ModelChange& change_model = {}) {
  RunConfig config = on_one_rank(config_of(s.with({{"cut", "equal"}}), change_model));
  config.train.recompute = RecomputeMode::kNone;
  config.train.recompute_modules = {};
  config.train.recompute_window_micro_batches = 0;
  config.train.offload_stash = false;
  config.train.distribute_saved_activations = false;
  return run_layout(config, data_of(s, s.number("samples")), kSteps);
}

// Of the axes that decide the function; the others only say where it is computed.
class References {
 public:
  const LayoutRun& of(const Setting& s) {
    std::string key;
    for (const char* axis :
         {"samples", "last", "length", "dropout", "label_mask", "attention", "tied", "vocab", "kv_groups",
          "family", "dtype", "layers", "mamba_groups", "norm_group"}) {
      key += s[axis] + " ";
    }
    const auto found = runs_.find(key);
    return found != runs_.end() ? found->second : runs_.emplace(key, reference(s)).first->second;
  }

 private:
  std::map<std::string, LayoutRun> runs_;
};

inline std::string difference(const Setting& s, const LayoutRun& got, const LayoutRun& want) {
  return first_difference(got, want, layout_bars(s["dtype"] == "fp64" ? DtypeKind::kFp64 : DtypeKind::kFp32));
}

// What a user could ask for, and what names another layout by the same words.
inline bool is_legal(const Cell& cell) {
  const Setting s = setting_of(cell);
  const int64_t stages = s.number("pp") * s.number("chunks");
  if (s["sp"] == "yes" && (s["tp"] == "1" || s["scatter_gather"] == "off")) return false;
  if (s["scatter_gather"] == "off" && (s["tp"] == "1" || s["pp"] == "1")) return false;
  // The micro-batch of one sample that is left over.
  const bool odd_rows =
      s["last"] == "short" && s["micro_batch"] == "2" && s.number("length") % s.number("tp") != 0;
  if (s["sp"] == "yes" && odd_rows) return false;
  if (s["zero"] == "1" && s["dp"] == "1") return false;
  if (s["cut"] == "bars" && stages == 1) return false;
  if (s.number("tp") * s.number("pp") * s.number("dp") > 16) return false;  // threads
  if (s["schedule"] == "1f1b" && s["chunks"] == "2") return false;          // is called interleaved
  if (s["pp"] == "1" && s["schedule"] != "1f1b" && s["schedule"] != "gpipe" && s["schedule"] != "zb-h1")
    return false;
  if (s["samples"] == "2" && s["last"] == "short" && s["label_mask"] == "whole_samples") return false;
  try {
    RunConfig c = config_of(s);
    c.train.global_batch_size = c.parallel.data * c.train.micro_batch_size;  // shorter steps are legal, too
    c.parallel = plan_mesh(c.parallel).config;
    check_layout(c);
    if (!recompute_violations(c).empty()) return false;
  } catch (const Error&) {
    return false;
  }
  return true;
}

}  // namespace phalanx::testing
