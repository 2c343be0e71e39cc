#include "apps/phalanx/data_verbs.h"
#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"
#include "phalanx/config/config_toml.h"
#include "phalanx/train/baselines.h"
#include "phalanx/train/run_config.h"

#include <fmt/format.h>

namespace phalanx::apps {
namespace {

constexpr const char* kHelp =
    "usage: phalanx data baselines CONFIG.toml [--text FILE] [--json]\n"
    "Bits per byte of a unigram and a bigram model on the validation part; --text keeps the validation text.\n"
    "example: phalanx data baselines runs/latest/config.toml --json\n";

}  // namespace

int run_data_baselines(const Arguments& args) {
  if (answers_help(args, kHelp)) return 0;
  const ParsedFlags flags =
      parse_flags(args, ConfigTree(),
                  {.aliases = {{"--text", ""}, {"--json", "", FlagKind::kSwitch}}, .megatron = false});
  const std::string file = one_positional(flags, "data baselines", "CONFIG.toml");
  RunConfig config;
  ConfigTree tree = make_config_tree(config);
  apply_toml_file(tree, file, Origin::kFile);
  const auto tokenizer = make_tokenizer(tokenizer_options(config));
  std::vector<std::string> pieces;
  for (int64_t id = 0; id < tokenizer->vocab_size(); ++id)
    pieces.push_back(tokenizer->piece(static_cast<int32_t>(id), false));
  const SampleSourceOptions options{.seq_length = config.model.seq_length,
                                    .vocab_size = tokenizer->vocab_size(),
                                    .seed = static_cast<uint64_t>(config.train.seed),
                                    .num_samples = std::nullopt,
                                    .tokenizer = tokenizer.get()};
  const auto train = make_sample_source(config.data, SplitPart::kTrain, options);
  const auto valid = make_sample_source(config.data, SplitPart::kValid, options);
  if (!train || !valid) {
    throw Error(ErrorKind::kBadInput, {.where = "data.split",
                                       .got = "'" + config.data.split + "'",
                                       .needed = "documents for training and for validation",
                                       .fix = "change the split"});
  }
  const Baselines result = count_baselines(*train, *valid, config.model.seq_length, pieces);
  if (flags.has("--text")) write_file_atomic(flags.option("--text"), result.text);
  const Json json = {{"unigram_bpb", result.unigram_bpb},
                     {"bigram_bpb", result.bigram_bpb},
                     {"bytes", result.bytes},
                     {"samples", valid->num_samples()}};
  print_line(flags.has("--json") ? json.dump()
                                 : fmt::format("unigram {:.4f}  bigram {:.4f} bits per byte on {} bytes",
                                               result.unigram_bpb, result.bigram_bpb, result.bytes));
  return 0;
}

}  // namespace phalanx::apps
