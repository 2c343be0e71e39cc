#include "phalanx/train/run_config.h"

#include <algorithm>
#include <array>

#include "phalanx/base/error.h"
#include "phalanx/base/log.h"
#include "phalanx/data/blend_config.h"
#include "phalanx/data/recall_config.h"
#include "phalanx/mesh/plan_mesh.h"
#include "phalanx/tokenizer/utf8.h"
#include "phalanx/train/rank_layout.h"
#include "phalanx/train/recompute_config.h"
#include "phalanx/train/task_source.h"

namespace phalanx {
namespace {

// Collects every violation, so that a user mends a config in one go.
class Violations {
 public:
  void require(bool holds, const std::string& text) {
    if (!holds) text_ += (text_.empty() ? "" : "; ") + text;
  }
  void throw_if_any() const {
    if (text_.empty()) return;
    throw Error(ErrorKind::kBadInput, {.where = "run", .needed = text_, .fix = "change these settings"});
  }

 private:
  std::string text_;
};

constexpr int64_t kMostSamples = int64_t{1} << 50;
constexpr int64_t kMostRows = int64_t{1} << 31;

void require_interval(const std::optional<int64_t>& value, const std::string& key, Violations& v) {
  v.require(!value || *value > 0,
            key + " is " + std::to_string(value.value_or(0)) + ": give 1 or more, or none");
}

void check_sizes(const TrainConfig& t, int64_t seq_length, Violations& v) {
  v.require(t.micro_batch_size > 0,
            "train.micro_batch_size is " + std::to_string(t.micro_batch_size) + ": give 1 or more");
  v.require(t.global_batch_size >= 0,
            "train.global_batch_size is " + std::to_string(t.global_batch_size) + ": give 1 or more");
  const int64_t batch = std::max(t.global_batch_size, t.micro_batch_size);
  v.require(batch <= 0 || seq_length <= 0 || batch <= kMostRows / std::max<int64_t>(1, seq_length),
            "a step of " + std::to_string(batch) + " samples of " + std::to_string(seq_length) +
                " tokens is beyond 2^31 tokens: make the batch smaller");
  v.require(t.train_iters >= 0 && t.train_samples >= 0 && t.train_samples <= kMostSamples &&
                t.train_iters <= kMostSamples / std::max<int64_t>(1, batch),
            "train.train_iters is " + std::to_string(t.train_iters) + " and train_samples " +
                std::to_string(t.train_samples) + ": give 0 to 2^50 samples in all");
  v.require(t.seed >= 0 && t.seed < (int64_t{1} << 32),
            "train.seed is " + std::to_string(t.seed) + ": give 0 to 2^32 - 1");
}

void check_train(const TrainConfig& t, Violations& v) {
  v.require(t.train_iters == 0 || t.train_samples == 0,
            "give one of train.train_iters and train.train_samples");
  v.require(t.train_iters > 0 || t.train_samples > 0 || t.skip_train,
            "train.train_iters or train_samples must be given");
  v.require(t.train_samples == 0 || t.rampup_batch_size.empty() || t.rampup_batch_size.size() == 3,
            "train.rampup_batch_size is start,increment,samples");
  v.require(
      t.rampup_batch_size.empty() || t.train_samples > 0,
      "train.rampup_batch_size needs train.train_samples instead of train_iters, as the steps vary in size");
  require_interval(t.eval_interval, "train.eval_interval", v);
  require_interval(t.exit_interval, "train.exit_interval", v);
  v.require(t.eval_iters >= 0, "train.eval_iters must be at least 0");
}

void check_data(const DataConfig& d, Violations& v) {
  const bool files = names_data(d);
  v.require(d.mock_data || files || !d.tasks.empty(),
            "data.data_path (--data-path PREFIX), data.tasks or --mock-data must be given");
  v.require(!(d.mock_data && files), "data.mock_data and data paths are both given: keep one of them");
  v.require(!d.tokenizer_type.empty() ||
                (d.tokenizer_model.empty() && d.vocab_file.empty() && d.merge_file.empty()),
            "data.tokenizer_model, vocab_file and merge_file need data.tokenizer_type (--tokenizer-type)");
  v.require(d.mock_mask_fraction >= 0 && d.mock_mask_fraction < 1,
            "data.mock_mask_fraction must lie in [0, 1)");
  v.require(d.prefetch_steps >= 0 && d.prefetch_steps <= 1024,
            "data.prefetch_steps is " + std::to_string(d.prefetch_steps) + ": give 0 to 1024");
}

void check_tasks(const DataConfig& d, Violations& v) {
  if (d.tasks.empty()) return;
  v.require(!d.mock_data, "data.mock_data and data.tasks are both given: keep one of them");
  v.require(!d.tokenizer_type.empty(),
            "data.tasks need data.tokenizer_type (--tokenizer-type), as they are made as text");
  try {
    parse_recall_tasks(d.tasks, "data.tasks");
    if (names_data(d)) TaskMix{d.tasks_fraction};
  } catch (const Error& e) {
    v.require(false, e.what());
  }
}

// Rules about ends of documents need to know the token that ends one.
void check_end_of_document(const RunConfig& config, Violations& v) {
  const TrainConfig& t = config.train;
  v.require(!config.data.tokenizer_type.empty() ||
                !(t.eod_mask_loss || t.reset_position_ids || t.reset_attention_mask),
            "train.eod_mask_loss, reset_position_ids and reset_attention_mask need data.tokenizer_type "
            "(--tokenizer-type), which says what token ends a document");
}

}  // namespace

std::span<const EnumName<DtypeKind>> enum_names(DtypeKind) {
  using E = EnumName<DtypeKind>;
  static constexpr std::array names = {E{DtypeKind::kFp64, "fp64"}, E{DtypeKind::kFp32, "fp32"},
                                       E{DtypeKind::kBf16, "bf16"}, E{DtypeKind::kFp16, "fp16"}};
  return names;
}

std::span<const EnumName<DeviceKind>> enum_names(DeviceKind) {
  using E = EnumName<DeviceKind>;
  static constexpr std::array names = {E{DeviceKind::kCpu, "cpu"}, E{DeviceKind::kCuda, "cuda"}};
  return names;
}

at::ScalarType scalar_type(DtypeKind dtype) {
  switch (dtype) {
    case DtypeKind::kFp64:
      return at::kDouble;
    case DtypeKind::kFp32:
      return at::kFloat;
    case DtypeKind::kBf16:
      return at::kBFloat16;
    case DtypeKind::kFp16:
      return at::kHalf;
  }
  return at::kFloat;
}

TokenizerOptions tokenizer_options(const RunConfig& config) {
  const bool needs_size = config.data.tokenizer_type == "NullTokenizer";
  return {.type = config.data.tokenizer_type,
          .model = config.data.tokenizer_model,
          .vocab_file = config.data.vocab_file,
          .merge_file = config.data.merge_file,
          .eod_token = config.data.eod_token,
          .vocab_size = needs_size ? config.model.vocab_size : 0};
}

ConfigTree make_config_tree(RunConfig& config) {
  ConfigTree tree;
  tree.add_section("model", config.model);
  tree.add_section("parallel", config.parallel);
  tree.add_section("train", config.train);
  tree.add_section("optim", config.optim);
  tree.add_section("data", config.data);
  tree.add_section("checkpoint", config.checkpoint);
  tree.add_section("log", config.log);
  tree.add_section("runtime", config.runtime);
  return tree;
}

namespace {

// What `check` refuses joins the list.
template <typename Check>
bool passes(const Check& check, Violations& violations) {
  try {
    check();
    return true;
  } catch (const Error& e) {
    violations.require(false,
                       e.parts().where + ": " + (e.parts().got.empty() ? e.parts().needed : e.parts().got));
    return false;
  }
}

// The mesh, with what it derives; then, if they are sound, mesh and model together.
void check_ranks(RunConfig& config, Violations& violations) {
  MeshPlan plan;
  if (!passes([&] { plan = plan_mesh(config.parallel); }, violations)) return;
  for (const std::string& note : plan.notes) log_info(note);
  config.parallel = plan.config;
  if (config.train.global_batch_size == 0) {
    config.train.global_batch_size = config.train.micro_batch_size * config.parallel.data;
  }
  RunConfig probe = config;
  finalize(probe.model);
  try {
    validate(probe.model);
  } catch (const Error&) {
    return;  // said on its own, and in its own words
  }
  if (config.train.micro_batch_size > 0) passes([&] { check_layout(probe); }, violations);
}

}  // namespace

void resolve_run(RunConfig& config) {
  Violations violations;
  check_sizes(config.train, config.model.seq_length, violations);
  check_train(config.train, violations);
  for (const std::string& text : recompute_violations(config)) violations.require(false, text);
  check_end_of_document(config, violations);
  require_interval(config.checkpoint.save_interval, "checkpoint.save_interval", violations);
  require_interval(config.checkpoint.save_retain_interval, "checkpoint.save_retain_interval", violations);
  violations.require(is_utf8(config.runtime.run_dir),
                     "runtime.run_dir is no valid UTF-8, which the checkpoint's manifest could not hold");
  check_data(config.data, violations);
  check_tasks(config.data, violations);
  violations.require(config.log.interval > 0, "log.interval must be positive");
  violations.require(
      config.runtime.threads >= 0 && config.runtime.threads <= 1024,
      "runtime.threads is " + std::to_string(config.runtime.threads) + ": give 0 (all cores) to 1024");
  check_ranks(config, violations);
  violations.throw_if_any();
  if (config.checkpoint.save.empty()) config.checkpoint.save = config.runtime.run_dir + "/checkpoints";
  if (config.log.tensorboard_dir.empty())
    config.log.tensorboard_dir = config.runtime.run_dir + "/tensorboard";
  finalize(config.model);
  validate(config.model);
  validate(config.optim, config.train.dtype == DtypeKind::kFp16);
  resolve(config.optim);
}

}  // namespace phalanx
