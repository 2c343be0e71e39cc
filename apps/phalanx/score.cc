#include <ATen/Parallel.h>

#include <algorithm>
#include <limits>

#include "apps/phalanx/model_flags.h"
#include "apps/phalanx/verbs.h"
#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"
#include "phalanx/infer/text_model.h"

namespace phalanx::apps {
namespace {

constexpr const char* kHelp =
    "usage: phalanx score --model DIR --input IN.jsonl --output OUT.jsonl [--dtype D] [--device D] [--threads N]\n"
    "                     [--tensor N] [--pipeline N]\n"
    "A line {\"tokens\": [..]} or {\"text\": \"..\"} gives {\"logprobs\": [..]}: the natural log probability of token i + 1\n"
    "given tokens 0 .. i. DIR is a run folder, a checkpoint or a Hugging Face folder. '-' is stdin or stdout.\n"
    "--tensor and --pipeline share the model out to that many ranks, which are threads; the numbers stay the same.\n"
    "example: phalanx score --model runs/demo --input in.jsonl --output -\n";

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
  if (line.is_object() && line.contains("text")) {
    const auto ids = require_tokenizer(folder).encode(json_get<std::string>(line, "text", where));
    return {ids.begin(), ids.end()};
  }
  throw Error(ErrorKind::kBadInput, {.where = where,
                                     .got = line.dump().substr(0, 80),
                                     .needed = "an object with \"tokens\" or \"text\"",
                                     .fix = "mend that line"});
}

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

}  // namespace

int run_score(const Arguments& args) {
  const ModelFlags flags =
      parse_model_flags("score", args, {{"--input", FlagKind::kValue}, {"--output", FlagKind::kValue}});
  if (flags.help) {
    print_line(kHelp);
    return 0;
  }
  const std::string input_path = flags.required("--input");
  const std::string output_path = flags.required("--output");
  const std::string input = read_input(input_path);
  const ModelFolder folder = open_model(flags.model);
  const std::unique_ptr<TextModel> model = load_text_model(folder, flags.load);
  const std::vector<ScoreText> texts = texts_of(input, input_path, folder);
  std::string output;
  for (const std::vector<double>& logprobs : model->score(texts)) {
    output += Json({{"logprobs", logprobs}}).dump() + "\n";
  }
  const auto is_beyond = [&](const ScoreText& text) {
    return beyond_rotary_positions(folder.config, static_cast<int64_t>(text.tokens.size()));
  };
  if (std::ranges::any_of(texts, is_beyond)) warn_beyond_rotary_positions(folder.config);
  if (output_path == "-") {
    print_text(output);
  } else {
    write_file_atomic(output_path, output);
  }
  return 0;
}

}  // namespace phalanx::apps
