#include "phalanx/config/megatron.h"

#include <fmt/format.h>

#include <algorithm>

namespace phalanx {
namespace {

// Flag names are equal up to - and _, and the name lists leave out the leading dashes.
bool same_name(std::string_view a, std::string_view b) {
  const auto same = [](char x, char y) { return x == y || (x == '_' && y == '-') || (x == '-' && y == '_'); };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), same);
}

}  // namespace

std::vector<MegatronFlag> megatron_flags() {
  std::vector<MegatronFlag> all;
  for (const auto rows :
       {megatron_model_flags(), megatron_parallel_flags(), megatron_train_flags(), megatron_data_flags()}) {
    all.insert(all.end(), rows.begin(), rows.end());
  }
  return all;
}

std::optional<MegatronFlag> find_megatron_flag(std::string_view flag) {
  for (const MegatronFlag& row : megatron_flags()) {
    if (same_name(row.flag, flag)) return row;
  }
  if (!flag.starts_with("--")) return std::nullopt;
  const std::string_view name = flag.substr(2);
  const auto known_in = [name](std::span<const std::string_view> names) {
    return std::any_of(names.begin(), names.end(),
                       [name](std::string_view known) { return same_name(known, name); });
  };
  const auto unsupported = [flag, name](FlagKind kind) {
    return MegatronFlag{flag, MegatronAction::kUnsupported, kind, "", "", megatron_other_reason(name)};
  };
  if (known_in(megatron_other_switches())) return unsupported(FlagKind::kSwitch);
  if (known_in(megatron_other_values())) return unsupported(FlagKind::kValue);
  if (known_in(megatron_other_words())) return unsupported(FlagKind::kWords);
  return std::nullopt;
}

std::vector<std::string> megatron_table_problems(ConfigTree& scratch) {
  std::vector<std::string> problems;
  const auto check = [&](std::string_view what, std::string_view key, std::string_view text) {
    if (scratch.find(key) == nullptr) {
      problems.push_back(fmt::format("{}: no key {}", what, key));
    } else if (!text.empty()) {
      try {
        scratch.set_text(std::string(key), std::string(text), Origin::kFlag, {.where = std::string(what)});
      } catch (const Error& e) {
        problems.push_back(fmt::format("{} ({})", e.what(), key));
      }
    }
  };
  for (const MegatronFlag& row : megatron_flags()) {
    if (row.key.empty()) continue;
    check(row.flag, row.key, "");
    if (row.action == MegatronAction::kTurns || row.action == MegatronAction::kImplies) {
      check(row.flag, row.key, row.value);
    }
    if (row.action != MegatronAction::kChoice) continue;
    for (const auto& [theirs, ours] : megatron_choices(row)) check(row.flag, row.key, ours);
  }
  for (const MegatronDefault& row : megatron_defaults()) {
    check("Megatron's default", row.key, row.value == "none" ? "" : row.value);
  }
  return problems;
}

std::vector<std::pair<std::string, std::string>> megatron_choices(const MegatronFlag& row) {
  std::vector<std::pair<std::string, std::string>> choices;
  std::string_view rest = row.value;
  while (!rest.empty()) {
    const size_t blank = std::min(rest.find(' '), rest.size());
    const std::string_view pair = rest.substr(0, blank);
    const size_t equals = pair.find('=');
    const std::string_view ours = equals == std::string_view::npos ? pair : pair.substr(equals + 1);
    choices.emplace_back(pair.substr(0, equals), ours);
    rest.remove_prefix(std::min(blank + 1, rest.size()));
  }
  return choices;
}

std::string megatron_help() {
  std::string out;
  for (const MegatronFlag& row : megatron_flags()) {
    std::string meaning(row.key);
    switch (row.action) {
      case MegatronAction::kTurns:
      case MegatronAction::kImplies:
        meaning += fmt::format(" = {}", row.value);
        break;
      case MegatronAction::kChoice: {
        meaning += " = one of:";
        for (const auto& [theirs, ours] : megatron_choices(row)) meaning += " " + theirs;
        break;
      }
      case MegatronAction::kWindow:
        meaning += " = left + 1, from left,0";
        break;
      case MegatronAction::kLayersPerChunk:
        meaning += " = layers / (pipeline size x N)";
        break;
      case MegatronAction::kOnly:
        meaning = fmt::format("only {}: {}", row.value, row.note);
        break;
      case MegatronAction::kAlways:
        meaning = fmt::format("always so: {}", row.note);
        break;
      case MegatronAction::kUnsupported:
        continue;
      default:
        break;
    }
    out += fmt::format("  {:<42} {}\n", row.flag, meaning);
  }
  return out;
}

}  // namespace phalanx
