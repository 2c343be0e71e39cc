#include "phalanx/base/json.h"

#include <algorithm>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"

namespace phalanx {
namespace {

constexpr int kMaxDepth = 128;

// Counts brackets outside strings: enough to bound the depth before the recursive parser sees the text.
int max_depth(std::string_view text) {
  int depth = 0;
  int deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return deepest;
}

}  // namespace

Json parse_json(std::string_view text, const std::string& where) {
  if (max_depth(text) > kMaxDepth) {
    throw Error(ErrorKind::kBadInput, {.where = where,
                                       .got = "JSON nested deeper than 128",
                                       .needed = "ordinary JSON",
                                       .fix = "check the file"});
  }
  try {
    return Json::parse(text.begin(), text.end());
  } catch (const nlohmann::json::exception& e) {
    throw Error(
        ErrorKind::kBadInput,
        {.where = where, .got = e.what(), .needed = "valid JSON", .fix = "check the file at that place"});
  }
}

Json read_json_file(const std::string& path) {
  return parse_json(read_file(path), path);
}

void throw_json_field(const std::string& where, const char* key, const std::string& got,
                      const std::string& needed) {
  throw Error(ErrorKind::kBadInput, {.where = where + ": field '" + key + "'",
                                     .got = got.substr(0, 200),
                                     .needed = needed,
                                     .fix = "check the file; it may be of another kind or cut short"});
}

}  // namespace phalanx
