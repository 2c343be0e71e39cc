#include "phalanx/base/error.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace phalanx {
namespace {

std::string compose(const ErrorParts& parts) {
  std::string text = parts.where;
  const auto append = [&text](const std::string& piece, const char* separator) {
    if (piece.empty()) return;
    if (!text.empty()) text += separator;
    text += piece;
  };
  if (!parts.got.empty()) append("got " + parts.got, ": ");
  if (!parts.needed.empty()) append("needed " + parts.needed, parts.got.empty() ? ": " : "; ");
  if (!parts.fix.empty()) append("Fix: " + parts.fix, ". ");
  return text;
}

}  // namespace

Error::Error(ErrorKind kind, ErrorParts parts)
    : std::runtime_error(compose(parts)), kind_(kind), parts_(std::move(parts)) {}

int edit_distance(const std::string& a, const std::string& b) {
  std::vector<int> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    int diagonal = row[0];
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

void bad_input(const std::string& where, const std::string& got, const std::string& needed,
               const std::string& fix) {
  throw Error(ErrorKind::kBadInput, {.where = where, .got = got, .needed = needed, .fix = fix});
}

void check_failed(const char* file, int line, const char* condition, const std::string& message) {
  std::fprintf(stderr, "%s:%d: internal check failed: %s: %s\n", file, line, condition, message.c_str());
  std::abort();
}

}  // namespace phalanx
