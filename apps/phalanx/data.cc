#include <algorithm>
#include <filesystem>

#include "apps/phalanx/verbs.h"
#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"
#include "phalanx/config/config_toml.h"
#include "phalanx/config/flags.h"
#include "phalanx/data/indexed_dataset.h"
#include "phalanx/data/indexed_writer.h"
#include "phalanx/train/baselines.h"
#include "phalanx/train/run_config.h"

namespace phalanx::apps {
namespace {

constexpr const char* kHelp =
    "usage: phalanx data tokenize --input FILE_OR_FOLDER... | --files-from LIST  --output-prefix P --tokenizer-type T\n"
    "                             [--append-eod]              one document a text file -> P_text_document.bin and .idx\n"
    "       phalanx data inspect PREFIX [--json]              sizes and the first tokens of a .bin/.idx pair\n"
    "       phalanx data merge --input PREFIX... --output-prefix P\n"
    "       phalanx data samples --data-path PREFIX --split 969,30,1 --seq-length S --seed N --num-samples TRAIN,VALID,TEST\n"
    "                            --part train|valid|test --first K --count N --json     rows in training order\n"
    "       phalanx data baselines CONFIG.toml [--text FILE] [--json]   unigram and bigram on the validation part\n"
    "example: phalanx data tokenize --input notes/ --output-prefix data/notes --tokenizer-type ByteTokenizer --append-eod\n";

std::vector<std::string> list_files(const ParsedFlags& flags) {
  std::vector<std::string> files;
  if (flags.has("--files-from")) {
    std::string list = read_file(flags.option("--files-from"));
    size_t begin = 0;
    while (begin < list.size()) {
      const size_t end = std::min(list.find('\n', begin), list.size());
      if (end > begin) files.push_back(list.substr(begin, end - begin));
      begin = end + 1;
    }
  }
  if (flags.has("--input")) {
    for (const std::string& input : flags.options.at("--input")) {
      if (!std::filesystem::is_directory(input)) {
        files.push_back(input);
        continue;
      }
      std::vector<std::string> inside;
      for (const auto& entry : std::filesystem::recursive_directory_iterator(input)) {
        if (entry.is_regular_file()) inside.push_back(entry.path().string());
      }
      std::sort(inside.begin(), inside.end());  // the file system's order is nobody's order
      files.insert(files.end(), inside.begin(), inside.end());
    }
  }
  if (files.empty()) {
    throw Error(ErrorKind::kUsage, {.where = "phalanx data tokenize",
                                    .got = "no file",
                                    .needed = "--input FILE_OR_FOLDER... or --files-from LIST",
                                    .fix = "phalanx data --help shows an example"});
  }
  return files;
}

std::string required(const ParsedFlags& flags, const std::string& flag) {
  if (flags.has(flag)) return flags.option(flag);
  throw Error(ErrorKind::kUsage, {.where = "phalanx data",
                                  .got = "no " + flag,
                                  .needed = flag + " VALUE",
                                  .fix = "phalanx data --help"});
}

int tokenize(const Arguments& args) {
  const ParsedFlags flags = parse_flags(args, ConfigTree(),
                                        {.aliases = {{"--input", "", FlagKind::kWords},
                                                     {"--files-from", ""},
                                                     {"--output-prefix", ""},
                                                     {"--tokenizer-type", ""},
                                                     {"--append-eod", "", FlagKind::kSwitch}},
                                         .megatron = false});
  const std::vector<std::string> files = list_files(flags);
  const auto tokenizer = make_tokenizer({.type = required(flags, "--tokenizer-type")});
  const std::string prefix = required(flags, "--output-prefix") + "_text_document";
  make_directories(std::filesystem::absolute(prefix).parent_path().string());
  IndexedDatasetWriter writer(prefix, token_dtype_for_vocab(tokenizer->vocab_size()));
  int64_t tokens = 0;
  int64_t bytes = 0;
  for (const std::string& file : files) {
    const MappedFile text(file);
    std::vector<int32_t> ids = tokenizer->encode(text.text());
    if (flags.has("--append-eod") && tokenizer->eod()) ids.push_back(*tokenizer->eod());
    writer.add_sequence(std::span<const int32_t>(ids));
    writer.end_document();
    tokens += static_cast<int64_t>(ids.size());
    bytes += static_cast<int64_t>(text.bytes().size());
  }
  writer.commit();
  print_line(fmt::format("{} documents, {} tokens, {:.3f} bytes per token: {}.bin", files.size(), tokens,
                         static_cast<double>(bytes) / static_cast<double>(std::max<int64_t>(1, tokens)),
                         prefix));
  return 0;
}

int inspect(const Arguments& args) {
  const ParsedFlags flags =
      parse_flags(args, ConfigTree(), {.aliases = {{"--json", "", FlagKind::kSwitch}}, .megatron = false});
  if (flags.positionals.size() != 1) required(flags, "PREFIX");
  const IndexedDataset data(flags.positionals[0]);
  std::vector<int64_t> first(
      data.num_sequences() > 0 ? static_cast<size_t>(std::min<int64_t>(16, data.length(0))) : 0);
  if (!first.empty()) data.read(0, 0, first);
  const Json json = {{"prefix", data.prefix()},
                     {"sequences", data.num_sequences()},
                     {"documents", data.num_documents()},
                     {"tokens", data.num_tokens()},
                     {"dtype", std::string(token_dtype_name(data.dtype()))},
                     {"first_tokens", first}};
  if (flags.has("--json")) {
    print_line(json.dump());
  } else {
    for (const auto& [key, value] : json.items()) print_line(key + " " + value.dump());
  }
  return 0;
}

int merge(const Arguments& args) {
  const ParsedFlags flags = parse_flags(
      args, ConfigTree(),
      {.aliases = {{"--input", "", FlagKind::kWords}, {"--output-prefix", ""}}, .megatron = false});
  required(flags, "--input");
  const std::string prefix = required(flags, "--output-prefix");
  const std::vector<std::string>& inputs = flags.options.at("--input");
  IndexedDatasetWriter writer(prefix, IndexedDataset(inputs[0]).dtype());
  for (const std::string& input : inputs) writer.append(IndexedDataset(input));
  writer.commit();
  print_line(fmt::format("{} sequences: {}.bin", writer.num_sequences(), prefix));
  return 0;
}

int64_t whole_number(const ParsedFlags& flags, const std::string& flag, const std::string& otherwise) {
  const std::string text = flags.option(flag, otherwise);
  if (!text.empty() && text.size() < 18 && text.find_first_not_of("0123456789") == std::string::npos)
    return std::stoll(text);
  throw Error(
      ErrorKind::kUsage,
      {.where = flag, .got = "'" + text + "'", .needed = "a whole number", .fix = "change the value"});
}

SplitPart part_of(const std::string& name) {
  if (name == "train") return SplitPart::kTrain;
  if (name == "valid") return SplitPart::kValid;
  if (name == "test") return SplitPart::kTest;
  throw Error(ErrorKind::kUsage, {.where = "--part",
                                  .got = "'" + name + "'",
                                  .needed = "train, valid or test",
                                  .fix = "use one of these"});
}

int samples(const Arguments& args) {
  FlagRules rules{.megatron = false};
  for (const char* flag : {"--data-path", "--split", "--seq-length", "--seed", "--num-samples", "--part",
                           "--first", "--count"}) {
    rules.aliases.push_back({flag, ""});
  }
  rules.aliases.push_back({"--json", "", FlagKind::kSwitch});
  const ParsedFlags flags = parse_flags(args, ConfigTree(), rules);
  DataConfig data;
  data.data_path = {required(flags, "--data-path")};
  data.split = flags.option("--split", data.split);
  const SplitPart part = part_of(flags.option("--part", "train"));
  SampleSourceOptions options;
  options.seq_length = whole_number(flags, "--seq-length", "");
  options.seed = static_cast<uint64_t>(whole_number(flags, "--seed", "1234"));
  if (flags.has("--num-samples")) {
    std::string text = flags.option("--num-samples") + ",,";
    for (int i = 0; i < static_cast<int>(part); ++i) text = text.substr(text.find(',') + 1);
    ParsedFlags one;
    one.options["--num-samples"] = {text.substr(0, text.find(','))};
    options.num_samples = whole_number(one, "--num-samples", "");
  }
  const auto source = make_sample_source(data, part, options);
  const int64_t total = source ? source->num_samples() : 0;
  const int64_t first = whole_number(flags, "--first", "0");
  const int64_t count = whole_number(flags, "--count", "1");
  if (first + count > total) {
    throw Error(ErrorKind::kBadInput, {.where = "phalanx data samples",
                                       .got = fmt::format("samples {} to {}", first, first + count - 1),
                                       .needed = fmt::format("indices below {}", total),
                                       .fix = "lower --first or --count"});
  }
  std::vector<int64_t> tokens(static_cast<size_t>(options.seq_length) + 1);
  std::vector<uint8_t> mask(static_cast<size_t>(options.seq_length));
  for (int64_t k = first; k < first + count; ++k) {
    source->read(k, tokens, mask);
    print_line(Json{{"index", k}, {"tokens", tokens}}.dump());
  }
  return 0;
}

int baselines(const Arguments& args) {
  const ParsedFlags flags =
      parse_flags(args, ConfigTree(),
                  {.aliases = {{"--text", ""}, {"--json", "", FlagKind::kSwitch}}, .megatron = false});
  if (flags.positionals.size() != 1) required(flags, "CONFIG.toml");
  RunConfig config;
  ConfigTree tree = make_config_tree(config);
  apply_toml_file(tree, flags.positionals[0], Origin::kFile);
  const auto tokenizer = make_tokenizer(tokenizer_options(config));
  std::vector<std::string> pieces;
  for (int64_t id = 0; id < tokenizer->vocab_size(); ++id)
    pieces.push_back(tokenizer->piece(static_cast<int32_t>(id), false));
  const SampleSourceOptions options{.seq_length = config.model.seq_length,
                                    .vocab_size = tokenizer->vocab_size(),
                                    .seed = static_cast<uint64_t>(config.train.seed),
                                    .num_samples = std::nullopt};
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
                     {"labels", result.labels},
                     {"samples", valid->num_samples()}};
  print_line(flags.has("--json") ? json.dump()
                                 : fmt::format("unigram {:.4f}  bigram {:.4f} bits per byte on {} bytes",
                                               result.unigram_bpb, result.bigram_bpb, result.bytes));
  return 0;
}

}  // namespace

int run_data(const Arguments& args) {
  const std::string word = sub_verb("data", args, {"tokenize", "inspect", "merge", "samples", "baselines"});
  const Arguments rest(args.begin() + (args.empty() ? 0 : 1), args.end());
  if (word == "--help" || (!rest.empty() && rest[0] == "--help")) {
    print_line(kHelp);
    return 0;
  }
  if (word == "tokenize") return tokenize(rest);
  if (word == "inspect") return inspect(rest);
  if (word == "merge") return merge(rest);
  if (word == "samples") return samples(rest);
  return baselines(rest);
}

}  // namespace phalanx::apps
