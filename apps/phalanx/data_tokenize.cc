#include <cstdio>

#include <fmt/format.h>

#include "apps/phalanx/data_verbs.h"
#include "apps/phalanx/tokenizer_flags.h"
#include "phalanx/base/clock.h"
#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"
#include "phalanx/base/log.h"
#include "phalanx/base/threads.h"
#include "phalanx/data/tokenize_corpus.h"
#include "phalanx/telemetry/human.h"
#include "phalanx/telemetry/progress.h"

namespace phalanx::apps {
namespace {

constexpr const char* kHelp =
    "usage: phalanx data tokenize --input PATH... --output-prefix P --tokenizer-type T [...]\n"
    "Writes P_KEY_document.bin and .idx (Megatron's format), and .json with counts and checksums, for each key.\n"
    "  --input PATH...        files, folders (all files in them, sorted, without hidden ones) or patterns\n"
    "  --files-from LIST      a file that names one of them a line\n"
    "  --input-format F       auto (by name and content), jsonl (one JSON object a line), text (one document a file);\n"
    "                         gzip and zstd are unpacked, whatever the name\n"
    "  --json-keys KEY...     text fields of the objects, one output each (text)\n"
    "  --output-prefix P      begin of the output's names; P_parts/ holds what is finished until all is\n"
    "  --tokenizer-type T     ByteTokenizer, HuggingFaceTokenizer, GPT2BPETokenizer, ...\n"
    "  --tokenizer-model M    its file or folder; or --vocab-file and --merge-file, --vocab-size\n"
    "  --append-eod           ends each document with the tokenizer's token for it, or with --eod-token T\n"
    "  --workers N            threads (0: every core); the output does not depend on it\n"
    "  --max-rejected N|P%    lines that may be unusable before the job stops (1%, looked at from 1000 lines on)\n"
    "  --max-document-mb N    longer lines and files are rejected (1024)\n"
    "  --log-interval N       a line in the log every N documents\n"
    "  --json                 the summary as one JSON object\n"
    "A run that was stopped goes on where it was, input file by input file: give the same command again.\n"
    "example: phalanx data tokenize --input c4/*.jsonl.gz --output-prefix data/c4 --tokenizer-type HuggingFaceTokenizer \\\n"
    "           --tokenizer-model gpt2/tokenizer.json --append-eod\n";

[[noreturn]] void throw_usage(const std::string& where, const std::string& got, const std::string& needed,
                              const std::string& fix) {
  throw Error(ErrorKind::kUsage, {.where = where, .got = got, .needed = needed, .fix = fix});
}

ParsedFlags parse(const Arguments& args) {
  FlagRules rules{.aliases = {{"--input", "", FlagKind::kWords},
                              {"--files-from", ""},
                              {"--input-format", ""},
                              {"--json-keys", "", FlagKind::kWords},
                              {"--output-prefix", ""},
                              {"--append-eod", "", FlagKind::kSwitch},
                              {"--workers", ""},
                              {"--max-rejected", ""},
                              {"--max-document-mb", ""},
                              {"--log-interval", ""},
                              {"--json", "", FlagKind::kSwitch},
                              {"--partitions", ""},
                              {"--keep-sequential-samples", "", FlagKind::kSwitch},
                              {"--split-sentences", "", FlagKind::kSwitch}},
                  .megatron = false};
  add_tokenizer_flags(rules.aliases);
  ParsedFlags flags = parse_flags(args, ConfigTree(), rules);
  if (!flags.positionals.empty()) {
    throw_usage("phalanx data tokenize", "the word '" + flags.positionals[0] + "'", "flags only",
                "put --input before it");
  }
  if (flags.has("--split-sentences")) {
    throw_usage("--split-sentences", "the flag", "documents: GPT models read text across sentences",
                "leave it out, or cut sentences before (a list of strings under a key is one document)");
  }
  return flags;
}

TokenizeOptions options_of(const ParsedFlags& flags) {
  TokenizeOptions options;
  options.inputs = text_inputs(flags, "data tokenize");
  options.format = text_format(flags.option("--input-format", "auto"));
  options.output_prefix = required_option(flags, "data tokenize", "--output-prefix");
  options.keys = json_keys(flags);
  required_option(flags, "data tokenize", "--tokenizer-type");
  options.tokenizer = tokenizer_options_of(flags);
  options.append_eod = flags.has("--append-eod");
  options.threads = thread_count(std::min<int64_t>(whole_number(flags, "--workers", "0"), 1024));
  if (flags.has("--max-rejected")) options.max_rejected = RejectLimit::parse(flags.option("--max-rejected"));
  const int64_t megabytes = whole_number(flags, "--max-document-mb", "1024");
  if (megabytes < 1 || megabytes > 4000)  // the parser's positions have 32 bits
    throw_usage("--max-document-mb", std::to_string(megabytes), "1 to 4000", "change the value");
  options.max_document_bytes = megabytes << 20;
  if (flags.has("--partitions")) {
    whole_number(flags, "--partitions", "");
    log_info("--partitions: nothing to do; each input file is a part of its own, and all threads share it");
  }
  if (flags.has("--keep-sequential-samples"))
    log_info("--keep-sequential-samples: nothing to do; documents always keep the order of the input");
  return options;
}

// The bar of a terminal, or lines in the log when asked for.
class Reporter {
 public:
  explicit Reporter(int64_t log_interval) : log_interval_(log_interval), start_(monotonic_seconds()) {}

