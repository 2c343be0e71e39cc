#include "phalanx/tokenizer/tokenizer_json_reader.h"

#include <algorithm>
#include <array>
#include <initializer_list>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/tokenizer/tokenizer_json_sax.h"

namespace phalanx {
namespace {

[[noreturn]] void refuse(const std::string& where, const std::string& got, const std::string& needed) {
  throw Error(ErrorKind::kBadInput,
              {.where = where,
               .got = got.substr(0, 300),
               .needed = needed,
               .fix = "give the tokenizer.json of a byte-level BPE (GPT-2, Llama 3, Qwen)"});
}

// A JSON object of the file and its place in it.
class Fields {
 public:
  Fields(const Json& json, std::string where) : json_(json), where_(std::move(where)) {
    if (!json.is_object()) refuse(where_, json.dump(), "an object");
  }

  const std::string& where() const { return where_; }
  std::string type() const { return text("type"); }

  bool has(const char* key) const {
    const auto it = json_.find(key);
    return it != json_.end() && !it->is_null();
  }
  const Json& get(const char* key) const {
    const auto it = json_.find(key);
    if (it == json_.end()) refuse(place(key), "no such field", "the field");
    return *it;
  }
  std::string text(const char* key) const {
    const Json& v = get(key);
    if (!v.is_string()) refuse(place(key), v.dump(), "a string");
    return v.get<std::string>();
  }
  bool flag(const char* key) const {
    const Json& v = get(key);
    if (!v.is_boolean()) refuse(place(key), v.dump(), "true or false");
    return v.get<bool>();
  }
  bool flag_or(const char* key, bool fallback) const { return json_.contains(key) ? flag(key) : fallback; }
  int32_t id(const char* key) const { return id_of(get(key), place(key)); }
  static int32_t id_of(const Json& v, const std::string& where) {
    if (!v.is_number_integer() || v < 0 || v >= kLargestVocab) {
      refuse(where, v.dump(), fmt::format("an id from 0 to {}", kLargestVocab - 1));
    }
    return v.get<int32_t>();
  }
  const Json& list(const char* key) const {
    const Json& v = get(key);
    if (!v.is_array()) refuse(place(key), v.dump(), "a list");
    return v;
  }
  void allow_only(std::initializer_list<std::string_view> known) const {
    for (const auto& [key, value] : json_.items()) {
      if (std::find(known.begin(), known.end(), key) == known.end()) {
        refuse(place(key), "a field that is not known here", "no such field");
      }
    }
  }
  std::string place(std::string_view key) const { return fmt::format("{}.{}", where_, key); }

