#include "phalanx/config/flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "phalanx/config/megatron.h"

namespace phalanx {
namespace {

std::string canonical(std::string flag) {
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

std::string undashed(const std::string& flag) {
  return flag.substr(std::min(flag.find_first_not_of('-'), flag.size()));
}

[[noreturn]] void throw_usage(const std::string& where, const std::string& got, const std::string& needed,
                              const std::string& fix) {
  throw Error(ErrorKind::kUsage, {.where = where, .got = got, .needed = needed, .fix = fix});
}

// -1.5, -1,0 and a lone dash are values; -h is a flag.
bool looks_like_flag(const std::string& word) {
  if (word.starts_with("--")) return word.size() > 2;
  return word.size() > 1 && word[0] == '-' && word[1] != '.' && (word[1] < '0' || word[1] > '9');
}

class FlagParser {
 public:
  FlagParser(const std::vector<std::string>& args, const ConfigTree& tree, const FlagRules& rules)
      : args_(args), tree_(tree), rules_(rules) {}

  ParsedFlags run() {
    while (next_ < args_.size()) {
      const std::string& word = args_[next_++];
      if (word == "--") {
        out_.positionals.insert(out_.positionals.end(), args_.begin() + static_cast<ptrdiff_t>(next_),
                                args_.end());
        break;
      }
      if (looks_like_flag(word)) {
        read_flag(word);
      } else {
        out_.positionals.push_back(word);
      }
    }
    if (!unsupported_.empty()) throw_unsupported();
    note_repeated();
    resolve_conflicts();
    note_tokenizer();
    return std::move(out_);
  }

 private:
  void read_flag(const std::string& word) {
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    attached_ = equals == std::string::npos ? std::nullopt : std::optional(word.substr(equals + 1));
    if (++seen_[canonical(name)] > 1) forget(canonical(name));
    if (read_alias(name) || read_native(name) || read_megatron(name)) return;
    throw_unknown(name);
  }

  bool read_alias(const std::string& name) {
    for (const FlagAlias& alias : rules_.aliases) {
      if (canonical(alias.flag) != canonical(name)) continue;
      if (alias.key.empty()) {
        out_.options[alias.flag] = take_words(name, alias.kind, alias.metavar);
        return true;
      }
      const FieldRef& field = tree_.at(alias.key).ref;
      if (alias.kind == FlagKind::kSwitch) {
        PHALANX_CHECK(field.is_bool(), alias.flag + " is a switch, so its key is a truth value");
        assign({.flag = name, .key = alias.key, .words = {take_truth()}});
      } else {
        const bool is_list = alias.kind == FlagKind::kWords;
        assign({.flag = name,
                .key = alias.key,
                .words = take_words(name, alias.kind, field.type_name()),
                .is_list = is_list});
      }
      return true;
    }
    return false;
  }

  // --section.key and --no-section.key
  bool read_native(const std::string& name) {
    if (!name.starts_with("--") || name.find('.') == std::string::npos) return false;
    std::string key = name.substr(2);
    std::replace(key.begin(), key.end(), '-', '_');
    const ConfigField* field = tree_.find(key);
    if (field == nullptr && key.starts_with("no_")) {
      const ConfigField* negated = tree_.find(key.substr(3));
      if (negated != nullptr && negated->ref.is_bool()) {
        if (attached_) throw_usage(name, "'" + *attached_ + "'", "no value", "drop '=" + *attached_ + "'");
        assign({.flag = name, .key = key.substr(3), .words = {"false"}});
        return true;
      }
    }
    if (field == nullptr) {
      const size_t dot = key.find('.');
      tree_.require(key.substr(0, dot), key.substr(dot + 1),
                    {.where = name, .kind = ErrorKind::kUsage});  // throws
    } else if (field->ref.is_bool()) {
      assign({.flag = name, .key = key, .words = {take_truth()}});
    } else {
      assign({.flag = name, .key = key, .words = take_words(name, FlagKind::kValue, field->ref.type_name())});
    }
    return true;
  }

  bool read_megatron(const std::string& name) {
    if (!rules_.megatron) return false;
    const std::optional<MegatronFlag> row = find_megatron_flag(name);
    if (!row) return false;
    out_.used_megatron = true;
    if (row->action == MegatronAction::kUnsupported) {
      unsupported_.emplace_back(name, row->note);
      skip_words(row->kind);
      return true;
    }
    if (!row->key.empty() && tree_.find(row->key) == nullptr) {
      throw_usage(name, fmt::format("a flag for {}", row->key), "a flag of this command",
                  "--help lists them");
    }
    const std::vector<std::string> words = take_words(name, row->kind, "a value");
    if (row->key.empty()) {
      effectless_.emplace_back(name, megatron_note(*row, name, words));
    } else {
      assign(megatron_assignment(*row, name, words));
    }
    return true;
  }

  void assign(FlagAssignment assignment) { out_.assignments.push_back(std::move(assignment)); }

  bool has_next_value() const {
    return next_ < args_.size() && !looks_like_flag(args_[next_]) && args_[next_] != "--";
  }

  std::vector<std::string> take_words(const std::string& name, FlagKind kind, const std::string& needed) {
    if (kind == FlagKind::kSwitch) {
      if (attached_) throw_usage(name, "'" + *attached_ + "'", "no value", "drop '=" + *attached_ + "'");
      return {};
    }
    if (attached_) return {*attached_};
    std::vector<std::string> words;
    while (has_next_value()) {
      words.push_back(args_[next_++]);
      if (kind == FlagKind::kValue) break;
    }
    if (words.empty()) throw_usage(name, "no value", needed, "write " + name + "=VALUE");
    return words;
  }

  // After a truth value's flag: =true, =false, the word true or false, or nothing, which is true.
  std::string take_truth() {
    if (attached_) return *attached_;
    if (has_next_value() && (args_[next_] == "true" || args_[next_] == "false")) return args_[next_++];
    return "true";
  }

  void skip_words(FlagKind kind) {
    if (attached_ || kind == FlagKind::kSwitch) return;
    while (has_next_value()) {
      ++next_;
      if (kind == FlagKind::kValue) return;
    }
  }

  // What an earlier occurrence of the flag left behind.
  void forget(const std::string& flag) {
    std::erase_if(out_.assignments, [&](const FlagAssignment& a) { return canonical(a.flag) == flag; });
    std::erase_if(unsupported_, [&](const auto& entry) { return canonical(entry.first) == flag; });
    std::erase_if(effectless_, [&](const auto& entry) { return canonical(entry.first) == flag; });
  }

  void note_repeated() {
    for (const auto& [flag, note] : effectless_) out_.notes.push_back(note);
    for (const auto& [flag, times] : seen_) {
      if (times < 2) continue;
      std::string counts = "once is enough";
      const auto words = last_words(flag);
      if (!words.empty()) counts = fmt::format("{} counts", fmt::join(words, " "));
      out_.notes.push_back(fmt::format("{} was given {}; {}", flag,
                                       times == 2 ? "twice" : fmt::format("{} times", times), counts));
    }
  }

  std::vector<std::string> last_words(const std::string& flag) const {
    for (const FlagAssignment& a : out_.assignments) {
      if (canonical(a.flag) == flag) return a.words;
    }
    for (const auto& [option, words] : out_.options) {
      if (canonical(option) == flag) return words;
    }
    return {};
  }

  // apply_flags acts on it: only there is known what the file says.
  void note_tokenizer() {
    const auto is_set = [this](std::string_view key) {
      return std::any_of(out_.assignments.begin(), out_.assignments.end(),
                         [key](const FlagAssignment& a) { return a.key == key; });
    };
    if (seen_.count("--vocab-file") == 0 || seen_.count("--merge-file") == 0) return;
    if (tree_.find("data.tokenizer_type") == nullptr || is_set("data.tokenizer_type")) return;
    out_.gpt2_files = true;
    out_.notes.push_back(
        "--vocab-file, --merge-file: without --tokenizer-type, or one in a file, they mean GPT2BPETokenizer");
  }

  // Two flags may say the same; an implied value gives way; anything else is the user's contradiction.
  void resolve_conflicts() {
    std::vector<FlagAssignment>& all = out_.assignments;
    std::set<std::string> said;
    for (const FlagAssignment& a : all) {
      if (!a.is_implied) said.insert(a.key);
    }
    std::erase_if(all, [&said](const FlagAssignment& a) { return a.is_implied && said.count(a.key) != 0; });
    for (size_t i = 0; i < all.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        const FlagAssignment& a = all[j];
        const FlagAssignment& b = all[i];
        if (a.key != b.key || (a.words == b.words && a.layers_per_chunk == b.layers_per_chunk)) continue;
        throw_usage(b.flag,
                    fmt::format("{} set by {} ({}) and by {} ({})", b.key, a.flag, fmt::join(a.words, " "),
                                b.flag, fmt::join(b.words, " ")),
                    "one value for " + b.key, "keep one of the two flags");
      }
    }
    if (seen_.count("--num-query-groups") != 0 && seen_.count("--group-query-attention") == 0) {
      out_.notes.push_back(
          "--num-query-groups: Megatron ignores it without --group-query-attention; Phalanx uses it");
    }
  }

  [[noreturn]] void throw_unsupported() const {
    std::vector<std::string> flags;
    std::vector<std::string> reasons;
    for (const auto& [flag, reason] : unsupported_) {
      flags.push_back(flag);
      reasons.push_back(fmt::format("{}: {}", flag, reason));
    }
    throw_usage(fmt::format("{}", fmt::join(flags, " ")),
                flags.size() == 1
                    ? "a Megatron flag that Phalanx does not support"
                    : fmt::format("{} Megatron flags that Phalanx does not support", flags.size()),
                "supported flags", fmt::format("{}", fmt::join(reasons, "; ")));
  }

  [[noreturn]] void throw_unknown(const std::string& name) const {
    const std::string bare = canonical(undashed(name));
    std::vector<std::string> known;
    std::string fix;
    for (const std::string& key : tree_.keys()) {
      known.push_back(canonical(key));
      if (canonical(key.substr(key.find('.') + 1)) == bare) fix = "did you mean '--" + key + "'?";
    }
    for (const FlagAlias& alias : rules_.aliases) known.push_back(undashed(alias.flag));
    for (const MegatronFlag& row : rules_.megatron ? megatron_flags() : std::vector<MegatronFlag>{}) {
      if (row.action != MegatronAction::kUnsupported) known.emplace_back(row.flag.substr(2));
    }
    const std::string near = misspelt_name(bare, known);
    if (fix.empty()) fix = near.empty() ? "--help lists the flags" : "did you mean '--" + near + "'?";
    throw_usage(name, "an unknown flag", "a known one", fix);
  }

  const std::vector<std::string>& args_;
  const ConfigTree& tree_;
  const FlagRules& rules_;
  size_t next_ = 0;
  std::optional<std::string> attached_;                           // what follows = in the word being read
  std::map<std::string, int> seen_;                               // how often each flag was given
  std::vector<std::pair<std::string, std::string>> unsupported_;  // flag and reason
  std::vector<std::pair<std::string, std::string>> effectless_;   // flag and note
  ParsedFlags out_;
};

}  // namespace

std::string ParsedFlags::option(const std::string& flag, const std::string& otherwise) const {
  const auto found = options.find(flag);
  return found == options.end() || found->second.empty() ? otherwise : found->second.front();
}

ParsedFlags parse_flags(const std::vector<std::string>& args, const ConfigTree& tree,
                        const FlagRules& rules) {
  return FlagParser(args, tree, rules).run();
}

std::string alias_help(const std::vector<FlagAlias>& aliases) {
  std::string out;
  for (const FlagAlias& alias : aliases) {
    std::string usage = alias.flag;
    if (alias.kind != FlagKind::kSwitch) usage += " " + alias.metavar;
    if (alias.kind == FlagKind::kWords) usage += " ...";
    std::string help = alias.help;
    if (!alias.key.empty()) help += fmt::format("{}(--{})", help.empty() ? "" : " ", alias.key);
    out += fmt::format("  {:<32} {}\n", usage, help);
  }
  return out;
}

}  // namespace phalanx
