#include "phalanx/infer/load_model.h"

#include <functional>

#include "phalanx/base/error.h"
#include "phalanx/checkpoint/hf_folder.h"
#include "phalanx/checkpoint/model_state.h"
#include "phalanx/checkpoint/tokenizer_files.h"
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

void try_tokenizer(LoadedModel& loaded, const std::function<std::optional<TokenizerOptions>()>& options) {
  try {
    if (const auto found = options()) loaded.tokenizer = make_tokenizer(*found);
  } catch (const Error& e) {
    loaded.tokenizer_problem = e.what();
  }
}

// "eos_token_id" as Hugging Face writes it: an id, a list of ids or null; ids that the model does not have are dropped.
std::vector<int64_t> eos_ids(const Json& object, int64_t vocab_size) {
  std::vector<int64_t> ids;
  if (!object.is_object() || !object.contains("eos_token_id")) return ids;
  const Json& eos = object["eos_token_id"];
  for (const Json& id : eos.is_array() ? eos : Json::array({eos})) {
    if (!id.is_number_integer()) continue;
    const auto value = id.get<int64_t>();
    if (value >= 0 && value < vocab_size) ids.push_back(value);
  }
  return ids;
}

// Generation settings come before the model's own, as in Hugging Face.
void set_end_tokens(LoadedModel& loaded, const Json& generation_config, const Json& token_ids) {
  if (loaded.tokenizer && loaded.tokenizer->eod()) {
    loaded.end_tokens = {*loaded.tokenizer->eod()};
    return;
  }
  const int64_t vocab_size = loaded.model->config().vocab_size;
  loaded.end_tokens = eos_ids(generation_config, vocab_size);
  if (loaded.end_tokens.empty()) loaded.end_tokens = eos_ids(token_ids, vocab_size);
}

// A model setting decides the function: one that is not known here must not be lost.
void check_model_settings(const Json& section, const std::string& where) {
  if (!section.is_object()) return;
  ModelConfig config;
  ConfigTree tree;
  tree.add_section("model", config);
  for (const auto& [name, value] : section.items()) {
    if (tree.find("model." + name) != nullptr) continue;
    throw Error(ErrorKind::kBadInput,
                {.where = where + ": model." + name,
                 .got = value.dump(),
                 .needed = "a setting that this version knows",
                 .fix = "the checkpoint may come from another version of phalanx: use that one"});
  }
}

bool is_tokenizer_setting(const std::string& name) {
  return name.starts_with("tokenizer_") || name.starts_with("tiktoken_") || name == "vocab_file" ||
         name == "merge_file" || name == "eod_token";
}

// The tokenizer of a stored run; its type is empty when there was none. Other settings of the section are left alone.
TokenizerOptions stored_tokenizer(const Json& config, const ModelConfig& model, const std::string& where) {
  RunConfig run;
  run.model = model;
  Json kept = Json::object();
  if (config.contains("data") && config["data"].is_object()) {
    for (const auto& [name, value] : config["data"].items()) {
      if (is_tokenizer_setting(name)) kept[name] = value;
    }
  }
  ConfigTree tree;
  tree.add_section("data", run.data);
  apply_json(tree, {{"data", kept}}, where, Origin::kFile);
  return tokenizer_options(run);
}

TokenizerOptions hugging_face(const std::string& folder) {
  return {.type = "HuggingFaceTokenizer", .model = folder};
}

std::unique_ptr<LoadedModel> load_hf(const std::string& folder, const LoadOptions& options) {
  const HfFolder hf(folder);
  auto loaded = build(hf.config(), hf.dtype(), options);
  load_hf_weights(hf, *loaded->model);
  try_tokenizer(*loaded, [&] { return hugging_face(folder); });
  set_end_tokens(*loaded, hf.generation_config(), hf.token_ids());
  return loaded;
}

std::unique_ptr<LoadedModel> load_checkpoint(const std::string& folder, const LoadOptions& options) {
  CheckpointReader reader(folder);
  const std::string manifest = folder + "/" + kManifestFileName;
  const Json stored = json_get<Json>(reader.metadata(), "config", manifest);
  const std::string where = manifest + ": metadata.config";
  check_model_settings(json_get<Json>(stored, "model", where), where);
  const ModelConfig config = stored_model_config(reader);
  auto loaded = build(config, stored_weight_dtype(reader), options);
  load_weights(reader, *loaded->model);
  try_tokenizer(*loaded, [&]() -> std::optional<TokenizerOptions> {
    const TokenizerOptions of_run = stored_tokenizer(stored, config, where);
    if (!of_run.type.empty()) return of_run;
    const std::string beside = folder + "/" + kTokenizerFolder;
    return path_exists(beside) ? std::optional(hugging_face(beside)) : std::nullopt;
  });
  const Json hf = reader.metadata().value("hf", Json::object());
  set_end_tokens(*loaded, hf.value("generation_config", Json()), hf.value("token_ids", Json()));
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
