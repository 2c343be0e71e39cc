#include "phalanx/config/config_value.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

std::string_view trim(std::string_view text) {
  const auto is_blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

template <typename T>
std::optional<T> parse_whole(std::string_view text) {
  text = trim(text);
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);  // from_chars knows no plus
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string escape_item(const std::string& item) {
  std::string out;
  for (const char c : item) {
    if (c == ',' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

}  // namespace

ConfigValue scalar_value(ConfigScalar scalar) {
  ConfigValue value;
  value.items.push_back(std::move(scalar));
  return value;
}

std::optional<int64_t> parse_integer(std::string_view text) {
  return parse_whole<int64_t>(text);
}

std::optional<double> parse_number(std::string_view text) {
  const std::optional<double> value = parse_whole<double>(text);
  return value && std::isfinite(*value) ? value : std::nullopt;
}

std::string format_number(double value) {
  PHALANX_CHECK(std::isfinite(value), "a config number is finite");
  char buffer[32];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof(buffer), value);
  PHALANX_CHECK(error == std::errc(), "32 characters hold every double");
  std::string text(buffer, end);
  // TOML would read digits alone as an integer, and 1e300 in full does not fit one.
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string format_scalar(const ConfigScalar& scalar) {
  return std::visit(
      Overloaded{[](std::monostate) { return std::string("none"); },
                 [](bool b) { return std::string(b ? "true" : "false"); },
                 [](int64_t i) { return std::to_string(i); }, [](double d) { return format_number(d); },
                 [](const std::string& s) { return s; }},
      scalar);
}

std::string format_value(const ConfigValue& value) {
  if (!value.is_list) return format_scalar(value.items.at(0));
  std::string out;
  for (size_t i = 0; i < value.items.size(); ++i) {
    if (i > 0) out += ',';
    out += escape_item(format_scalar(value.items[i]));
  }
  return out;
}

std::optional<std::vector<std::string>> split_list(std::string_view text) {
  std::vector<std::string> items;
  if (text.empty()) return items;
  items.emplace_back();
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\') {
      if (i + 1 == text.size()) return std::nullopt;
      items.back() += text[++i];
    } else if (text[i] == ',') {
      items.emplace_back();
    } else {
      items.back() += text[i];
    }
  }
  for (const std::string& item : items) {
    if (item.empty()) return std::nullopt;
  }
  return items;
}

std::string describe_value(const ConfigValue& value) {
  if (value.is_list) return fmt::format("a list of {} values", value.items.size());
  const ConfigScalar& scalar = value.items.at(0);
  const std::string text = format_scalar(scalar).substr(0, 200);
  return std::visit(
      Overloaded{[](std::monostate) { return std::string("none"); },
                 [&](bool) { return "the truth value " + text; },
                 [&](int64_t) { return "the integer " + text; }, [&](double) { return "the number " + text; },
                 [&](const std::string&) { return "the text '" + text + "'"; }},
      scalar);
}

}  // namespace phalanx