  void update(const TokenizeProgress& progress) {
    if (!bar_) {
      const ProgressBarOptions options{.title = "tokenizing",
                                       .total = static_cast<double>(progress.input_bytes_total),
                                       .unit = ProgressUnit::kBytes,
                                       .terminal = stderr_terminal()};
      bar_.emplace(
          options, [](std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); },
          monotonic_seconds);
    }
    bar_->update(static_cast<double>(progress.input_bytes));
    if (log_interval_ <= 0 || progress.lines / log_interval_ == logged_) return;
    logged_ = progress.lines / log_interval_;
    const double seconds = monotonic_seconds() - start_;
    bar_->clear();
    log_info(fmt::format("{} documents, {} of {}, {}/s", progress.lines,
                         human_bytes(static_cast<double>(progress.input_bytes)),
                         human_bytes(static_cast<double>(progress.input_bytes_total)),
                         human_bytes(static_cast<double>(progress.input_bytes) / seconds)));
  }
  void finish() {
    if (bar_) bar_->finish();
  }
  void clear() {
    if (bar_) bar_->clear();
  }

 private:
  std::optional<ProgressBar> bar_;
  int64_t log_interval_;
  int64_t logged_ = 0;
  double start_;
};

double megabytes_per_second(const TokenizeReport& report) {
  const auto bytes = static_cast<double>(report.counts.unpacked_bytes - report.bytes_reused);
  return report.seconds > 0 ? bytes / 1e6 / report.seconds : 0;
}

double bytes_per_token(const ColumnCounts& counts) {
  return static_cast<double>(counts.text_bytes) / static_cast<double>(std::max<int64_t>(1, counts.tokens));
}

Json summary_json(const TokenizeReport& report) {
  Json outputs = Json::array();
  for (const TokenizedColumn& column : report.columns) {
    outputs.push_back({{"key", column.key},
                       {"prefix", column.prefix},
                       {"documents", column.counts.documents},
                       {"empty_documents", column.counts.empty_documents},
                       {"sequences", column.counts.sequences},
                       {"tokens", column.counts.tokens},
                       {"text_bytes", column.counts.text_bytes},
                       {"bytes_per_token", bytes_per_token(column.counts)}});
  }
  Json reasons = Json::object();
  for (size_t i = 0; i < kRejectReasons; ++i) {
    if (report.counts.rejected.by_reason[i] > 0)
      reasons[std::string(reject_name(static_cast<RejectReason>(i)))] = report.counts.rejected.by_reason[i];
  }
  Json examples = Json::array();
  for (const RejectExample& example : report.counts.rejected.examples)
    examples.push_back({{"where", example.where}, {"what", example.what}});
  const ColumnCounts& first = report.columns.front().counts;
  return {{"documents", first.documents},
          {"tokens", first.tokens},
          {"bytes_per_token", bytes_per_token(first)},
          {"dtype", std::string(token_dtype_name(report.dtype))},
          {"outputs", outputs},
          {"files", report.files},
          {"lines", report.counts.lines},
          {"blank_lines", report.counts.blank_lines},
          {"repaired", report.counts.repaired},
          {"rejected", report.counts.rejected.total()},
          {"rejected_reasons", reasons},
          {"rejected_examples", examples},
          {"input_bytes", report.counts.input_bytes},
          {"text_bytes_read", report.counts.unpacked_bytes},
          {"parts", report.parts},
          {"parts_reused", report.parts_reused},
          {"seconds", report.seconds},
          {"mb_per_s", megabytes_per_second(report)}};
}

std::string summary_text(const TokenizeReport& report) {
  std::string out;
  for (const TokenizedColumn& column : report.columns) {
    out += fmt::format("{} documents, {} tokens, {:.3f} bytes per token: {}.bin\n", column.counts.documents,
                       column.counts.tokens, bytes_per_token(column.counts), column.prefix);
    if (column.counts.empty_documents > 0)
      out += fmt::format("{} documents are empty\n", column.counts.empty_documents);
  }
  const CorpusCounts& counts = report.counts;
  if (counts.repaired > 0)
    out += fmt::format("{} documents had text that is no Unicode; it became U+FFFD\n", counts.repaired);
  out += fmt::format("{} rejected", counts.rejected.total());
  for (size_t i = 0; i < kRejectReasons; ++i) {
    if (counts.rejected.by_reason[i] > 0)
      out += fmt::format(", {} {}", counts.rejected.by_reason[i], reject_name(static_cast<RejectReason>(i)));
  }
  if (report.parts_reused > 0) {
    out += fmt::format("\n{} of {} parts were finished before", report.parts_reused, report.parts);
  }
  return out + fmt::format("\n{} files, {} of text in {}, {:.1f} MB/s\n", report.files,
                           human_bytes(static_cast<double>(counts.unpacked_bytes)),
                           human_duration(report.seconds), megabytes_per_second(report));
}

}  // namespace

int run_data_tokenize(const Arguments& args) {
  if (answers_help(args, kHelp)) return 0;
  const ParsedFlags flags = parse(args);
  TokenizeOptions options = options_of(flags);
  Reporter reporter(whole_number(flags, "--log-interval", "0"));
  options.on_progress = [&](const TokenizeProgress& progress) { reporter.update(progress); };
  TokenizeReport report;
  try {
    report = tokenize_corpus(options);
  } catch (...) {
    reporter.clear();
    throw;
  }
  reporter.finish();
  for (const RejectExample& example : report.counts.rejected.examples)
    log_warning(fmt::format("{}: rejected: {}", example.where, example.what));
  print_line(flags.has("--json") ? summary_json(report).dump(-1, ' ', false, Json::error_handler_t::replace)
                                 : summary_text(report));
  return 0;
}

}  // namespace phalanx::apps
