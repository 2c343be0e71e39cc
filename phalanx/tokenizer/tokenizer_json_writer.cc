#include "phalanx/tokenizer/tokenizer_json_writer.h"

#include <algorithm>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/base/json.h"
#include "phalanx/tokenizer/byte_alphabet.h"

namespace phalanx {
namespace {

Json byte_level(bool add_prefix_space, bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", add_prefix_space},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

Json added_json(const BpeSpec& spec) {
  std::vector<AddedToken> added = spec.added;
  // Hugging Face counts the ids of tokens outside the vocab upwards in this order.
  std::stable_sort(added.begin(), added.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  Json list = Json::array();
  for (const AddedToken& token : added) {
    list.push_back({{"id", token.id},
                    {"content", token.content},
                    {"single_word", token.single_word},
                    {"lstrip", token.lstrip},
                    {"rstrip", token.rstrip},
                    {"normalized", token.normalized},
                    {"special", token.special}});
  }
  return list;
}

Json pre_tokenizer_json(const BpeSpec& spec) {
  Json steps = Json::array();
  // The last pattern can be ByteLevel's own when it is GPT-2's, which is how most files have it.
  const bool gpt2_last = !spec.splits.empty() && spec.splits.back() == SplitPattern::kGpt2 &&
                         (spec.digits == 0 || spec.digits_at < spec.splits.size());
  const size_t alone = spec.splits.size() - (gpt2_last ? 1 : 0);
  for (size_t i = 0; i <= alone; ++i) {
    if (spec.digits != 0 && spec.digits_at == i) {
      steps.push_back({{"type", "Digits"}, {"individual_digits", spec.digits == 2}});
    }
    if (i == alone) break;
    if (spec.splits[i] == SplitPattern::kWholeText) continue;
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", std::string(pattern_regex(spec.splits[i]))}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  }
  if (spec.add_prefix_space && !steps.empty()) {
    // Hugging Face would put the space before each piece of the other steps.
    throw Error(ErrorKind::kBadInput, {.where = "tokenizer.json",
                                       .got = "add_prefix_space with a pattern that is not GPT-2's alone",
                                       .needed = "one of the two",
                                       .fix = "train without add_prefix_space, or with GPT-2's pattern"});
  }
  steps.push_back(byte_level(spec.add_prefix_space, gpt2_last));
  if (steps.size() == 1) return steps[0];
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

std::string spelling(const BpeSpec& spec, int32_t id) {
  for (const AddedToken& token : spec.added) {
    if (token.id == id) return token.content;
  }
  return to_byte_alphabet(spec.model.tokens[static_cast<size_t>(id)]);
}

Json post_processor_json(const BpeSpec& spec) {
  if (spec.template_head.empty() && spec.template_tail.empty()) return byte_level(true, true);
  Json single = Json::array();
  Json special = Json::object();
  const auto add = [&](const std::vector<int32_t>& ids) {
    for (const int32_t id : ids) {
      const std::string text = spelling(spec, id);
      single.push_back({{"SpecialToken", {{"id", text}, {"type_id", 0}}}});
      special[text] = {{"id", text}, {"ids", {id}}, {"tokens", {text}}};
    }
  };
  add(spec.template_head);
  const Json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  single.push_back(text);
  add(spec.template_tail);
  Json pair = single;
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
}

// By hand: Json objects look a key up one by one, which takes minutes for a vocab.
std::string model_json(const BpeSpec& spec) {
  const auto quoted = [](const std::string& text) { return Json(text).dump(); };
  std::vector<std::string> spelled(spec.model.tokens.size());
  for (size_t id = 0; id < spelled.size(); ++id) spelled[id] = to_byte_alphabet(spec.model.tokens[id]);
  for (const AddedToken& token : spec.added) {
    if (static_cast<size_t>(token.id) < spelled.size())
      spelled[static_cast<size_t>(token.id)] = token.content;
  }
  std::string text = fmt::format(
      R"({{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,)"
      R"("fuse_unk":false,"byte_fallback":false,"ignore_merges":{},"vocab":{{)",
      spec.model.ignore_merges);
  for (size_t id = 0; id < spelled.size(); ++id) {
    text += fmt::format("{}\n{}:{}", id == 0 ? "" : ",", quoted(spelled[id]), id);
  }
  text += "\n},\"merges\":[";
  for (size_t rank = 0; rank < spec.model.merges.size(); ++rank) {
    const BpeMerge& merge = spec.model.merges[rank];
    const auto part = [&](int32_t id) {
      return to_byte_alphabet(spec.model.tokens[static_cast<size_t>(id)]);
    };
    text += (rank == 0 ? "\n" : ",\n") + quoted(part(merge.left) + " " + part(merge.right));
  }
  return text + "\n]}";
}

}  // namespace

std::string tokenizer_json(const BpeSpec& spec) {
  check_bpe(spec, "tokenizer.json");
  const auto field = [](const char* key, const Json& value) {
    return fmt::format("\"{}\":{},\n", key, value.dump());
  };
  return "{\n" + field("version", "1.0") + field("truncation", Json()) + field("padding", Json()) +
         field("added_tokens", added_json(spec)) +
         field("normalizer", spec.nfc ? Json{{"type", "NFC"}} : Json()) +
         field("pre_tokenizer", pre_tokenizer_json(spec)) +
         field("post_processor", post_processor_json(spec)) + field("decoder", byte_level(true, true)) +
         "\"model\":" + model_json(spec) + "\n}\n";
}

}  // namespace phalanx
