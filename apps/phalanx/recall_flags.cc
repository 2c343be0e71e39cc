#include "apps/phalanx/recall_flags.h"

#include <fmt/format.h>

#include "apps/phalanx/data_verbs.h"
#include "phalanx/base/error.h"
#include "phalanx/config/config_value.h"
#include "phalanx/data/blend_config.h"
#include "phalanx/data/recall_config.h"

namespace phalanx::apps {
namespace {

constexpr const char* kSizes[] = {"--entries", "--words", "--pairs"};

int32_t part_of(const std::string& name) {
  for (const SplitPart part : {SplitPart::kTrain, SplitPart::kValid, SplitPart::kTest}) {
    if (name == split_part_name(part)) return static_cast<int32_t>(part);
  }
  throw Error(ErrorKind::kUsage, {.where = "--part",
                                  .got = "'" + name + "'",
                                  .needed = "train, valid or test",
                                  .fix = "use one of these"});
}

// As entries of data.tasks, but for the size.
std::vector<std::string> with_sizes(const std::string& text, const std::string& flag,
                                    const std::string& sizes) {
  const auto items = split_list(sizes);
  if (!items || items->empty()) {
    throw Error(ErrorKind::kUsage, {.where = flag,
                                    .got = "'" + sizes + "'",
                                    .needed = "a size such as 32 or 8..32, or several with commas",
                                    .fix = "change the value"});
  }
  std::vector<std::string> texts;
  for (const std::string& size : *items) texts.push_back(fmt::format("{} {}={}", text, flag.substr(2), size));
  return texts;
}

}  // namespace

std::vector<RecallTaskSpec> recall_specs(const ParsedFlags& flags, const std::string& verb) {
  std::string text = required_option(flags, verb, "--task");
  if (flags.has("--questions")) text += " questions=" + flags.option("--questions");
  std::vector<std::string> texts = {text};
  for (const std::string flag : kSizes) {
    if (!flags.has(flag)) continue;
    std::vector<std::string> sized;
    for (const std::string& each : texts) {
      for (std::string& one : with_sizes(each, flag, flags.option(flag))) sized.push_back(std::move(one));
    }
    texts = std::move(sized);
  }
  std::vector<RecallTaskSpec> specs;
  for (const std::string& each : texts) {
    specs.push_back(parse_recall_task(each, fmt::format("phalanx {}, '{}'", verb, each)));
  }
  return specs;
}

RecallRange recall_range(const ParsedFlags& flags, const std::string& count) {
  const RecallRange range{.stream = {.seed = static_cast<uint64_t>(whole_number(flags, "--seed", "1234")),
                                     .part = part_of(flags.option("--part", "test"))},
                          .first = whole_number(flags, "--first", "0"),
                          .count = whole_number(flags, "--count", count)};
  if (range.count >= 1 && range.first < kMaxRecallIndex && range.count <= kMaxRecallIndex - range.first)
    return range;
  throw Error(ErrorKind::kUsage, {.where = "--first, --count",
                                  .got = fmt::format("{} tasks from {}", range.count, range.first),
                                  .needed = "one task or more, with indices below 2^50",
                                  .fix = "change these"});
}

}  // namespace phalanx::apps
