#include "phalanx/infer/load_model.h"

#include "phalanx/base/error.h"
#include "phalanx/checkpoint/hf_folder.h"
#include "phalanx/checkpoint/model_state.h"
#include "phalanx/config/config_json.h"
#include "phalanx/train/run_config.h"
#include "phalanx/train/train_checkpoint.h"

namespace phalanx {
namespace {

std::unique_ptr<LoadedModel> build(const ModelConfig& config, at::ScalarType stored,
                                   const LoadOptions& options) {
  auto loaded = std::make_unique<LoadedModel>();
  loaded->tensor_group = comm::make_self_group("tp");
  const ModelOptions model_options{
      .device = options.device, .dtype = options.dtype.value_or(stored), .initialise = false};
  loaded->model = std::make_unique<Model>(config, model_options, loaded->gemm, *loaded->tensor_group);
  return loaded;
}

void try_tokenizer(LoadedModel& loaded, const TokenizerOptions& options) {
  try {
    loaded.tokenizer = make_tokenizer(options);
  } catch (const Error& e) {
    loaded.tokenizer_problem = e.what();
  }
}

std::unique_ptr<LoadedModel> load_hf(const std::string& folder, const LoadOptions& options) {
  const HfFolder hf(folder);
  auto loaded = build(hf.config(), hf.dtype(), options);
  load_hf_weights(hf, *loaded->model);
  try_tokenizer(*loaded, {.type = "HuggingFaceTokenizer", .model = folder});
  return loaded;
}

std::unique_ptr<LoadedModel> load_checkpoint(const std::string& folder, const LoadOptions& options) {
  CheckpointReader reader(folder);
  RunConfig config;
  ConfigTree tree = make_config_tree(config);
  apply_json(tree, json_get<Json>(reader.metadata(), "config", folder), folder, Origin::kFile);
  finalize(config.model);
  validate(config.model);
  auto loaded = build(config.model, stored_weight_dtype(reader), options);
  load_weights(reader, *loaded->model);
  if (!config.data.tokenizer_type.empty()) {
    try_tokenizer(*loaded, tokenizer_options(config));
  } else if (path_exists(folder + "/tokenizer")) {
    try_tokenizer(*loaded, {.type = "HuggingFaceTokenizer", .model = folder + "/tokenizer"});
  }
  return loaded;
}

}  // namespace

std::unique_ptr<LoadedModel> load_model(const std::string& folder, const LoadOptions& options) {
  if (HfFolder::looks_like(folder)) return load_hf(folder, options);
  return load_checkpoint(resolve_checkpoint_folder(folder, std::nullopt), options);
}

const Tokenizer& require_tokenizer(const LoadedModel& loaded, const std::string& folder) {
  if (loaded.tokenizer) return *loaded.tokenizer;
  throw Error(
      ErrorKind::kBadInput,
      {.where = folder,
       .got = loaded.tokenizer_problem.empty() ? "a model without a tokenizer" : loaded.tokenizer_problem,
       .needed = "a tokenizer, to turn text into tokens",
       .fix = "give token ids: \"tokens\" in score, --prompt-tokens in generate"});
}

}  // namespace phalanx
