#include "phalanx/data/blend_config.h"

#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"
#include "phalanx/data/words.h"

namespace phalanx {
namespace {

std::string trimmed(std::string_view text) {
  const size_t begin = std::min(text.find_first_not_of(kSpaces), text.size());
  const size_t end = text.find_last_not_of(kSpaces);
  return std::string(begin == text.size() ? "" : text.substr(begin, end - begin + 1));
}

// "nan" and "inf" are numbers here: they are refused as weights, not taken for prefixes.
std::optional<double> number_of(const std::string& word) {
  const std::string text = trimmed(word);
  const size_t sign = !text.empty() && text[0] == '+' ? 1 : 0;
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + sign, end, value);
  if (stop != end || text.size() == sign || error == std::errc::invalid_argument) return std::nullopt;
  if (error == std::errc::result_out_of_range) return HUGE_VAL;
  return value;
}

double weight_of(std::span<const std::string> words, size_t entry, const std::string& where) {
  const std::optional<double> value = number_of(words[entry]);
  const std::string place = fmt::format("{}, entry {}", where, entry + 1);
  if (!value) {
    bad_input(place, fmt::format("'{}'", words[entry]), fmt::format("a weight for '{}'", words[entry + 1]),
              "write weights and prefixes in turn, or prefixes alone");
  }
  if (!std::isfinite(*value) || *value <= 0) {
    bad_input(place, fmt::format("weight '{}'", words[entry]), "a positive finite number",
              *value == 0 ? fmt::format("leave '{}' out", words[entry + 1]) : "change the weight");
  }
  return *value;
}

struct Source {
  const char* name = nullptr;
  bool given = false;
};

// The ways to name data exclude each other.
void check_sources(const DataConfig& c) {
  const bool own = !c.train_data_path.empty() || !c.valid_data_path.empty() || !c.test_data_path.empty();
  const Source sources[] = {{"data.data_path", !c.data_path.empty()},
                            {"data.data_args_path", !c.data_args_path.empty()},
                            {"data.train_data_path, valid_data_path or test_data_path", own},
                            {"data.per_split_data_args_path", !c.per_split_data_args_path.empty()}};
  const char* first = nullptr;
  for (const Source& source : sources) {
    if (!source.given) continue;
    if (first != nullptr) {
      bad_input("data", fmt::format("both {} and {}", first, source.name), "one of them", "drop one");
    }
    first = source.name;
  }
}

}  // namespace

const char* split_part_name(SplitPart part) {
  constexpr const char* kNames[] = {"train", "valid", "test"};
  return kNames[static_cast<size_t>(part)];
}

Blend parse_blend(std::span<const std::string> words, const std::string& where) {
  Blend blend;
  bool weighted = false;
  if (words.size() % 2 == 0) {
    for (size_t i = 0; i < words.size(); i += 2) weighted = weighted || number_of(words[i]).has_value();
  }
  for (size_t i = 0; i < words.size(); ++i) {
    if (weighted && i % 2 == 0) {
      blend.weights.push_back(weight_of(words, i, where));
      continue;
    }
    blend.prefixes.push_back(trimmed(words[i]));
    if (blend.prefixes.back().empty()) {
      bad_input(fmt::format("{}, entry {}", where, i + 1), fmt::format("'{}'", words[i]),
                "the prefix of a .bin/.idx pair", "drop the entry or name the data");
    }
  }
  double sum = 0;
  for (const double weight : blend.weights) sum += weight;
  if (!std::isfinite(sum))
    bad_input(where, fmt::format("weights with the sum {}", sum), "a finite sum", "use smaller weights");
  return blend;
}

std::vector<std::string> read_blend_words(const std::string& path) {
  std::vector<std::string> words = words_of(read_file(path));
  if (words.empty()) {
    bad_input(path, "a file without words", "weights and prefixes, as --data-path takes them",
              "name the data in it");
  }
  return words;
}

std::array<std::vector<std::string>, 3> read_split_blend_words(const std::string& path) {
  const Json json = read_json_file(path);
  if (!json.is_object())
    bad_input(path, "JSON of another kind", "an object with train, valid and test", "change the file");
  std::array<std::vector<std::string>, 3> words;
  for (const auto& [key, value] : json.items()) {
    size_t part = 0;
    while (part < 3 && key != split_part_name(static_cast<SplitPart>(part))) ++part;
    if (part == 3)
      bad_input(path, fmt::format("the key '{}'", key), "train, valid and test", "rename or drop the key");
    if (value.is_null()) continue;
    const std::string place = fmt::format("{}: {}", path, key);
    if (!value.is_array())
      bad_input(place, value.dump(), "a list of weights and prefixes", "change the file");
    for (const Json& word : value) {
      if (!word.is_string() && !word.is_number()) {
        bad_input(place, word.dump(), "a list of weights and prefixes", "change the file");
      }
      words[part].push_back(word.is_string() ? word.get<std::string>() : word.dump());
    }
  }
  return words;
}

PartData data_of_part(const DataConfig& c, SplitPart part) {
  check_sources(c);
  if (!c.data_path.empty()) return {.blend = parse_blend(c.data_path, "data.data_path"), .cut = true};
  if (!c.data_args_path.empty()) {
    return {.blend = parse_blend(read_blend_words(c.data_args_path), c.data_args_path), .cut = true};
  }
  const auto index = static_cast<size_t>(part);
  if (!c.per_split_data_args_path.empty()) {
    const auto words = read_split_blend_words(c.per_split_data_args_path);
    return {.blend = parse_blend(words[index],
                                 fmt::format("{}: {}", c.per_split_data_args_path, split_part_name(part)))};
  }
  const std::vector<std::string>* own[] = {&c.train_data_path, &c.valid_data_path, &c.test_data_path};
  return {.blend = parse_blend(*own[index], fmt::format("data.{}_data_path", split_part_name(part)))};
}

bool names_data(const DataConfig& c) {
  check_sources(c);
  return !c.data_path.empty() || !c.data_args_path.empty() || !c.per_split_data_args_path.empty() ||
         !c.train_data_path.empty() || !c.valid_data_path.empty() || !c.test_data_path.empty();
}

}  // namespace phalanx
