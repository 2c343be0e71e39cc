// File: phalanx/config/flags.h
//
// Purpose: the command line of a verb: config flags (--section.key), the verb's own short flags, Megatron's flags.
// Contract: parse_flags reads everything and sets nothing; apply_flags sets. Between the two the caller reads the
//   recipe and the file that the positionals name. Grammar:
//     --section.key=VALUE, --section.key VALUE; `-` and `_` are the same in a flag's name
//     a truth value also as --section.key (true), --no-section.key (false); lists comma-separated
//     a flag that takes several words takes all up to the next one that starts with `--`; `--` ends the flags
//   Of a flag given twice the last one counts, as `$ARGS --train-iters 10` wants it, and a note says so; two flags
//   that give one key different values are an error naming both. A Megatron flag sets what it stands for, or is
//   accepted with a note saying why it has no effect, or is an error naming it; parse_flags reports all unsupported
//   ones in one Error. When any flag that only Megatron spells is used and no TOML file or recipe is given, Megatron's
//   defaults hold instead of ours; without a tokenizer type, --vocab-file with --merge-file means GPT2BPETokenizer.
// Errors: Error(kUsage).
// Example:
//   const ParsedFlags flags = parse_flags(args, tree, {.aliases = {{"--run-dir", "runtime.run_dir"}}});
//   if (!flags.positionals.empty()) apply_toml_file(tree, flags.positionals[0], Origin::kFile);
//   apply_flags(tree, flags, !flags.positionals.empty());
#pragma once

#include <map>
#include <string>
#include <vector>

#include "phalanx/config/config_tree.h"

namespace phalanx {

enum class FlagKind { kSwitch /* no value */, kValue, kWords /* one or more values */ };

// One of a verb's own flags. With a key it is short for --section.key; without, parse_flags hands it back in `options`.
struct FlagAlias {
  std::string flag;  // "--run-dir", "-h"
  std::string key = "";
  FlagKind kind = FlagKind::kValue;
  std::string help = "";
  std::string metavar = "VALUE";
};

struct FlagRules {
  std::vector<FlagAlias> aliases;
  bool megatron = true;  // accept Megatron's spellings
};

// One key that a flag sets.
struct FlagAssignment {
  std::string flag;  // as listed, for errors
  std::string key;
  std::vector<std::string> words;
  bool is_list = false;           // each word is an item, commas and all
  bool is_implied = false;        // gives way to any other flag that sets the key
  bool layers_per_chunk = false;  // the word counts the layers of a chunk; the key counts chunks
};

struct ParsedFlags {
  std::vector<std::string> positionals;
  std::map<std::string, std::vector<std::string>> options;  // the verb's own, by the name its alias lists
  std::vector<FlagAssignment> assignments;
  std::vector<std::string> notes;  // what was accepted without effect, and why; for the log
  bool gpt2_files = false;     // --vocab-file and --merge-file, and no flag says for what kind of tokenizer
  bool used_megatron = false;  // a flag that only Megatron spells was used

  bool has(const std::string& flag) const { return options.count(flag) != 0; }
  std::string option(const std::string& flag, const std::string& otherwise = "") const;
};

ParsedFlags parse_flags(const std::vector<std::string>& args, const ConfigTree& tree, const FlagRules& rules);

// `has_config_file`: a TOML file or a recipe was given, so Megatron's defaults do not apply.
void apply_flags(ConfigTree& tree, const ParsedFlags& flags, bool has_config_file);

std::string alias_help(const std::vector<FlagAlias>& aliases);

}  // namespace phalanx
