#include "apps/phalanx/text_lines.h"

#include <cstdio>
#include <limits>

#include "apps/phalanx/verbs.h"
#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"

namespace phalanx::apps {
namespace {

// Only whole numbers: the JSON library would cut 1.7 to 1 and wrap what is beyond 64 bits.
std::vector<int64_t> ids_of(const Json& tokens, const std::string& where) {
  const auto refuse = [&where](const Json& got) {
    throw Error(ErrorKind::kBadInput, {.where = where + ": tokens",
                                       .got = got.dump().substr(0, 80),
                                       .needed = "a list of token ids, whole numbers",
                                       .fix = "mend that line"});
  };
  if (!tokens.is_array()) refuse(tokens);
  std::vector<int64_t> ids;
  for (const Json& token : tokens) {
    const bool fits = !token.is_number_unsigned() ||
                      token.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    if (!token.is_number_integer() || !fits) refuse(token);
    ids.push_back(token.get<int64_t>());
  }
  return ids;
}

std::vector<int64_t> tokens_of(const Json& line, const ModelFolder& folder, const std::string& where) {
  if (line.is_object() && line.contains("tokens")) return ids_of(line["tokens"], where);
  for (const char* key : {"text", "prompt"}) {
    if (!line.is_object() || !line.contains(key)) continue;
    const auto ids = require_tokenizer(folder).encode(json_get<std::string>(line, key, where));
    return {ids.begin(), ids.end()};
  }
  throw Error(ErrorKind::kBadInput, {.where = where,
                                     .got = line.dump().substr(0, 80),
                                     .needed = "an object with \"tokens\", \"text\" or \"prompt\"",
                                     .fix = "mend that line"});
}

}  // namespace

std::string read_input(const std::string& path) {
  if (path != "-") return read_file(path);
  std::string text;
  char buffer[1 << 16];
  while (const size_t n = std::fread(buffer, 1, sizeof(buffer), stdin)) text.append(buffer, n);
  return text;
}

std::vector<ScoreText> texts_of(const std::string& input, const std::string& path,
                                const ModelFolder& folder) {
  std::vector<ScoreText> texts;
  size_t begin = 0;
  for (int number = 1; begin < input.size(); ++number) {
    size_t end = input.find('\n', begin);
    if (end == std::string::npos) end = input.size();
    const std::string line = input.substr(begin, end - begin);
    begin = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = path + ":" + std::to_string(number);
    texts.push_back({.tokens = tokens_of(parse_json(line, where), folder, where), .where = where});
  }
  return texts;
}

void write_output(const std::string& path, const std::string& text) {
  if (path == "-") {
    print_text(text);
  } else {
    write_file_atomic(path, text);
  }
}

}  // namespace phalanx::apps
