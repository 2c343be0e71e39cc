#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "apps/phalanx/verbs.h"
#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"
#include "phalanx/config/config_value.h"
#include "phalanx/config/flags.h"
#include "phalanx/telemetry/svg.h"

namespace phalanx::apps {
namespace {

constexpr const char* kHelp =
    "usage: phalanx plot [NAME=]PATH ... --output FILE.svg [...]\n"
    "Draws a curve for each PATH: a run folder, or a file with a JSON object a line. Lines without both keys are left out.\n"
    "  --x KEY           (step)\n"
    "  --y KEY           (loss)\n"
    "  --title, --subtitle, --x-label, --y-label TEXT\n"
    "  --log-x, --log-y  logarithmic axes\n"
    "  --smoothing W     weight of the past in a moving average, from 0 to 1 (0)\n"
    "  --output FILE     svg\n"
    "example: phalanx plot hybrid=runs/a transformer=runs/b --y valid_loss --output compare.svg\n";

struct NamedPath {
  std::string name;
  std::string path;
};

// `a=b` is name and path unless a file is called that.
NamedPath named_path(const std::string& word) {
  const size_t equal = word.find('=');
  if (equal != std::string::npos && !std::filesystem::exists(word))
    return {.name = word.substr(0, equal), .path = word.substr(equal + 1)};
  std::filesystem::path path(word);
  if (!path.has_filename()) path = path.parent_path();
  return {.name = path.stem().string(), .path = word};
}

std::optional<double> number_at(const Json& record, const std::string& key) {
  const auto found = record.find(key);
  if (found == record.end()) return std::nullopt;
  if (found->is_number()) return found->get<double>();
  // metrics.jsonl writes what is not finite as null.
  if (found->is_null()) return std::numeric_limits<double>::quiet_NaN();
  return std::nullopt;
}

PlotSeries read_series(const NamedPath& named, const std::string& x, const std::string& y) {
  std::string path = named.path;
  if (std::filesystem::is_directory(path)) path += "/metrics.jsonl";
  const std::string text = read_file(path);
  PlotSeries series{.name = named.name};
  size_t begin = 0;
  for (int64_t line = 1; begin < text.size(); ++line) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const Json record = Json::parse(text.substr(begin, end - begin), nullptr, /*allow_exceptions=*/false);
    begin = end + 1;
    if (!record.is_object()) {
      throw Error(ErrorKind::kBadInput, {.where = fmt::format("{}:{}", path, line),
                                         .got = "no JSON object",
                                         .needed = "one a line",
                                         .fix = "give a run folder, or a file that phalanx wrote"});
    }
    const std::optional<double> at = number_at(record, x), value = number_at(record, y);
    if (!at || !value) continue;
    series.x.push_back(*at);
    series.y.push_back(*value);
  }
  if (!series.x.empty()) return series;
  throw Error(ErrorKind::kBadInput, {.where = path,
                                     .got = fmt::format("no line with the numbers {} and {}", x, y),
                                     .needed = "one at least",
                                     .fix = "change --x or --y"});
}

double smoothing_of(const ParsedFlags& flags) {
  const std::optional<double> weight = parse_number(flags.option("--smoothing", "0"));
  if (weight && *weight >= 0 && *weight < 1) return *weight;
  throw Error(ErrorKind::kUsage, {.where = "--smoothing",
                                  .got = "'" + flags.option("--smoothing") + "'",
                                  .needed = "a number from 0 to below 1",
                                  .fix = "change the value"});
}

ParsedFlags parse(const Arguments& args) {
  FlagRules rules{.megatron = false};
  for (const char* flag :
       {"--x", "--y", "--title", "--subtitle", "--x-label", "--y-label", "--smoothing", "--output"})
    rules.aliases.push_back({flag, ""});
  for (const char* flag : {"--log-x", "--log-y", "--help"})
    rules.aliases.push_back({flag, "", FlagKind::kSwitch});
  return parse_flags(args, ConfigTree(), rules);
}

}  // namespace

int run_plot(const Arguments& args) {
  const ParsedFlags flags = parse(args);
  if (flags.has("--help")) {
    print_line(kHelp);
    return 0;
  }
  if (flags.positionals.empty() || !flags.has("--output")) {
    throw Error(ErrorKind::kUsage, {.where = "phalanx plot",
                                    .got = flags.positionals.empty() ? "no PATH" : "no --output",
                                    .needed = "what to draw, and where to",
                                    .fix = "phalanx plot --help shows an example"});
  }
  const std::string x = flags.option("--x", "step"), y = flags.option("--y", "loss");
  LinePlot plot{.title = flags.option("--title", y),
                .subtitle = flags.option("--subtitle", ""),
                .x_label = flags.option("--x-label", x),
                .y_label = flags.option("--y-label", y),
                .log_x = flags.has("--log-x"),
                .log_y = flags.has("--log-y")};
  for (const std::string& word : flags.positionals) {
    plot.series.push_back(read_series(named_path(word), x, y));
    plot.series.back().smoothing = smoothing_of(flags);
  }
  write_svg(flags.option("--output"), plot);
  print_line(flags.option("--output"));
  return 0;
}

}  // namespace phalanx::apps
