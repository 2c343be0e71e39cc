// File: phalanx/config/megatron.h
//
// Purpose: what each of Megatron-LM's 838 options means here, as data. flags.cc reads it.
// Contract: the rows hold the options people use and say what each does; every other option is known by name only and
//   unsupported. An option without effect is accepted, and said, where Phalanx always does what it asks for or where it
//   changes speed but no number (kAlways), or for the values of which that is so (kOnly). Every refusal says what to do
//   instead. Names are unique over rows and name lists.
// How to support one more: change its row, or move it from the name list into a row; megatron_test.cc lists them too.
// Source: Megatron-LM d98e8a64 (core 0.20), its argument parser.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "phalanx/config/config_tree.h"
#include "phalanx/config/flags.h"

namespace phalanx {

enum class MegatronAction {
  kValue,           // key = the value
  kTurns,           // no value of its own: key = `value`
  kImplies,         // as kTurns, but gives way to another flag that sets the key
  kChoice,          // `value` maps their words to ours: "theirs=ours theirs=ours"
  kList,            // key = the words; `value` holds their number when it is fixed
  kWindow,          // "left,0": key = left + 1 tokens, the current one included; left -1 is no window
  kLayersPerChunk,  // key = layers / (pipeline size x value)
  kOnly,            // accepted without effect for the words in `value`, refused otherwise
  kAlways,          // accepted without effect
  kUnsupported,
};

struct MegatronFlag {
  std::string_view flag;
  MegatronAction action;
  FlagKind kind;
  std::string_view key;
  std::string_view value;
  std::string_view note;  // why without effect, or why unsupported and what instead
};

// The rows, by theme.
std::span<const MegatronFlag> megatron_parallel_flags();
std::span<const MegatronFlag> megatron_model_flags();
std::span<const MegatronFlag> megatron_train_flags();
std::span<const MegatronFlag> megatron_data_flags();
std::vector<MegatronFlag> megatron_flags();  // all of them

// Of an option known by name only (without dashes): what it belongs to and what to do instead.
std::string_view megatron_other_reason(std::string_view name);

// Options known by name only, without the leading dashes.
std::span<const std::string_view> megatron_other_switches();
std::span<const std::string_view> megatron_other_values();
std::span<const std::string_view> megatron_other_words();

// The row of a flag (`-` and `_` are the same), a kUnsupported one for those known by name; nullopt: not Megatron's.
std::optional<MegatronFlag> find_megatron_flag(std::string_view flag);

// The pairs (their word, ours) of a kChoice row; the words of a kOnly row, twice.
std::vector<std::pair<std::string, std::string>> megatron_choices(const MegatronFlag& row);

// What a row makes of its words: a value for its key, or a note for the log when it has no key. Error(kUsage) when the
// words do not suit. `flag` is the name as the user wrote it.
FlagAssignment megatron_assignment(const MegatronFlag& row, const std::string& flag,
                                   const std::vector<std::string>& words);
std::string megatron_note(const MegatronFlag& row, const std::string& flag,
                          const std::vector<std::string>& words);

// What Megatron does when a flag is not given, for the keys that rows set.
struct MegatronDefault {
  std::string_view key;
  std::string_view value;  // "none": absent, or 0 where the field is a plain integer
};
std::span<const MegatronDefault> megatron_defaults();
void apply_megatron_defaults(ConfigTree& tree);

// Rows and defaults that do not fit the tree (missing key, value of a wrong type), one line each. `scratch` is changed.
std::vector<std::string> megatron_table_problems(ConfigTree& scratch);

// "  --num-layers N    model.num_layers" lines, for help.
std::string megatron_help();

}  // namespace phalanx
