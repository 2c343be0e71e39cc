#include "apps/phalanx/run_flags.h"

#include <filesystem>
#include <optional>

#include "apps/phalanx/preset_flag.h"
#include "phalanx/arch/presets.h"
#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/log.h"
#include "phalanx/config/config_toml.h"

namespace phalanx::apps {
namespace {

// The tokenizer decides, also over a preset; a size that somebody wrote down must hold it.
void fill_vocabulary(RunConfig& config, const ConfigTree& tree, const Tokenizer* tokenizer) {
  if (tokenizer == nullptr) return;
  const int64_t size = tokenizer->vocab_size();
  const bool written_down = tree.at("model.vocab_size").origin > Origin::kRecipe;
  if (config.model.vocab_size == 0 || !written_down) config.model.vocab_size = size;
  if (config.model.vocab_size < size) {
    throw Error(ErrorKind::kBadInput, {.where = "model.vocab_size",
                                       .got = std::to_string(config.model.vocab_size),
                                       .needed = "at least the tokenizer's " + std::to_string(size),
                                       .fix = "leave model.vocab_size out"});
  }
}

std::unique_ptr<Tokenizer> tokenizer_of(const RunConfig& config) {
  return config.data.tokenizer_type.empty() ? nullptr : make_tokenizer(tokenizer_options(config));
}

// The run folder that a positional argument names: the folder itself, or that of the config.toml in it.
std::optional<std::string> named_run(const std::string& path) {
  const std::filesystem::path p(path);
  if (std::filesystem::is_directory(p)) return path;
  const std::string folder = p.parent_path().empty() ? "." : p.parent_path().string();
  const bool inside = p.filename() == "config.toml" && path_exists(folder + "/metrics.jsonl");
  return inside ? std::optional(folder) : std::nullopt;
}

// A checkpoint or an imported model has a config, too, but training would not start from its weights.
void refuse_checkpoint_folder(const std::string& path) {
  if (!path_exists(path + "/manifest.json")) return;
  throw Error(ErrorKind::kBadInput, {.where = path,
                                     .got = "a checkpoint, not a run",
                                     .needed = "a run folder or a config file",
                                     .fix = "a new run from its weights: phalanx train " + path +
                                            "/config.toml --checkpoint.load=" + path +
                                            " --checkpoint.finetune=true --run-dir NEW"});
}

}  // namespace

std::unique_ptr<Tokenizer> read_run_config(const ParsedFlags& flags, ConfigTree& tree, RunConfig& config,
                                           const std::string& verb) {
  const bool has_file = !flags.positionals.empty();
  if (flags.positionals.size() > 1) {
    throw Error(ErrorKind::kUsage, {.where = verb,
                                    .got = "'" + flags.positionals[1] + "' after the config file",
                                    .needed = "one config file",
                                    .fix = "settings are given as --section.key=value"});
  }
  if (flags.has("--preset")) apply_preset(tree, flags.option("--preset"));
  if (has_file) {
    const std::string& path = flags.positionals[0];
    const bool folder = std::filesystem::is_directory(path);
    if (folder) refuse_checkpoint_folder(path);
    apply_toml_file(tree, folder ? path + "/config.toml" : path, Origin::kFile);
    if (const auto run = named_run(path)) config.runtime.run_dir = *run;
  }
  apply_flags(tree, flags, has_file || flags.has("--preset"));
  for (const std::string& note : flags.notes) log_info(note);
  std::unique_ptr<Tokenizer> tokenizer = tokenizer_of(config);
  fill_vocabulary(config, tree, tokenizer.get());
  resolve_run(config);
  return tokenizer;
}

std::optional<ModelConfig> find_model(const std::string& name) {
  if (std::optional<ModelConfig> preset = find_preset(name)) {
    finalize(*preset);
    return preset;
  }
  if (!name.ends_with(".toml") && !std::filesystem::is_directory(name)) return std::nullopt;
  RunConfig config;
  ConfigTree tree = make_config_tree(config);
  apply_toml_file(tree, std::filesystem::is_directory(name) ? name + "/config.toml" : name, Origin::kFile);
  fill_vocabulary(config, tree, tokenizer_of(config).get());
  finalize(config.model);
  validate(config.model);
  return config.model;
}

}  // namespace phalanx::apps
