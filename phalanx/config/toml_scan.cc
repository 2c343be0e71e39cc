#include "phalanx/config/toml_scan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

bool is_ascii(char c) {
  return static_cast<unsigned char>(c) < 0x80;
}
bool starts_character(char c) {
  return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
}
bool is_bare(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
         std::string_view("-_+:.").find(c) != std::string_view::npos;
}
bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

[[noreturn]] void throw_at(std::string_view text, size_t at, const std::string& path) {
  const std::string_view before = text.substr(0, at);
  const size_t line_start = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const auto column =
      1 + std::count_if(before.begin() + static_cast<ptrdiff_t>(line_start), before.end(), starts_character);
  size_t length = 1;
  while (at + length < text.size() && !starts_character(text[at + length]) && length < 4) ++length;
  throw Error(ErrorKind::kBadInput,
              {.where = fmt::format("{}:{}:{}", path, line, column),
               .got = fmt::format("the character '{}' outside quotes", text.substr(at, length)),
               .needed = "ASCII characters there",
               .fix = "put it into a quoted text, or type plain quotes and blanks"});
}

// `at` is behind the opening quotes; returns the place behind the closing ones, or where an open string gives up.
size_t skip_string(std::string_view text, size_t at, char quote, bool multi_line, const std::string& path) {
  const std::string closing(multi_line ? 3 : 1, quote);
  while (at < text.size()) {
    if (text[at] == '\\' && quote == '"') {
      const size_t escaped = ++at;
      while (multi_line && at < text.size() && is_blank(text[at])) ++at;
      if (at < text.size() && !is_ascii(text[at])) throw_at(text, at, path);
      if (at == escaped) ++at;  // a backslash that ends a line escapes nothing else
      continue;
    }
    if (text[at] == '\n' && !multi_line) return at;
    if (text.substr(at).starts_with(closing)) {
      at += closing.size();
      // A multi-line string may end in up to two quotes of its own.
      for (int own = 0; multi_line && own < 2 && at < text.size() && text[at] == quote; ++own) ++at;
      return at;
    }
    ++at;
  }
  return at;
}

}  // namespace

void refuse_stray_characters(std::string_view text, const std::string& path) {
  size_t at = text.starts_with("\xef\xbb\xbf") ? 3 : 0;
  bool quotes_open = true;
  while (at < text.size()) {
    const char c = text[at];
    if (c == '\n') quotes_open = true;
    // A quote right behind a bare character (197'9) opens no string: toml++ reads on to the end of the value.
    if ((c == '"' || c == '\'') && at > 0 && is_bare(text[at - 1])) quotes_open = false;
    if (c == '#') {
      at = std::min(text.find('\n', at), text.size());
    } else if (quotes_open && (c == '"' || c == '\'')) {
      const bool multi_line = text.substr(at, 3) == std::string(3, c);
      at = skip_string(text, at + (multi_line ? 3 : 1), c, multi_line, path);
    } else if (!is_ascii(c)) {
      throw_at(text, at, path);
    } else {
      ++at;
    }
  }
}

}  // namespace phalanx
