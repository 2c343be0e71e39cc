#include "phalanx/tokenizer/gpt2_files.h"

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/tokenizer/tokenizer_json_reader.h"
#include "phalanx/tokenizer/tokenizer_json_sax.h"

namespace phalanx {
namespace {

std::vector<std::pair<std::string, std::string>> read_merges(const std::string& path) {
  const std::string text = read_file(path);
  std::vector<std::pair<std::string, std::string>> merges;
  size_t number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = std::string_view(text).substr(at, end - at);
    at = end + 1;
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || (number == 1 && line.starts_with("#version"))) continue;
    const size_t space = line.find(' ');
    if (space == std::string_view::npos || space == 0 ||
        line.find(' ', space + 1) != std::string_view::npos || space + 1 == line.size()) {
      throw Error(ErrorKind::kBadInput, {.where = fmt::format("{}: line {}", path, number),
                                         .got = fmt::format("'{}'", line.substr(0, 80)),
                                         .needed = "two tokens with a space between them",
                                         .fix = "give GPT-2's merges.txt as the merge file"});
    }
    merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
  return merges;
}

}  // namespace

BpeSpec read_gpt2_files(const std::string& vocab_path, const std::string& merges_path) {
  auto vocab = parse_vocab_json(read_file(vocab_path), vocab_path);
  BpeSpec spec;
  for (const auto& [text, id] : vocab) {
    if (text == kEndOfText) spec.added.push_back({.id = id, .content = text, .special = true});
  }
  spec.model =
      build_model(std::move(vocab), read_merges(merges_path), spec.added, vocab_path + " and " + merges_path);
  spec.splits = {SplitPattern::kGpt2};
  check_bpe(spec, vocab_path);
  return spec;
}

}  // namespace phalanx