 private:
  const Json& json_;
  std::string where_;
};

void read_model_settings(const Fields& model, BpeSpec& spec) {
  model.allow_only({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                    "fuse_unk", "byte_fallback", "ignore_merges"});
  if (model.has("type") && model.type() != "BPE") refuse(model.place("type"), model.type(), "BPE");
  if (model.has("dropout") && model.get("dropout") != 0) {
    refuse(model.place("dropout"), model.get("dropout").dump(), "null");
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (model.has(key) && !model.text(key).empty()) refuse(model.place(key), model.text(key), "null");
  }
  if (model.has("byte_fallback") && model.flag("byte_fallback")) {
    refuse(model.place("byte_fallback"), "true", "false, as byte-level models have it");
  }
  spec.model.ignore_merges = model.has("ignore_merges") && model.flag("ignore_merges");
}

std::vector<AddedToken> read_added(const Json& list, const std::string& where) {
  if (!list.is_array()) refuse(where, list.dump(), "a list");
  std::vector<AddedToken> added;
  for (size_t i = 0; i < list.size(); ++i) {
    const Fields token(list[i], fmt::format("{}[{}]", where, i));
    token.allow_only({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    added.push_back({.id = token.id("id"),
                     .content = token.text("content"),
                     .special = token.flag_or("special", false),
                     .single_word = token.flag_or("single_word", false),
                     .lstrip = token.flag_or("lstrip", false),
                     .rstrip = token.flag_or("rstrip", false),
                     .normalized = token.flag_or("normalized", false)});
  }
  return added;
}

// Calls visit for the component, or for each of a Sequence, which keeps them under `members`.
template <typename Visit>
void visit_components(const Json& json, const std::string& where, const char* members, const Visit& visit) {
  if (json.is_null()) return;
  const Fields fields(json, where);
  if (fields.type() != "Sequence") {
    visit(fields);
    return;
  }
  fields.allow_only({"type", members});
  const Json& list = fields.list(members);
  for (size_t i = 0; i < list.size(); ++i) {
    visit_components(list[i], fmt::format("{}.{}[{}]", where, members, i), members, visit);
  }
}

void read_normalizer(const Json& json, const std::string& where, BpeSpec& spec) {
  visit_components(json, where, "normalizers", [&](const Fields& part) {
    if (part.type() != "NFC") refuse(part.where(), part.type(), "NFC, or null");
    part.allow_only({"type"});
    spec.nfc = true;
  });
}

SplitPattern read_split(const Fields& part) {
  part.allow_only({"type", "pattern", "behavior", "invert"});
  const std::string behavior = part.text("behavior");
  const bool invert = part.flag("invert");
  // The patterns match every character: what lies between their matches, and would be removed, is nothing.
  if (!(behavior == "Isolated" && !invert) && !(behavior == "Removed" && invert)) {
    refuse(part.place("behavior"), fmt::format("{} with invert {}", behavior, invert),
           "Isolated with invert false");
  }
  const Fields pattern(part.get("pattern"), part.place("pattern"));
  pattern.allow_only({"Regex"});
  const std::optional<SplitPattern> known = find_pattern(pattern.text("Regex"));
  if (!known) {
    refuse(pattern.place("Regex"), fmt::format("'{}'", pattern.text("Regex")),
           "the pattern of GPT-2, cl100k_base, o200k_base, Llama 3 or Qwen2");
  }
  return *known;
}

void read_pre_tokenizer(const Json& json, const std::string& where, BpeSpec& spec) {
  bool byte_level = false;
  visit_components(json, where, "pretokenizers", [&](const Fields& part) {
    const std::string type = part.type();
    if (byte_level) refuse(part.where(), type + " after ByteLevel", "ByteLevel as the last step");
    if (type == "Split") {
      spec.splits.push_back(read_split(part));
    } else if (type == "Digits") {
      part.allow_only({"type", "individual_digits"});
      if (spec.digits != 0) refuse(part.where(), "a second Digits", "one");
      spec.digits = part.flag("individual_digits") ? 2 : 1;
      spec.digits_at = spec.splits.size();
    } else if (type == "ByteLevel") {
      part.allow_only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
      byte_level = true;
      spec.add_prefix_space = part.flag("add_prefix_space");
      if (spec.add_prefix_space && (!spec.splits.empty() || spec.digits != 0)) {
        refuse(part.place("add_prefix_space"), "true after another step", "false");
      }
      if (part.flag_or("use_regex", true)) spec.splits.push_back(SplitPattern::kGpt2);
    } else {
      refuse(part.where(), type, "ByteLevel, Split, Digits or a Sequence of them");
    }
  });
  if (!byte_level) refuse(where, "no ByteLevel", "ByteLevel, alone or at the end of a Sequence");
}

void read_template(const Fields& part, BpeSpec& spec) {
  part.allow_only({"type", "single", "pair", "special_tokens"});
  bool text_seen = false;
  const Json& single = part.list("single");
  for (size_t i = 0; i < single.size(); ++i) {
    const Fields piece(single[i], fmt::format("{}.single[{}]", part.where(), i));
    piece.allow_only({"Sequence", "SpecialToken"});
    if (piece.has("Sequence")) {
      if (text_seen) refuse(piece.where(), "the text a second time", "it once");
      text_seen = true;
      continue;
    }
    const std::string name = Fields(piece.get("SpecialToken"), piece.place("SpecialToken")).text("id");
    const Fields tokens(part.get("special_tokens"), part.place("special_tokens"));
    const Fields token(tokens.get(name.c_str()), tokens.place(name));
    for (const Json& id : token.list("ids")) {
      (text_seen ? spec.template_tail : spec.template_head).push_back(Fields::id_of(id, token.place("ids")));
    }
  }
  if (!text_seen) refuse(part.place("single"), "no Sequence", "a place for the text");
}

void read_post_processor(const Json& json, const std::string& where, BpeSpec& spec) {
  bool template_seen = false;
  visit_components(json, where, "processors", [&](const Fields& part) {
    const std::string type = part.type();
    if (type == "ByteLevel") return;  // moves offsets only
    if (type != "TemplateProcessing" || template_seen) {
      refuse(part.where(), (template_seen ? "a second " : "") + type, "ByteLevel or one TemplateProcessing");
    }
    template_seen = true;
    read_template(part, spec);
  });
}

void read_decoder(const Json& json, const std::string& where) {
  visit_components(json, where, "decoders", [&](const Fields& part) {
    if (part.type() != "ByteLevel") refuse(part.where(), part.type(), "ByteLevel");
  });
}

}  // namespace

BpeSpec parse_tokenizer_json(std::string_view text, const std::string& where) {
  RawTokenizerJson raw = parse_raw_tokenizer_json(text, where);
  const Fields root(raw.rest, where);
  const auto component = [&](const char* key) { return root.has(key) ? root.get(key) : Json(); };
  const auto place = [&](const char* key) { return fmt::format("{}: {}", where, key); };
  BpeSpec spec;
  for (const auto& [key, value] : raw.rest.items()) {
    constexpr std::array<std::string_view, 9> kKnown = {"version",        "truncation", "padding",
                                                        "added_tokens",   "normalizer", "pre_tokenizer",
                                                        "post_processor", "decoder",    "model"};
    if (std::find(kKnown.begin(), kKnown.end(), key) == kKnown.end()) {
      refuse(place(key.c_str()), "a field that is not known here", "no such field");
    }
  }
  for (const char* key : {"truncation", "padding"}) {
    if (root.has(key)) refuse(place(key), root.get(key).dump(), "null");
  }
  read_model_settings(Fields(root.get("model"), place("model")), spec);
  if (!raw.has_vocab) refuse(place("model.vocab"), "no such field", "an object of tokens and ids");
  if (!raw.has_merges) refuse(place("model.merges"), "no such field", "a list of pairs");
  if (root.has("added_tokens")) spec.added = read_added(root.get("added_tokens"), place("added_tokens"));
  read_normalizer(component("normalizer"), place("normalizer"), spec);
  read_pre_tokenizer(component("pre_tokenizer"), place("pre_tokenizer"), spec);
  read_post_processor(component("post_processor"), place("post_processor"), spec);
  read_decoder(component("decoder"), place("decoder"));
  const bool ignore_merges = spec.model.ignore_merges;
  spec.model = build_model(std::move(raw.vocab), raw.merges, spec.added, where);
  spec.model.ignore_merges = ignore_merges;
  check_bpe(spec, where);
  std::sort(spec.added.begin(), spec.added.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  return spec;
}

BpeSpec read_tokenizer_json(const std::string& path) {
  return parse_tokenizer_json(read_file(path), path);
}

}  // namespace phalanx
