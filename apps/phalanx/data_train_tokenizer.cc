#include <fmt/format.h>

#include "apps/phalanx/data_verbs.h"
#include "phalanx/base/clock.h"
#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"
#include "phalanx/base/log.h"
#include "phalanx/base/threads.h"
#include "phalanx/data/count_corpus.h"
#include "phalanx/telemetry/human.h"
#include "phalanx/telemetry/progress.h"
#include "phalanx/tokenizer/bpe_trainer.h"
#include "phalanx/tokenizer/tokenizer_json_writer.h"

namespace phalanx::apps {
namespace {

constexpr const char* kHelp =
    "usage: phalanx data train-tokenizer --input PATH... --vocab-size N --output DIR [...]\n"
    "Trains a byte-level BPE and writes DIR/tokenizer.json and DIR/tokenizer_config.json as Hugging Face reads them.\n"
    "  --input PATH...        files, folders or patterns, as `data tokenize` takes them\n"
    "  --files-from LIST      a file that names one of them a line\n"
    "  --input-format F       auto, jsonl or text\n"
    "  --json-keys KEY...     text fields of the objects (text)\n"
    "  --vocab-size N         tokens, the 256 bytes and special tokens included (30000)\n"
    "  --pattern P            how text is cut first: gpt2, cl100k, o200k, llama3, qwen2 (gpt2)\n"
    "  --special-tokens T...  ids 0, 1, ...; the first ends documents (<|endoftext|>)\n"
    "  --min-frequency N      pairs seen less often are not merged (0)\n"
    "  --workers N            threads (0: every core); the result does not depend on it\n"
    "  --output DIR           folder for the two files\n"
    "  --json                 the summary as one JSON object\n"
    "example: phalanx data train-tokenizer --input notes/ --vocab-size 4096 --output data/bpe\n";

SplitPattern pattern_of(const std::string& name) {
  const std::vector<std::pair<std::string, SplitPattern>> known = {{"gpt2", SplitPattern::kGpt2},
                                                                   {"cl100k", SplitPattern::kCl100k},
                                                                   {"o200k", SplitPattern::kO200k},
                                                                   {"llama3", SplitPattern::kLlama3},
                                                                   {"qwen2", SplitPattern::kQwen2}};
  for (const auto& [spelling, pattern] : known) {
    if (name == spelling) return pattern;
  }
  throw Error(ErrorKind::kUsage, {.where = "--pattern",
                                  .got = "'" + name + "'",
                                  .needed = "gpt2, cl100k, o200k, llama3 or qwen2",
                                  .fix = "use one of these"});
}

ParsedFlags parse(const Arguments& args) {
  ParsedFlags flags = parse_flags(args, ConfigTree(),
                                  {.aliases = {{"--input", "", FlagKind::kWords},
                                               {"--files-from", ""},
                                               {"--input-format", ""},
                                               {"--json-keys", "", FlagKind::kWords},
                                               {"--vocab-size", ""},
                                               {"--pattern", ""},
                                               {"--special-tokens", "", FlagKind::kWords},
                                               {"--min-frequency", ""},
                                               {"--workers", ""},
                                               {"--output", ""},
                                               {"--json", "", FlagKind::kSwitch}},
                                   .megatron = false});
  if (flags.positionals.empty()) return flags;
  throw Error(ErrorKind::kUsage, {.where = "phalanx data train-tokenizer",
                                  .got = "the word '" + flags.positionals[0] + "'",
                                  .needed = "flags only",
                                  .fix = "put --input before it"});
}

// What transformers' AutoTokenizer reads beside tokenizer.json.
std::string tokenizer_config(const std::vector<std::string>& special) {
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}};
  if (!special.empty()) {
    config["bos_token"] = special[0];
    config["eos_token"] = special[0];
  }
  return config.dump(2) + "\n";
}

}  // namespace

int run_data_train_tokenizer(const Arguments& args) {
  if (answers_help(args, kHelp)) return 0;
  const ParsedFlags flags = parse(args);
  const std::string folder = required_option(flags, "data train-tokenizer", "--output");
  BpeTrainerOptions options{.vocab_size = whole_number(flags, "--vocab-size", "30000"),
                            .min_frequency = whole_number(flags, "--min-frequency", "0"),
                            .special_tokens = {"<|endoftext|>"},
                            .pattern = pattern_of(flags.option("--pattern", "gpt2"))};
  if (flags.has("--special-tokens")) options.special_tokens = flags.options.at("--special-tokens");
  const double started = monotonic_seconds();
  const CountOptions counting{
      .files = list_text_files(text_inputs(flags, "data train-tokenizer"),
                               text_format(flags.option("--input-format", "auto")), {}),
      .keys = json_keys(flags),
      .pattern = options.pattern,
      .threads = thread_count(std::min<int64_t>(whole_number(flags, "--workers", "0"), 1024))};
  make_directories(folder);
  const CountedCorpus corpus = count_corpus(counting);
  if (corpus.rejected > 0) log_warning(fmt::format("{} documents could not be used", corpus.rejected));
  ProgressBar bar(
      {.title = "merging",
       .total = static_cast<double>(options.vocab_size),
       .unit = ProgressUnit::kItems,
       .terminal = stderr_terminal()},
      [](std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); }, monotonic_seconds);
  const BpeSpec spec = train_bpe(corpus.words.words(), options,
                                 [&](int64_t done, int64_t) { bar.update(static_cast<double>(done)); });
  bar.finish();
  write_file_atomic(folder + "/tokenizer_config.json", tokenizer_config(options.special_tokens));
  write_file_atomic(folder + "/tokenizer.json", tokenizer_json(spec));
  const double seconds = monotonic_seconds() - started;
  const Json summary = {{"output", folder},
                        {"vocab_size", spec.model.tokens.size()},
                        {"merges", spec.model.merges.size()},
                        {"documents", corpus.documents},
                        {"bytes", corpus.bytes},
                        {"distinct_pieces", corpus.words.distinct()},
                        {"rejected", corpus.rejected},
                        {"seconds", seconds}};
  print_line(flags.has("--json")
                 ? summary.dump()
                 : fmt::format("{} tokens from {} of text ({} distinct pieces) in {}: {}/tokenizer.json",
                               spec.model.tokens.size(), human_bytes(static_cast<double>(corpus.bytes)),
                               corpus.words.distinct(), human_duration(seconds), folder));
  return 0;
}

}  // namespace phalanx::apps
