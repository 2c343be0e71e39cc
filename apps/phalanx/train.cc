#include <filesystem>
#include <optional>
#include <set>

#include "apps/phalanx/preset_flag.h"
#include "apps/phalanx/verbs.h"
#include "phalanx/arch/presets.h"
#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"
#include "phalanx/base/log.h"
#include "phalanx/config/config_json.h"
#include "phalanx/config/config_print.h"
#include "phalanx/config/config_toml.h"
#include "phalanx/config/flags.h"
#include "phalanx/config/megatron.h"
#include "phalanx/train/trainer.h"

namespace phalanx::apps {
namespace {

FlagRules flag_rules() {
  return {.aliases = {{"--run-dir", "runtime.run_dir", FlagKind::kValue, "folder of this run", "DIR"},
                      {"--preset", "", FlagKind::kValue, "sizes of a known model (--list-presets)", "NAME"},
                      {"--list-presets", "", FlagKind::kSwitch, "print the names of known models"},
                      {"--mock-data", "data.mock_data", FlagKind::kSwitch, "random tokens instead of files"},
                      {"--mock-mask-fraction", "data.mock_mask_fraction", FlagKind::kValue,
                       "share of labels to mask", "F"},
                      {"--dtype", "train.dtype", FlagKind::kValue, "fp64, fp32 or bf16", "DTYPE"},
                      {"--device", "runtime.device", FlagKind::kValue, "cpu or cuda", "DEVICE"},
                      {"--world-size", "parallel.world_size", FlagKind::kValue, "ranks, as threads", "N"},
                      {"--threads", "runtime.threads", FlagKind::kValue, "threads a rank", "N"},
                      {"--json", "", FlagKind::kSwitch, "print the summary as JSON"},
                      {"--help", "", FlagKind::kSwitch, "print this text"}}};
}

std::string help_text() {
  RunConfig config;
  return "usage: phalanx train [CONFIG.toml | RUN_DIR] [--section.key=value ...] [Megatron flags ...]\n"
         "Trains a model; a run folder that holds a checkpoint is gone on with.\n"
         "example: phalanx train --preset small --mock-data --train.train_iters=100 --run-dir runs/first\n\n" +
         alias_help(flag_rules().aliases) + "\n" + config_help(make_config_tree(config)) + "\n" +
         megatron_help();
}

struct ParsedRun {
  RunConfig config;
  std::unique_ptr<Tokenizer> tokenizer;
};

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

// What holds for one start of a run only, and what follows from where its folder is.
const std::set<std::string> kNotKept = {"runtime.run_dir", "checkpoint.load_step", "train.exit_interval",
                                        "train.exit_duration_minutes", "train.skip_train"};

// `config` must not move while the tree points into it.
std::unique_ptr<Tokenizer> read_config(const ParsedFlags& flags, ConfigTree& tree, RunConfig& config) {
  const bool has_file = !flags.positionals.empty();
  if (flags.positionals.size() > 1) {
    throw Error(ErrorKind::kUsage, {.where = "phalanx train",
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
  std::unique_ptr<Tokenizer> tokenizer;
  if (!config.data.tokenizer_type.empty()) tokenizer = make_tokenizer(tokenizer_options(config));
  fill_vocabulary(config, tree, tokenizer.get());
  resolve_run(config);
  return tokenizer;
}

void print_summary(const TrainSummary& summary, const RunConfig& config, bool as_json) {
  Json json = {{"run_dir", config.runtime.run_dir},
               {"step", summary.progress.step},
               {"consumed_samples", summary.progress.consumed_samples},
               {"finished", summary.finished}};
  if (summary.last_loss) json["loss"] = *summary.last_loss;
  if (summary.valid_loss) json["valid_loss"] = *summary.valid_loss;
  if (summary.valid_bpb) json["valid_bpb"] = *summary.valid_bpb;
  if (as_json) {
    print_line(json.dump());
    return;
  }
  std::string text = fmt::format("step {}", summary.progress.step);
  if (summary.last_loss) text += fmt::format("  loss {:.4f}", *summary.last_loss);
  if (summary.valid_loss) text += fmt::format("  validation loss {:.4f}", *summary.valid_loss);
  if (summary.valid_bpb) text += fmt::format("  {:.4f} bits per byte", *summary.valid_bpb);
  print_line(text + "  " + config.runtime.run_dir);
}

// The run is over and saved: a record that cannot be drawn must not make it look failed.
void plot(const std::string& run_dir) {
  try {
    RunReport::plot(run_dir, {});
  } catch (const Error& e) {
    log_warning(std::string("no loss.svg: ") + e.what());
  }
}

}  // namespace

int run_train(const Arguments& args) {
  RunConfig config;
  ConfigTree tree = make_config_tree(config);
  const ParsedFlags flags = parse_flags(args, tree, flag_rules());
  if (flags.has("--help")) {
    print_line(help_text());
    return 0;
  }
  if (flags.has("--list-presets")) {
    for (const std::string& name : preset_names()) print_line(name);
    return 0;
  }
  InterruptGuard interrupt;  // before any other thread
  std::unique_ptr<Tokenizer> tokenizer = read_config(flags, tree, config);
  set_log_level(config.log.level);
  log_info("the run:\n" + config_table(tree, ConfigScope::kChanged));
  make_directories(config.runtime.run_dir);
  const FolderLock alone(config.runtime.run_dir);
  Trainer trainer(config, std::move(tokenizer));
  trainer.load();
  // Only now: a start that fails must not change what the run is gone on with, and neither must an evaluation.
  if (!config.train.skip_train) {
    write_file_atomic(config.runtime.run_dir + "/config.toml", to_toml(tree, ConfigScope::kGiven, kNotKept));
  }
  const TrainSummary summary = trainer.run(interrupt);
  if (!config.train.skip_train) plot(config.runtime.run_dir);
  print_summary(summary, config, flags.has("--json"));
  return 0;
}

}  // namespace phalanx::apps
