#include "apps/phalanx/data_verbs.h"

#include <algorithm>

#include "phalanx/base/error.h"

namespace phalanx::apps {
namespace {

constexpr const char* kHelp =
    "usage: phalanx data WORD ...   (phalanx data WORD --help says more)\n"
    "  train-tokenizer   text -> a byte-level BPE (tokenizer.json)\n"
    "  tokenize   text files, folders, jsonl (plain, gzip, zstd) -> .bin and .idx\n"
    "  inspect    counts, lengths and first documents of a .bin/.idx pair\n"
    "  verify     whether a .bin/.idx pair is whole and as it was written\n"
    "  merge      several pairs into one\n"
    "  samples    rows in training order\n"
    "  tasks      recall tasks (phonebook, copying, key and value) -> jsonl of prompts and answers\n"
    "  baselines  unigram and bigram on the validation part\n"
    "example: phalanx data tokenize --input notes/ --output-prefix data/notes --tokenizer-type ByteTokenizer --append-eod\n";

}  // namespace

bool answers_help(const Arguments& args, const char* help) {
  const bool asked = std::any_of(args.begin(), args.end(),
                                 [](const std::string& word) { return word == "--help" || word == "-h"; });
  if (asked) print_line(help);
  return asked;
}

std::string required_option(const ParsedFlags& flags, const std::string& verb, const std::string& flag) {
  if (flags.has(flag) && !flags.option(flag).empty()) return flags.option(flag);
  throw Error(ErrorKind::kUsage, {.where = "phalanx " + verb,
                                  .got = "no " + flag,
                                  .needed = flag + " VALUE",
                                  .fix = "phalanx " + verb + " --help shows an example"});
}

std::string one_positional(const ParsedFlags& flags, const std::string& verb, const std::string& what) {
  if (flags.positionals.size() == 1) return flags.positionals[0];
  throw Error(ErrorKind::kUsage, {.where = "phalanx " + verb,
                                  .got = flags.positionals.empty() ? "no " + what : "more than one " + what,
                                  .needed = "one " + what,
                                  .fix = "phalanx " + verb + " --help shows an example"});
}

int64_t whole_number(const ParsedFlags& flags, const std::string& flag, const std::string& otherwise) {
  const std::string text = flags.option(flag, otherwise);
  if (!text.empty() && text.size() < 18 && text.find_first_not_of("0123456789") == std::string::npos)
    return std::stoll(text);
  throw Error(
      ErrorKind::kUsage,
      {.where = flag, .got = "'" + text + "'", .needed = "a whole number", .fix = "change the value"});
}

int run_data(const Arguments& args) {
  const std::string word = sub_verb(
      "data", args,
      {"train-tokenizer", "tokenize", "inspect", "verify", "merge", "samples", "tasks", "baselines"});
  if (word == "--help") {
    print_line(kHelp);
    return 0;
  }
  const Arguments rest(args.begin() + 1, args.end());
  if (word == "train-tokenizer") return run_data_train_tokenizer(rest);
  if (word == "tokenize") return run_data_tokenize(rest);
  if (word == "inspect") return run_data_inspect(rest);
  if (word == "verify") return run_data_verify(rest);
  if (word == "merge") return run_data_merge(rest);
  if (word == "samples") return run_data_samples(rest);
  if (word == "tasks") return run_data_tasks(rest);
  return run_data_baselines(rest);
}

}  // namespace phalanx::apps
