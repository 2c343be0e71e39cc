#include "phalanx/train/train_checkpoint.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "phalanx/base/error.h"
#include "phalanx/base/log.h"
#include "phalanx/checkpoint/checkpoint.h"
#include "phalanx/checkpoint/model_state.h"
#include "phalanx/config/config_json.h"

namespace phalanx {
namespace {

Json config_to_json(const RunConfig& config) {
  RunConfig copy = config;
  return to_json(make_config_tree(copy));
}

// Fields that may differ between a checkpoint and its use, or that this model does not read.
bool may_differ(const RunConfig& config, const std::string& key) {
  if (key == "max_position_embeddings")
    return config.model.position_embedding != PositionKind::kLearnedAbsolute;
  return key == "make_vocab_size_divisible_by" || key == "seq_length" || key == "hidden_dropout" ||
         key == "attention_dropout" || key == "init_std";
}

// What else the run had set differently; a resume goes on with the new values, but not silently.
void report_changes(const RunConfig& config, const Json& stored_config, const std::string& folder) {
  const Json ours = config_to_json(config);
  const std::set<std::string> silent = {"train.exit_interval", "train.exit_duration_minutes",
                                        "train.skip_train"};
  std::string differences;
  for (const std::string section : {"train", "optim", "data"}) {
    if (!stored_config.contains(section)) continue;
    const Json& theirs = stored_config.at(section);
    for (const auto& [key, value] : ours.at(section).items()) {
      const std::string name = section + "." + key;
      if (!theirs.contains(key) || theirs.at(key) == value || silent.count(name) != 0) continue;
      differences += fmt::format("{}{} {} (was {})", differences.empty() ? "" : ", ", name, value.dump(),
                                 theirs.at(key).dump());
    }
  }
  if (!differences.empty())
    log_warning(fmt::format("{}: the run goes on with other settings: {}", folder, differences));
}

// Fields of the model section that change the function of the tokens, with both values.
void check_same_model(const RunConfig& config, const Json& stored_config, const std::string& folder) {
  const Json ours = config_to_json(config)["model"];
  const Json theirs = stored_config.at("model");
  std::string differences;
  for (const auto& [key, value] : ours.items()) {
    if (may_differ(config, key)) continue;
    if (theirs.contains(key) && theirs.at(key) != value) {
      differences += (differences.empty() ? "" : ", ") + key + " " + theirs.at(key).dump() + " (here " +
                     value.dump() + ")";
    }
  }
  if (differences.empty()) return;
  throw Error(ErrorKind::kBadInput, {.where = folder,
                                     .got = "a checkpoint with another model: " + differences,
                                     .needed = "the same [model] section",
                                     .fix = "use the config of that run, or another run folder (--run-dir)"});
}

void check_is_run(const CheckpointReader& reader, bool needs_optimizer) {
  const std::string& folder = reader.folder();
  if (const std::string kind = json_get<std::string>(reader.metadata(), "kind", folder); kind != "train") {
    throw Error(ErrorKind::kBadInput,
                {.where = folder,
                 .got = "a checkpoint of kind '" + kind + "', which is no run to go on with",
                 .needed = "one that training saved",
                 .fix = "start a new run from its weights: --checkpoint.finetune=true"});
  }
  const auto& tensors = reader.manifest().tensors;
  const bool has_optimizer = std::any_of(tensors.begin(), tensors.end(), [](const StoredTensor& tensor) {
    return tensor.name.starts_with("optimizer.");
  });
  if (!needs_optimizer || has_optimizer) return;
  throw Error(ErrorKind::kBadInput, {.where = folder,
                                     .got = "a checkpoint without optimizer state",
                                     .needed = "one saved with checkpoint.save_optim=true",
                                     .fix = "go on with fresh moments: --checkpoint.load_optim=false"});
}

void apply_retention(const RunConfig& config, int64_t newest) {
  if (!config.checkpoint.save_retain_interval) return;
  for (const int64_t step : complete_steps(config.checkpoint.save)) {
    if (step == newest || step % *config.checkpoint.save_retain_interval == 0) continue;
    std::error_code ignored;
    std::filesystem::remove_all(step_folder(config.checkpoint.save, step), ignored);
  }
}

}  // namespace

std::vector<TensorBox> training_boxes(const RunConfig& config, Model& model, const Optimizer& optimizer) {
  std::vector<TensorBox> boxes = owned_weight_boxes(model.parameters(), optimizer.parallel());
  if (config.checkpoint.save_optim) {
    for (TensorBox& box : owned_optimizer_boxes(optimizer)) boxes.push_back(std::move(box));
  }
  return boxes;
}

void save_training(const RunConfig& config, const std::vector<TensorBox>& boxes, const TrainState& state) {
  const Json metadata = {{"kind", "train"},
                         {"step", state.step},
                         {"consumed_samples", state.consumed_samples},
                         {"updates", state.updates},
                         {"outliers", state.outliers},
                         {"loss_scaler", state.loss_scaler},
                         {"config", config_to_json(config)}};
  make_directories(config.checkpoint.save);
  write_checkpoint(step_folder(config.checkpoint.save, state.step), boxes, metadata);
  apply_retention(config, state.step);
}

TrainState load_training(const RunConfig& config, const std::string& folder, Model& model,
                         Optimizer& optimizer, bool with_state) {
  CheckpointReader reader(folder);
  const Json& metadata = reader.metadata();
  const Json stored = json_get<Json>(metadata, "config", folder);
  check_same_model(config, stored, folder);
  if (with_state) check_is_run(reader, config.checkpoint.load_optim);
  load_weights(reader, model);
  const bool has_optimizer = with_state && config.checkpoint.load_optim;
  if (has_optimizer) {
    load_optimizer(reader, optimizer);
  } else {
    optimizer.weights_changed();
  }
  TrainState state;
  if (!with_state) return state;
  if (!config.train.skip_train) report_changes(config, stored, folder);
  state.step = json_get<int64_t>(metadata, "step", folder);
  state.consumed_samples = json_get<int64_t>(metadata, "consumed_samples", folder);
  state.updates = has_optimizer ? json_get<int64_t>(metadata, "updates", folder) : 0;
  state.outliers = json_get<Json>(metadata, "outliers", folder);
  if (metadata.contains("loss_scaler")) state.loss_scaler = metadata.at("loss_scaler");
  return state;
}

std::string resolve_checkpoint_folder(const std::string& path, std::optional<int64_t> step) {
  if (path_exists(path + "/" + kManifestFileName)) return path;
  for (const std::string& base : {path, path + "/checkpoints"}) {
    const std::optional<int64_t> wanted = step ? step : newest_step(base);
    if (!wanted) continue;
    const std::string folder = step_folder(base, *wanted);
    if (path_exists(folder + "/" + kManifestFileName)) return folder;
  }
  throw Error(ErrorKind::kBadInput,
              {.where = path,
               .got = step ? "no checkpoint of step " + std::to_string(*step) : "no complete checkpoint",
               .needed = "a run folder, a checkpoints folder or a step_N folder with a " +
                         std::string(kManifestFileName),
               .fix = "check the path; an interrupted save leaves no manifest and does not count"});
}

void set_newer_aside(const std::string& checkpoints, int64_t step) {
  for (const int64_t newer : complete_steps(checkpoints)) {
    if (newer <= step) continue;
    const std::string from = step_folder(checkpoints, newer);
    std::string to = checkpoints + "/abandoned_step_" + std::to_string(newer);
    for (int n = 2; path_exists(to); ++n)
      to = checkpoints + "/abandoned_step_" + std::to_string(newer) + "_" + std::to_string(n);
    std::filesystem::rename(from, to);
    log_warning(
        fmt::format("{} is newer than step {}, where this run goes on: it is now {}", from, step, to));
  }
}

kernels::Gemm choose_gemm(const RunConfig& config) {
  // The routes to choose from are those of the CPU.
  if (config.runtime.deterministic || config.runtime.device != DeviceKind::kCpu) return {};
  const std::string path =
      config.runtime.gemm_table.empty() ? config.runtime.run_dir + "/gemm.json" : config.runtime.gemm_table;
  if (path_exists(path)) return kernels::Gemm::from_json(read_json_file(path), path);
  const ModelConfig& m = config.model;
  const auto options = at::TensorOptions(scalar_type(config.train.dtype));
  const int64_t rows = config.train.micro_batch_size * m.seq_length;
  kernels::Gemm gemm;
  const int64_t qkv = (m.num_attention_heads + 2 * m.num_query_groups) * m.kv_channels;
  const int64_t up = m.ffn_hidden_size * (is_gated(m.activation) ? 2 : 1);
  const std::vector<std::pair<int64_t, int64_t>> linears = {
      {qkv, m.hidden_size},
      {m.hidden_size, m.num_attention_heads * m.kv_channels},
      {up, m.hidden_size},
      {m.hidden_size, m.ffn_hidden_size}};
  for (const auto& [out, in] : linears) {
    const Tensor x = at::ones({rows, in}, options), w = at::ones({out, in}, options),
                 dy = at::ones({rows, out}, options);
    Tensor y = at::empty({rows, out}, options), dx = at::empty({rows, in}, options),
           dw = at::empty({out, in}, options);
    gemm.measure(x, w.t(), y);
    gemm.measure(dy, w, dx);
    gemm.measure(dy.t(), x, dw);
  }
  make_directories(config.runtime.run_dir);
  write_file_atomic(path, gemm.to_json().dump(1) + "\n");
  return gemm;
}

}  // namespace phalanx
