#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "apps/phalanx/schedule_report.h"
#include "apps/phalanx/verbs.h"
#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/log.h"
#include "phalanx/config/config_value.h"
#include "phalanx/config/flags.h"
#include "phalanx/pipeline/build_schedule.h"
#include "phalanx/pipeline/generate.h"
#include "phalanx/pipeline/render.h"
#include "phalanx/pipeline/schedule_json.h"
#include "phalanx/pipeline/verify.h"
#include "phalanx/telemetry/terminal.h"

namespace phalanx::apps {
namespace {

// Enough for any cluster; more would take minutes and gigabytes to lay out.
constexpr int64_t kMaxRanks = 4096, kMaxChunks = 1024, kMaxMicroBatches = 1'000'000, kMaxUnits = 4'000'000;
constexpr int64_t kMaxTicks = 1'000'000;
constexpr int64_t kMinWidth = 40, kMaxWidth = 100'000;
constexpr int64_t kDefaultWidth = 160;

const std::vector<FlagAlias>& flags_of_verb() {
  static const std::vector<FlagAlias> list = {
      {"--kind", "", FlagKind::kValue, "a name from the list below, or a schedule as JSON", "NAME|FILE.json"},
      {"--pp", "", FlagKind::kValue, "pipeline ranks", "P"},
      {"--chunks", "", FlagKind::kValue, "model pieces a rank; as few as the kind allows", "V"},
      {"--micro-batches", "", FlagKind::kValue, "micro-batches a step", "M"},
      {"--forward-only", "", FlagKind::kSwitch, "the form for evaluation and generation"},
      {"--forward", "", FlagKind::kValue, "ticks of F of a chunk; 1", "T"},
      {"--backward-input", "", FlagKind::kValue, "ticks of B; 1 (BW takes B and W together)", "T"},
      {"--backward-weight", "", FlagKind::kValue, "ticks of W; 1", "T"},
      {"--link", "", FlagKind::kValue, "ticks of a message between two ranks; 0", "T"},
      {"--no-overlap", "", FlagKind::kSwitch, "both ranks of a message wait for it"},
      {"--compare", "", FlagKind::kSwitch, "a table of all kinds instead of one schedule"},
      {"--width", "", FlagKind::kValue, "columns of the text; the terminal's, else 160", "N"},
      {"--svg", "", FlagKind::kValue, "draw the timeline", "FILE"},
      {"--trace", "", FlagKind::kValue, "a trace for chrome://tracing or Perfetto; a tick is 1 us", "FILE"},
      {"--json", "", FlagKind::kSwitch, "print the schedule (with --compare the table) as JSON"},
      {"--help", "", FlagKind::kSwitch, "print this text"},
  };
  return list;
}

std::string help() {
  std::string text =
      "usage: phalanx schedule --kind NAME|FILE.json --pp P --micro-batches M [options]\n"
      "       phalanx schedule --compare --pp P --micro-batches M [options]\n"
      "Makes a pipeline schedule (or reads one), proves it, runs it on a virtual clock and shows when which rank does\n"
      "what, how much of the time is bubble, and how many activations each rank holds.\n\n" +
      alias_help(flags_of_verb()) + "\nkinds:\n";
  for (const ScheduleKind& kind : schedule_kinds())
    text += fmt::format("  {:<14} {}\n", kind.name, kind.summary);
  return text +
         "\nexample: phalanx schedule --kind interleaved --pp 4 --chunks 2 --micro-batches 8 --svg out.svg\n"
         "A file: phalanx schedule --kind 1f1b --pp 2 --micro-batches 4 --json > mine.json; edit it; then\n"
         "        phalanx schedule --kind mine.json\n";
}

[[noreturn]] void throw_usage(const std::string& where, const std::string& got, const std::string& needed,
                              const std::string& fix) {
  throw Error(ErrorKind::kUsage, {.where = where, .got = got, .needed = needed, .fix = fix});
}

std::optional<int64_t> number_of(const ParsedFlags& flags, const std::string& flag, int64_t low,
                                 int64_t high) {
  if (!flags.has(flag)) return std::nullopt;
  const std::string text = flags.option(flag);
  const std::optional<int64_t> value = parse_integer(text);
  if (value && *value >= low && *value <= high) return value;
  throw_usage(flag, "'" + text + "'", fmt::format("a whole number from {} to {}", low, high),
              "change the value");
}

int count_of(const ParsedFlags& flags, const std::string& flag, int64_t high) {
  const std::optional<int64_t> value = number_of(flags, flag, 1, high);
  if (!value)
    throw_usage("phalanx schedule", "no " + flag, flag + " N", "phalanx schedule --help shows an example");
  return static_cast<int>(*value);
}

bool names_file(const std::string& kind) {
  return kind.ends_with(".json");
}

// What a flag says besides a file must be what the file says.
void check_agrees(const ParsedFlags& flags, const std::string& flag, int64_t high, int in_file,
                  const std::string& path) {
  const std::optional<int64_t> value = number_of(flags, flag, 1, high);
  if (!value || *value == in_file) return;
  throw_usage(flag, fmt::format("{}", *value), fmt::format("{}, as {} says", in_file, path),
              "leave the flag out");
}

Schedule schedule_from_file(const ParsedFlags& flags, const std::string& path) {
  Schedule schedule = read_schedule_file(path);
  check_agrees(flags, "--pp", kMaxRanks, schedule.pp, path);
  check_agrees(flags, "--chunks", kMaxChunks, schedule.chunks, path);
  check_agrees(flags, "--micro-batches", kMaxMicroBatches, schedule.micro_batches, path);
  if (flags.has("--forward-only") && !schedule.forward_only) {
    schedule = forward_only(schedule);
    verify(schedule, path + ", forward only");
  }
  return schedule;
}

ScheduleRequest request_of(const ParsedFlags& flags) {
  ScheduleRequest request{.kind = flags.option("--kind"),
                          .pp = count_of(flags, "--pp", kMaxRanks),
                          .micro_batches = count_of(flags, "--micro-batches", kMaxMicroBatches),
                          .forward_only = flags.has("--forward-only")};
  for (const ScheduleKind& kind : schedule_kinds()) {
    if (kind.name == request.kind) request.chunks = kind.min_chunks;
  }
  if (flags.has("--chunks")) request.chunks = count_of(flags, "--chunks", kMaxChunks);
  const int64_t units = int64_t{request.pp} * request.chunks * request.micro_batches;
  if (units > kMaxUnits) {
    throw_usage("phalanx schedule",
                fmt::format("{} ranks x {} chunks x {} micro-batches = {}", request.pp, request.chunks,
                            request.micro_batches, units),
                fmt::format("a product of at most {}", kMaxUnits), "lower one of the three");
  }
  return request;
}

Schedule schedule_of(const ParsedFlags& flags) {
  if (!flags.has("--kind")) {
    throw_usage("phalanx schedule", "no --kind", "--kind NAME, --kind FILE.json or --compare",
                "phalanx schedule --help lists the kinds");
  }
  const std::string kind = flags.option("--kind");
  if (names_file(kind)) return schedule_from_file(flags, kind);
  Schedule schedule = make_schedule(request_of(flags));
  verify(schedule, "schedule " + kind);
  return schedule;
}

SimulateOptions simulate_options(const ParsedFlags& flags) {
  const StageCost cost{.forward = number_of(flags, "--forward", 1, kMaxTicks).value_or(1),
                       .backward_input = number_of(flags, "--backward-input", 1, kMaxTicks).value_or(1),
                       .backward_weight = number_of(flags, "--backward-weight", 1, kMaxTicks).value_or(1)};
  const int64_t link = number_of(flags, "--link", 0, kMaxTicks).value_or(0);
  return {.stages = {cost},
          .forward_link = {link},
          .backward_link = {link},
          .overlap = !flags.has("--no-overlap")};
}

int columns_of(const ParsedFlags& flags) {
  const int64_t otherwise =
      ::isatty(STDOUT_FILENO) == 1 ? std::max<int64_t>(stderr_terminal().columns, kMinWidth) : kDefaultWidth;
  return static_cast<int>(number_of(flags, "--width", kMinWidth, kMaxWidth).value_or(otherwise));
}

int compare(const ParsedFlags& flags, const SimulateOptions& options) {
  for (const char* flag : {"--kind", "--svg", "--trace"}) {
    if (flags.has(flag)) throw_usage(flag, "both it and --compare", "one of the two", "leave one out");
  }
  ScheduleRequest request = request_of(flags);
  if (!flags.has("--chunks")) request.chunks = 2;
  const std::vector<ComparedKind> rows = compare_kinds(request, options);
  print_line(flags.has("--json") ? compared_json(rows) : compared_text(request, rows));
  return 0;
}

}  // namespace

int run_schedule(const Arguments& args) {
  const ParsedFlags flags = parse_flags(args, ConfigTree(), {.aliases = flags_of_verb(), .megatron = false});
  if (flags.has("--help")) {
    print_line(help());
    return 0;
  }
  for (const std::string& note : flags.notes) log_info(note);
  if (!flags.positionals.empty()) {
    throw_usage("phalanx schedule", "'" + flags.positionals.front() + "'", "flags only",
                "a file is named by --kind FILE.json");
  }
  const SimulateOptions options = simulate_options(flags);
  const int columns = columns_of(flags);
  if (flags.has("--compare")) return compare(flags, options);
  const Schedule schedule = schedule_of(flags);
  const Timeline timeline = simulate(schedule, options);
  if (flags.has("--svg")) {
    write_file_atomic(flags.option("--svg"),
                      render_svg(schedule, timeline, "Pipeline schedule " + schedule.kind));
  }
  if (flags.has("--trace")) write_trace(flags.option("--trace"), schedule, timeline);
  print_line(flags.has("--json")
                 ? schedule_to_json(schedule)
                 : render_text(schedule, timeline, columns) + "\n" + schedule_summary(schedule, timeline));
  return 0;
}

}  // namespace phalanx::apps
