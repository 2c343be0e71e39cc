// From a row of the Megatron tables and the words of a flag to what is set, and the setting of all flags.
#include <fmt/format.h>

#include <algorithm>

#include "phalanx/config/megatron.h"

namespace phalanx {
namespace {

[[noreturn]] void throw_usage(const std::string& where, const std::string& got, const std::string& needed,
                              const std::string& fix) {
  throw Error(ErrorKind::kUsage, {.where = where, .got = got, .needed = needed, .fix = fix});
}

std::string choose(const MegatronFlag& row, const std::string& flag, const std::string& word) {
  std::vector<std::string> known;
  for (const auto& [theirs, ours] : megatron_choices(row)) {
    if (theirs == word) return ours;
    known.push_back(theirs);
  }
  const std::string near = misspelt_name(word, known);
  std::string fix = fmt::format("say {} {}", flag, near.empty() ? known.at(0) : near);
  if (row.action == MegatronAction::kOnly) fix += ", or drop it";
  throw_usage(flag, "'" + word + "'", fmt::format("one of: {}", fmt::join(known, ", ")),
              fmt::format("{}: {}", fix, row.note));
}

// "(left, right)", with or without the brackets.
std::string window_tokens(const std::string& flag, std::string text) {
  std::erase_if(text, [](char c) { return c == '(' || c == ')' || c == ' '; });
  const size_t comma = text.find(',');
  const auto left = parse_integer(text.substr(0, comma));
  const auto right = comma == std::string::npos ? std::nullopt : parse_integer(text.substr(comma + 1));
  if (!left || !right || *right != 0 || *left < -1 || *left > int64_t{1} << 40) {
    throw_usage(flag, "'" + text + "'", "LEFT,0: tokens to the left (-1: all) and none to the right",
                "a causal model sees nothing to its right; write e.g. " + flag + " 4095,0");
  }
  return std::to_string(*left + 1);  // ours counts the token itself; 0 is no window in both
}

int64_t integer_at(const ConfigTree& tree, const std::string& key) {
  const ConfigField* field = tree.find(key);
  return field == nullptr ? 0 : parse_integer(field->ref.text()).value_or(0);
}

std::string chunks_from_layers(const ConfigTree& tree, const FlagAssignment& assignment) {
  const int64_t per_chunk = parse_integer(assignment.words.at(0)).value_or(0);
  const int64_t layers = integer_at(tree, "model.num_layers");
  const int64_t stages = integer_at(tree, "parallel.pipeline");
  if (per_chunk < 1 || layers < 1 || stages < 1 || layers / stages < per_chunk || layers % stages != 0 ||
      layers / stages % per_chunk != 0) {
    throw_usage(assignment.flag,
                fmt::format("'{}' layers a chunk, with {} layers and {} pipeline ranks",
                            assignment.words.at(0), layers, stages),
                "--num-layers to be a multiple of pipeline size x layers a chunk",
                "change one of them, or give --num-virtual-stages-per-pipeline-rank");
  }
  return std::to_string(layers / stages / per_chunk);
}

}  // namespace

FlagAssignment megatron_assignment(const MegatronFlag& row, const std::string& flag,
                                   const std::vector<std::string>& words) {
  FlagAssignment out{.flag = flag, .key = std::string(row.key), .words = words};
  switch (row.action) {
    case MegatronAction::kTurns:
      out.words = {std::string(row.value)};
      break;
    case MegatronAction::kImplies:
      out.words = {std::string(row.value)};
      out.is_implied = true;
      break;
    case MegatronAction::kChoice:
      out.words = {choose(row, flag, words.at(0))};
      break;
    case MegatronAction::kList:
      out.is_list = true;
      if (!row.value.empty() && std::to_string(words.size()) != row.value) {
        throw_usage(flag, fmt::format("{} values", words.size()), fmt::format("{} values", row.value),
                    "separate them by blanks");
      }
      break;
    case MegatronAction::kWindow:
      out.words = {window_tokens(flag, words.at(0))};
      break;
    case MegatronAction::kLayersPerChunk:
      out.layers_per_chunk = true;
      break;
    default:
      break;
  }
  return out;
}

std::string megatron_note(const MegatronFlag& row, const std::string& flag,
                          const std::vector<std::string>& words) {
  if (row.action == MegatronAction::kOnly) choose(row, flag, words.at(0));
  return fmt::format(
      "{} has no effect: {}",
      fmt::join(words.empty() ? std::vector<std::string>{flag} : std::vector<std::string>{flag, words.at(0)},
                " "),
      row.note);
}

void apply_flags(ConfigTree& tree, const ParsedFlags& flags, bool has_config_file) {
  const bool megatron_run = flags.used_megatron && !has_config_file;
  if (megatron_run) apply_megatron_defaults(tree);
  for (const FlagAssignment& assignment : flags.assignments) {
    if (assignment.layers_per_chunk) continue;
    const ValueSource source{.where = assignment.flag, .kind = ErrorKind::kUsage};
    if (assignment.is_list) {
      tree.set_items(assignment.key, assignment.words, Origin::kFlag, source);
    } else {
      tree.set_text(assignment.key, assignment.words.at(0), Origin::kFlag, source);
    }
  }
  for (const FlagAssignment& assignment : flags.assignments) {
    if (!assignment.layers_per_chunk) continue;
    tree.set_text(assignment.key, chunks_from_layers(tree, assignment), Origin::kFlag,
                  {.where = assignment.flag, .kind = ErrorKind::kUsage});
  }
  if (flags.gpt2_files) {
    // What Megatron's pretrain_gpt.py presets. Weaker than any file or recipe, whichever is read first.
    tree.set_text("data.tokenizer_type", "GPT2BPETokenizer", Origin::kMegatron, {.where = "--vocab-file"});
  }
  const ConfigField* micro_batch = tree.find("train.micro_batch_size");
  if (megatron_run && micro_batch != nullptr && micro_batch->origin != Origin::kFlag) {
    throw_usage("--micro-batch-size", "no such flag", "it, as in every run given by Megatron's flags",
                "add --micro-batch-size N (samples that one rank computes at once)");
  }
}

}  // namespace phalanx
