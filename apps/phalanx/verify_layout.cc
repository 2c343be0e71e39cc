#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "apps/phalanx/run_flags.h"
#include "apps/phalanx/verbs.h"
#include "phalanx/base/error.h"
#include "phalanx/base/json.h"
#include "phalanx/base/log.h"
#include "phalanx/config/config_print.h"
#include "phalanx/config/config_value.h"
#include "phalanx/config/flags.h"
#include "phalanx/train/sample_source.h"
#include "phalanx/train/verify_layout.h"

namespace phalanx::apps {
namespace {

constexpr int64_t kDefaultSteps = 3;
constexpr int64_t kMostSteps = 1000;

const std::vector<FlagAlias>& flags_of_verb() {
  static const std::vector<FlagAlias> list = {
      {"--preset", "", FlagKind::kValue, "sizes of a known model (phalanx train --list-presets)", "NAME"},
      {"--mock-data", "data.mock_data", FlagKind::kSwitch, "random tokens instead of files"},
      {"--dtype", "train.dtype", FlagKind::kValue, "fp64, fp32 or bf16", "DTYPE"},
      {"--world-size", "parallel.world_size", FlagKind::kValue, "ranks, as threads", "N"},
      {"--steps", "", FlagKind::kValue, "optimizer steps to compare; 3", "N"},
      {"--json", "", FlagKind::kSwitch, "print the result as JSON"},
      {"--help", "", FlagKind::kSwitch, "print this text"},
  };
  return list;
}

std::string help() {
  return "usage: phalanx verify-layout [CONFIG.toml] [--parallel.tensor=2 ...] [--steps N] [Megatron flags ...]\n"
         "Runs a few steps of your config under its layout and on one rank, from the same weights and data, and compares\n"
         "loss, gradient norm and, in fp64, every weight. Names the first thing that differs. Nothing is written. Use --dtype\n"
         "fp64: in fp32 AdamW turns rounding into steps, and after some of them a right layout may differ, too.\n\n" +
         alias_help(flags_of_verb()) +
         "\nexample: phalanx verify-layout --preset tiny --mock-data --dtype fp64 --parallel.tensor=2 --parallel.pipeline=2 "
         "--global-batch-size 4\n";
}

int64_t steps_of(const ParsedFlags& flags) {
  if (!flags.has("--steps")) return kDefaultSteps;
  const std::optional<int64_t> value = parse_integer(flags.option("--steps"));
  if (value && *value >= 1 && *value <= kMostSteps) return *value;
  throw Error(ErrorKind::kUsage, {.where = "--steps",
                                  .got = "'" + flags.option("--steps") + "'",
                                  .needed = fmt::format("a whole number from 1 to {}", kMostSteps),
                                  .fix = "change the value"});
}

// The samples of the run, dealt and cut as training does it.
StepData data_of(const RunConfig& config, const SampleSource& source, const DocumentRules& rules) {
  return [&config, &source, rules](int64_t step, int64_t data_rank, int64_t data_size) {
    const int64_t count = config.train.global_batch_size;
    return build_step_share(source,
                            {.first = (step - 1) * count,
                             .count = count,
                             .micro_batch_size = config.train.micro_batch_size,
                             .data_rank = data_rank,
                             .data_size = data_size},
                            config.model.seq_length, rules);
  };
}

}  // namespace

int run_verify_layout(const Arguments& args) {
  RunConfig config;
  ConfigTree tree = make_config_tree(config);
  const ParsedFlags flags = parse_flags(args, tree, {.aliases = flags_of_verb()});
  if (flags.has("--help")) {
    print_line(help());
    return 0;
  }
  const int64_t steps = steps_of(flags);
  config.train.train_iters = steps;
  const std::unique_ptr<Tokenizer> tokenizer = read_run_config(flags, tree, config, "phalanx verify-layout");
  if (config.parallel.world_size == 1) {
    throw Error(ErrorKind::kUsage,
                {.where = "phalanx verify-layout",
                 .got = "a layout of one rank",
                 .needed = "one to compare with one rank",
                 .fix = "add --parallel.tensor=2, --parallel.pipeline=2 or --parallel.data=2"});
  }
  const DocumentRules rules = document_rules(config.train, tokenizer.get());
  const std::unique_ptr<SampleSource> source =
      require_sample_source(config.data, SplitPart::kTrain,
                            {.seq_length = config.model.seq_length,
                             .vocab_size = config.model.vocab_size,
                             .seed = static_cast<uint64_t>(config.train.seed),
                             .num_samples = steps * config.train.global_batch_size,
                             .tokenizer = tokenizer.get()});
  const LayoutRun got = run_layout(config, data_of(config, *source, rules), steps);
  const RunConfig one = on_one_rank(config);
  const LayoutRun want = run_layout(one, data_of(one, *source, rules), steps);
  const LayoutBars bars = layout_bars(config.train.dtype);
  const std::string difference = first_difference(got, want, bars);
  if (flags.has("--json")) {
    print_line(Json({{"equal", difference.empty()},
                     {"difference", difference},
                     {"steps", steps},
                     {"world_size", config.parallel.world_size},
                     {"losses", got.losses},
                     {"losses_on_one_rank", want.losses}})
                   .dump(2));
  } else {
    std::string text = fmt::format("{:>5} {:>24} {:>24} {:>12}\n", "step", "loss", "on one rank", "relative");
    for (size_t i = 0; i < got.losses.size(); ++i) {
      text += fmt::format("{:>5} {:>24.16g} {:>24.16g} {:>12.2e}\n", i + 1, got.losses[i], want.losses[i],
                          std::abs(got.losses[i] / want.losses[i] - 1));
    }
    text += difference.empty()
                ? fmt::format("equal within {:g} relative{}", bars.loss,
                              bars.weights > 0 ? fmt::format(", weights within {:g}", bars.weights) : "")
                : "DIFFERENT: " + difference;
    print_line(text);
  }
  return difference.empty() ? 0 : static_cast<int>(ErrorKind::kNumeric);
}

}  // namespace phalanx::apps
