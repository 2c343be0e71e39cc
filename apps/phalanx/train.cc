#include <filesystem>
#include <optional>
#include <set>

#include "apps/phalanx/run_flags.h"
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
#include "phalanx/train/rank_threads.h"
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

// What holds for one start of a run only, and what follows from where its folder is.
const std::set<std::string> kNotKept = {"runtime.run_dir", "checkpoint.load_step", "train.exit_interval",
                                        "train.exit_duration_minutes", "train.skip_train"};

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
  std::unique_ptr<Tokenizer> tokenizer = read_run_config(flags, tree, config, "phalanx train");
  set_log_level(config.log.level);
  log_info("the run:\n" + config_table(tree, ConfigScope::kChanged));
  make_directories(config.runtime.run_dir);
  const FolderLock alone(config.runtime.run_dir);
  // A start that fails must not change what the run is gone on with, and neither must an evaluation.
  const auto keep_config = [&] {
    if (config.train.skip_train) return;
    write_file_atomic(config.runtime.run_dir + "/config.toml", to_toml(tree, ConfigScope::kGiven, kNotKept));
  };
  const TrainSummary summary = train_all_ranks(config, std::move(tokenizer), interrupt, keep_config);
  if (!config.train.skip_train) plot(config.runtime.run_dir);
  print_summary(summary, config, flags.has("--json"));
  return 0;
}

}  // namespace phalanx::apps
