#include <fmt/format.h>

#include <algorithm>

#include "apps/phalanx/model_flags.h"
#include "apps/phalanx/recall_flags.h"
#include "apps/phalanx/text_lines.h"
#include "apps/phalanx/verbs.h"
#include "phalanx/base/clock.h"
#include "phalanx/base/error.h"
#include "phalanx/base/json.h"
#include "phalanx/eval/recall_eval.h"
#include "phalanx/tokenizer/stream_decoder.h"

namespace phalanx::apps {
namespace {

constexpr const char* kHelp =
    "usage: phalanx eval recall --model DIR --task NAME --entries N,.. [...]\n"
    "Greedy answers to recall tasks (phalanx data tasks --help) that stand in no training data: exact matches with their\n"
    "95 % Wilson interval, and the share of letters and digits that are right at their place.\n"
    "  --model DIR       a run folder, a checkpoint or a Hugging Face folder, with a tokenizer\n"
    "  --task NAME       phonebook, phonebook_reversed, phonebook_lookup, copy or associative_recall\n"
    "  --entries N,..    lines of the phonebook: 32 or 8..32, one row of the result for each\n"
    "  --words, --pairs  the same for copy and associative_recall\n"
    "  --questions N     asked in one text; the last one is judged (1)\n"
    "  --count N         tasks of each size (200), from index --first (0)\n"
    "  --seed N          (1234)\n"
    "  --part P          train, valid or test (test)\n"
    "  --batch N         tasks at a time (32)\n"
    "  --output FILE     one line a task: size, index, depth, wanted, made\n"
    "  --dtype, --device, --threads, --tensor, --pipeline: as phalanx generate takes them\n"
    "  --json            the result as one JSON object\n"
    "example: phalanx eval recall --model runs/hybrid --task phonebook --entries 8,32,128\n";

Json row_of(const RecallTaskSpec& spec, const RecallResult& result, double seconds) {
  const Interval interval = result.interval();
  const auto count = static_cast<int64_t>(result.answers.size());
  return {{"min_entries", spec.min_entries},
          {"max_entries", spec.max_entries},
          {"count", count},
          {"exact", result.exact()},
          {"exact_share", static_cast<double>(result.exact()) / static_cast<double>(count)},
          {"low", interval.low},
          {"high", interval.high},
          {"overlap", result.overlap()},
          {"mean_prompt_tokens", static_cast<double>(result.prompt_tokens) / static_cast<double>(count)},
          {"longest_prompt_tokens", result.longest_prompt},
          {"seconds", seconds}};
}

std::string lines_of(const RecallResult& result) {
  std::string text;
  for (const RecallAnswer& answer : result.answers) {
    text += Json{{"entries", answer.entries},
                 {"index", answer.index},
                 {"depth", answer.depth},
                 {"wanted", answer.wanted},
                 {"made", valid_utf8(answer.made)}}
                .dump() +
            "\n";
  }
  return text;
}

void print_head() {
  print_line(fmt::format("{:>9} {:>7} {:>7} {:>10} {:>18} {:>10} {:>13} {:>9}", "size", "tasks", "exact",
                         "share", "95 % interval", "overlap", "prompt tokens", "seconds"));
}

void print_row(const Json& row) {
  const auto least = row["min_entries"].get<int64_t>();
  const auto most = row["max_entries"].get<int64_t>();
  print_line(fmt::format("{:>9} {:>7} {:>7} {:>8.1f} % {:>7.1f} to {:>5.1f} % {:>8.1f} % {:>13.0f} {:>9.1f}",
                         least == most ? std::to_string(most) : fmt::format("{}..{}", least, most),
                         row["count"].get<int64_t>(), row["exact"].get<int64_t>(),
                         100 * row["exact_share"].get<double>(), 100 * row["low"].get<double>(),
                         100 * row["high"].get<double>(), 100 * row["overlap"].get<double>(),
                         row["mean_prompt_tokens"].get<double>(), row["seconds"].get<double>()));
}

int run_eval_recall(const Arguments& args) {
  std::vector<OwnFlag> own = {
      {"--batch", FlagKind::kValue}, {"--output", FlagKind::kValue}, {"--json", FlagKind::kSwitch}};
  for (const char* flag : kRecallFlags) own.push_back({flag, FlagKind::kValue});
  const ModelFlags flags = parse_model_flags("eval recall", args, own);
  const std::vector<RecallTaskSpec> specs = recall_specs(flags.parsed, "eval recall");
  const RecallRange range = recall_range(flags.parsed, "200");
  RecallEvalOptions options{.spec = {},
                            .stream = range.stream,
                            .first = range.first,
                            .count = range.count,
                            .limits = batch_limits(flags)};
  const ModelFolder folder = open_model(flags.model);
  require_tokenizer(folder);
  const std::unique_ptr<TextModel> model = load_text_model(folder, flags.load);
  const bool as_json = flags.parsed.has("--json");
  Json rows = Json::array();
  std::string lines;
  for (const RecallTaskSpec& spec : specs) {
    options.spec = spec;
    const double before = monotonic_seconds();
    const RecallResult result = eval_recall(*model, folder, options);
    rows.push_back(row_of(spec, result, monotonic_seconds() - before));
    lines += lines_of(result);
    if (as_json) continue;
    if (rows.size() == 1) print_head();  // not before the prompts are known to fit
    print_row(rows.back());
  }
  if (flags.parsed.has("--output")) write_output(flags.parsed.option("--output"), lines);
  if (as_json) print_line(Json{{"task", recall_task_name(specs[0].task)}, {"rows", rows}}.dump());
  return 0;
}

}  // namespace

int run_eval(const Arguments& args) {
  const std::string word = sub_verb("eval", args, {"recall"});
  if (word == "--help" || std::find(args.begin(), args.end(), "--help") != args.end()) {
    print_line(kHelp);
    return 0;
  }
  return run_eval_recall(Arguments(args.begin() + 1, args.end()));
}

}  // namespace phalanx::apps
