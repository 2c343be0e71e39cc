#include <fmt/ranges.h>

#include <algorithm>

#include "apps/phalanx/data_verbs.h"
#include "phalanx/base/error.h"
#include "phalanx/base/json.h"
#include "phalanx/config/config_toml.h"
#include "phalanx/train/run_config.h"
#include "phalanx/train/sample_source.h"

namespace phalanx::apps {
namespace {

constexpr const char* kHelp =
    "usage: phalanx data samples [CONFIG.toml] [flags]     rows in training order\n"
    "  --data-path WORDS...             prefixes, or weights and prefixes in turn; cut by --split 969,30,1\n"
    "  --train-data-path, --valid-data-path, --test-data-path WORDS...   the same for one part, uncut\n"
    "  --data-args-path FILE, --per-split-data-args-path FILE.json       the words in a file\n"
    "  --seq-length S  --seed N  --num-samples TRAIN,VALID,TEST (how many the run takes; empty: one epoch)\n"
    "  --part train|valid|test  --first K  --count N  --json\n"
    "  --data-cache-path DIR  --num-dataset-builder-threads T  --mid-level-dataset-surplus F\n"
    "  any other setting as --section.key=value (--data.fim_data=true --data.tokenizer_type=... --data.tasks=...)\n"
    "example: phalanx data samples --data-path 0.3 data/notes 0.7 data/code --seq-length 128 --num-samples 1000 --count 3 "
    "--json\n";

SplitPart part_of(const std::string& name) {
  for (const SplitPart part : {SplitPart::kTrain, SplitPart::kValid, SplitPart::kTest}) {
    if (name == split_part_name(part)) return part;
  }
  throw Error(ErrorKind::kUsage, {.where = "--part",
                                  .got = "'" + name + "'",
                                  .needed = "train, valid or test",
                                  .fix = "use one of these"});
}

FlagRules rules() {
  FlagRules rules{.megatron = false};
  const auto add = [&](const std::string& name, FlagKind kind) {
    std::string key = "data." + name;
    std::replace(key.begin(), key.end(), '-', '_');
    rules.aliases.push_back({"--" + name, key, kind});
  };
  for (const char* name : {"data-path", "train-data-path", "valid-data-path", "test-data-path"})
    add(name, FlagKind::kWords);
  for (const char* name : {"data-args-path", "per-split-data-args-path", "split", "data-cache-path",
                           "num-dataset-builder-threads", "mid-level-dataset-surplus"}) {
    add(name, FlagKind::kValue);
  }
  rules.aliases.push_back({"--seq-length", "model.seq_length"});
  rules.aliases.push_back({"--seed", "train.seed"});
  for (const char* flag : {"--num-samples", "--part", "--first", "--count"})
    rules.aliases.push_back({flag, ""});
  rules.aliases.push_back({"--json", "", FlagKind::kSwitch});
  return rules;
}

// The entry of "TRAIN,VALID,TEST" for a part; an empty or absent one asks for one epoch.
std::optional<int64_t> samples_of_part(const ParsedFlags& flags, SplitPart part) {
  std::string text = flags.option("--num-samples");
  std::vector<std::string> entries;
  while (true) {
    const size_t comma = text.find(',');
    entries.push_back(text.substr(0, comma));
    if (comma == std::string::npos) break;
    text = text.substr(comma + 1);
  }
  if (entries.size() > 3) {
    throw Error(ErrorKind::kUsage, {.where = "--num-samples",
                                    .got = fmt::format("{} numbers", entries.size()),
                                    .needed = "TRAIN,VALID,TEST",
                                    .fix = "give three or fewer"});
  }
  const auto index = static_cast<size_t>(part);
  if (index >= entries.size() || entries[index].empty()) return std::nullopt;
  ParsedFlags one;
  one.options["--num-samples"] = {entries[index]};
  return whole_number(one, "--num-samples", "");
}

void print_row(int64_t index, const std::vector<int64_t>& tokens, bool json) {
  if (json) {
    print_line(Json{{"index", index}, {"tokens", tokens}}.dump());
  } else {
    print_line(fmt::format("{}: {}", index, fmt::join(tokens, " ")));
  }
}

}  // namespace

int run_data_samples(const Arguments& args) {
  if (answers_help(args, kHelp)) return 0;
  RunConfig config;
  ConfigTree tree = make_config_tree(config);
  const ParsedFlags flags = parse_flags(args, tree, rules());
  const bool has_file = !flags.positionals.empty();
  if (has_file) apply_toml_file(tree, one_positional(flags, "data samples", "CONFIG.toml"), Origin::kFile);
  apply_flags(tree, flags, has_file);
  if (!config.data.mock_data && config.data.tasks.empty() && !names_data(config.data))
    required_option(flags, "data samples", "--data-path");
  if (config.model.seq_length < 1) {
    throw Error(ErrorKind::kUsage, {.where = "--seq-length",
                                    .got = fmt::format("{}", config.model.seq_length),
                                    .needed = "a positive number",
                                    .fix = "change the value"});
  }
  const SplitPart part = part_of(flags.option("--part", "train"));
  const bool makes_text = config.data.fim_data || (!config.data.tasks.empty() && !config.data.mock_data);
  const auto tokenizer = makes_text ? make_tokenizer(tokenizer_options(config)) : nullptr;
  const SampleSourceOptions options{.seq_length = config.model.seq_length,
                                    .vocab_size = config.data.mock_data ? config.model.vocab_size : 0,
                                    .seed = static_cast<uint64_t>(config.train.seed),
                                    .num_samples = samples_of_part(flags, part),
                                    .tokenizer = tokenizer.get(),
                                    .may_be_short = true};
  const auto source = make_sample_source(config.data, part, options);
  if (source == nullptr) {
    throw Error(ErrorKind::kBadInput, {.where = "phalanx data samples",
                                       .got = fmt::format("no data for the {} part", split_part_name(part)),
                                       .needed = "a data path or a share of the split for it",
                                       .fix = "choose another --part, or change --split or the paths"});
  }
  const int64_t first = whole_number(flags, "--first", "0");
  const int64_t count = whole_number(flags, "--count", "1");
  if (first + count > source->num_samples()) {
    throw Error(ErrorKind::kBadInput, {.where = "phalanx data samples",
                                       .got = fmt::format("samples {} to {}", first, first + count - 1),
                                       .needed = fmt::format("indices below {}", source->num_samples()),
                                       .fix = "lower --first or --count"});
  }
  std::vector<int64_t> tokens(static_cast<size_t>(options.seq_length) + 1);
  std::vector<uint8_t> mask(static_cast<size_t>(options.seq_length));
  for (int64_t k = first; k < first + count; ++k) {
    source->read(k, tokens, mask);
    print_row(k, tokens, flags.has("--json"));
  }
  return 0;
}

}  // namespace phalanx::apps
