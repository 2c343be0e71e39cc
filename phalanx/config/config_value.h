// File: phalanx/config/config_value.h
//
// Purpose: what stands between a file or a flag and a field: one scalar or a list of scalars, still typed as it was
//   written. TOML, JSON and flags are read into it; fields take it and give it back.
// Contract: numbers are finite. Text of a list is comma-separated, `\,` is a comma and `\\` a backslash inside an
//   item, an empty text is an empty list. format_number gives the shortest text that reads back to the same double.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "phalanx/base/error.h"

namespace phalanx {

// monostate is "none": JSON's null, an absent optional.
using ConfigScalar = std::variant<std::monostate, bool, int64_t, double, std::string>;

struct ConfigValue {
  bool is_list = false;
  std::vector<ConfigScalar> items;  // exactly one when it is no list
};

// Several lambdas as one visitor.
template <typename... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <typename... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

ConfigValue scalar_value(ConfigScalar scalar);

// The whole text must be the number; blanks around it and a leading plus are allowed.
std::optional<int64_t> parse_integer(std::string_view text);
std::optional<double> parse_number(std::string_view text);

std::string format_number(double value);
std::string format_scalar(const ConfigScalar& scalar);
std::string format_value(const ConfigValue& value);  // lists as split_list reads them

// nullopt when an item is empty ("a,,b") or a backslash escapes nothing.
std::optional<std::vector<std::string>> split_list(std::string_view text);

// The known name that `word` misspells, or "": nearest_name would also name what merely shares some letters.
template <typename Container>
std::string misspelt_name(const std::string& word, const Container& known) {
  const std::string near = nearest_name(word, known);
  const int limit = std::max(1, static_cast<int>(word.size()) / 4);
  return edit_distance(word, near) <= limit ? near : "";
}

// For error messages: text 'abc', number 1.5, list of 2 values.
std::string describe_value(const ConfigValue& value);

}  // namespace phalanx
