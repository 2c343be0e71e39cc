#include <fmt/format.h>

#include "apps/phalanx/data_verbs.h"
#include "apps/phalanx/recall_flags.h"
#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"
#include "phalanx/base/sha256.h"
#include "phalanx/data/recall_tasks.h"
#include "phalanx/telemetry/human.h"

namespace phalanx::apps {
namespace {

constexpr const char* kHelp =
    "usage: phalanx data tasks --task NAME --entries N --output FILE.jsonl [...]\n"
    "Writes recall tasks a line: task, index, entries, depth, prompt, answer. A text generated after the prompt is right\n"
    "when, without white space in front and cut at its next newline, it equals the answer.\n"
    "  --task NAME       phonebook, phonebook_reversed, phonebook_lookup, copy or associative_recall\n"
    "  --entries N       lines of the phonebook; or MIN..MAX, drawn for each task\n"
    "  --words N         the same for copy\n"
    "  --pairs N         the same for associative_recall\n"
    "  --questions N     asked in one text; the last one is for judging, the others stand answered in the prompt (1)\n"
    "  --first K         index of the first task (0); the entry asked for is index mod entries\n"
    "  --count N         tasks (100)\n"
    "  --seed N          (1234)\n"
    "  --part P          train, valid or test: as a run with this seed makes them for training and validation,\n"
    "                    or apart from both (test, the default)\n"
    "  --output FILE     jsonl; the same flags give the same bytes everywhere\n"
    "  --json            the summary as one JSON object\n"
    "example: phalanx data tasks --task phonebook --entries 32 --questions 1 --count 100 --seed 7 --output book.jsonl\n";

ParsedFlags parse(const Arguments& args) {
  FlagRules rules{.megatron = false};
  for (const char* flag : kRecallFlags) rules.aliases.push_back({flag, ""});
  rules.aliases.push_back({"--output", ""});
  rules.aliases.push_back({"--json", "", FlagKind::kSwitch});
  ParsedFlags flags = parse_flags(args, ConfigTree(), rules);
  if (flags.positionals.empty()) return flags;
  throw Error(ErrorKind::kUsage, {.where = "phalanx data tasks",
                                  .got = "the word '" + flags.positionals[0] + "'",
                                  .needed = "flags only",
                                  .fix = "put --task or --output before it"});
}

RecallTaskSpec one_spec(const ParsedFlags& flags) {
  const std::vector<RecallTaskSpec> specs = recall_specs(flags, "data tasks");
  if (specs.size() == 1) return specs[0];
  throw Error(ErrorKind::kUsage, {.where = "phalanx data tasks",
                                  .got = fmt::format("{} sizes", specs.size()),
                                  .needed = "one size, or one range such as 8..32, for a file",
                                  .fix = "give one"});
}

}  // namespace

int run_data_tasks(const Arguments& args) {
  if (answers_help(args, kHelp)) return 0;
  const ParsedFlags flags = parse(args);
  const RecallTaskSpec spec = one_spec(flags);
  const std::string output = required_option(flags, "data tasks", "--output");
  const auto [stream, first, count] = recall_range(flags, "100");
  AtomicFile file(output);
  Sha256 digest;
  for (int64_t index = first; index < first + count; ++index) {
    const RecallSample sample = make_recall_sample(spec, stream, index);
    const std::string line = Json{{"task", recall_task_name(spec.task)},
                                  {"index", index},
                                  {"entries", sample.entries},
                                  {"depth", sample.depth},
                                  {"prompt", sample.prompt},
                                  {"answer", sample.answer}}
                                 .dump() +
                             "\n";
    file.write(line.data(), line.size());
    digest.update(line);
  }
  const auto bytes = static_cast<int64_t>(file.size());
  file.commit();
  const std::string hash = digest.hex();
  const Json summary = {{"output", output},
                        {"task", recall_task_name(spec.task)},
                        {"count", count},
                        {"bytes", bytes},
                        {"sha256", hash}};
  print_line(flags.has("--json")
                 ? summary.dump()
                 : fmt::format("{} of {} in {}: {}\nsha256 {}", count, recall_task_name(spec.task),
                               human_bytes(static_cast<double>(bytes)), output, hash));
  return 0;
}

}  // namespace phalanx::apps
