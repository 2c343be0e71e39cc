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

void try_tokenizer(ModelFolder& folder, const std::function<std::optional<TokenizerOptions>()>& options) {
  try {
    if (const auto found = options()) folder.tokenizer = make_tokenizer(*found);
  } catch (const Error& e) {
    folder.tokenizer_problem = e.what();
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
void set_end_tokens(ModelFolder& folder, const Json& generation_config, const Json& token_ids) {
  if (folder.tokenizer && folder.tokenizer->eod()) {
    folder.end_tokens = {*folder.tokenizer->eod()};
    return;
  }
  const int64_t vocab_size = folder.config.vocab_size;
  folder.end_tokens = eos_ids(generation_config, vocab_size);
  if (folder.end_tokens.empty()) folder.end_tokens = eos_ids(token_ids, vocab_size);
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

bool is_whole(Model& model) {
  return model.part().place.tp.size == 1 && model.parameters().size() == model.table().parameters.size();
}

void load_hf(const HfFolder& hf, Model& model, bool checks) {
  if (is_whole(model)) return load_hf_weights(hf, model);
  if (checks) hf.check_tied_head();
  for (const TensorBox& box : weight_boxes(model)) {
    const Tensor stored = hf.tensor(box.name.substr(std::string_view(kWeightPrefix).size()));
    box.view.copy_(view_of(stored, box.box));
  }
}

ModelFolder open_hf(const std::string& path) {
  const auto hf = std::make_shared<const HfFolder>(path);
  ModelFolder folder{.path = path, .config = hf->config(), .dtype = hf->dtype()};
  try_tokenizer(folder, [&] { return hugging_face(path); });
  set_end_tokens(folder, hf->generation_config(), hf->token_ids());
  folder.load = [hf](Model& model, bool checks) { load_hf(*hf, model, checks); };
  return folder;
}

// `path` as the user wrote it, `checkpoint` where it led.
ModelFolder open_checkpoint(const std::string& path, const std::string& checkpoint) {
  const CheckpointReader reader(checkpoint, /*verify_checksums=*/false);
  const std::string manifest = checkpoint + "/" + kManifestFileName;
  const Json stored = json_get<Json>(reader.metadata(), "config", manifest);
  const std::string where = manifest + ": metadata.config";
  check_model_settings(json_get<Json>(stored, "model", where), where);
  ModelFolder folder{
      .path = path, .config = stored_model_config(reader), .dtype = stored_weight_dtype(reader)};
  try_tokenizer(folder, [&]() -> std::optional<TokenizerOptions> {
    const TokenizerOptions of_run = stored_tokenizer(stored, folder.config, where);
    if (!of_run.type.empty()) return of_run;
    const std::string beside = checkpoint + "/" + kTokenizerFolder;
    return path_exists(beside) ? std::optional(hugging_face(beside)) : std::nullopt;
  });
  const Json hf = reader.metadata().value("hf", Json::object());
  set_end_tokens(folder, hf.value("generation_config", Json()), hf.value("token_ids", Json()));
  folder.load = [checkpoint](Model& model, bool checks) {
    CheckpointReader weights(checkpoint, /*verify_checksums=*/checks);
    load_weights(weights, model);
  };
  return folder;
}

}  // namespace

ModelFolder open_model(const std::string& path) {
  if (HfFolder::looks_like(path)) return open_hf(path);
  return open_checkpoint(path, resolve_checkpoint_folder(path, std::nullopt));
}

const Tokenizer& require_tokenizer(const ModelFolder& folder) {
  if (folder.tokenizer) return *folder.tokenizer;
  throw Error(
      ErrorKind::kBadInput,
      {.where = folder.path,
       .got = folder.tokenizer_problem.empty() ? "a model without a tokenizer" : folder.tokenizer_problem,
       .needed = "a tokenizer, to turn text into tokens",
       .fix = "give token ids: \"tokens\" in score, --prompt-tokens in generate"});
}

}  // namespace phalanx
