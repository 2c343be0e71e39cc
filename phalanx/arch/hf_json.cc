#include "phalanx/arch/hf_json.h"

#include <array>
#include <cmath>
#include <limits>

namespace phalanx {
namespace {

constexpr const char* kTag = "__float__";

struct Word {
  std::string_view text;
  double value;
};

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// The one with a sign first: it ends with the next.
constexpr auto kWords = std::to_array<Word>(
    {{"-Infinity", -kInfinity}, {"Infinity", kInfinity}, {"NaN", std::numeric_limits<double>::quiet_NaN()}});

// The word that starts `text`, or "".
std::string_view leading_word(std::string_view text) {
  for (const Word& word : kWords) {
    if (text.starts_with(word.text)) return word.text;
  }
  return {};
}

std::string object_of(std::string_view word) {
  return std::string("{\"") + kTag + "\":\"" + std::string(word) + "\"}";
}

}  // namespace

Json parse_hf_json(std::string_view text, const std::string& where) {
  std::string tagged;
  tagged.reserve(text.size());
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (!in_string) {
      if (const std::string_view word = leading_word(text.substr(i)); !word.empty()) {
        tagged += object_of(word);
        i += word.size() - 1;
        continue;
      }
    }
    tagged += text[i];
    if (in_string && text[i] == '\\' && i + 1 < text.size())
      tagged += text[++i];
    else if (text[i] == '"')
      in_string = !in_string;
  }
  return parse_json(tagged, where);
}

std::optional<double> json_number(const Json& value) {
  if (value.is_number()) return value.get<double>();
  if (!value.is_object() || value.size() != 1 || !value.contains(kTag)) return std::nullopt;
  for (const Word& word : kWords) {
    if (value[kTag] == std::string(word.text)) return word.value;
  }
  return std::nullopt;
}

Json hf_json_of(double value) {
  if (std::isfinite(value)) return value;
  Json json;
  json[kTag] = std::isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
  return json;
}

}  // namespace phalanx
