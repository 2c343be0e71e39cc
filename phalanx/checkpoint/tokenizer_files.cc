#include "phalanx/checkpoint/tokenizer_files.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>

#include "phalanx/base/fs.h"

namespace phalanx {
namespace {

constexpr auto kNames = std::to_array<std::string_view>(
    {"tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "merges.txt",
     "special_tokens_map.json", "added_tokens.json", "tekken.json"});

}  // namespace

bool is_tokenizer_file(const std::string& name) {
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end() || name.ends_with(".model") ||
         name.ends_with(".tiktoken") || name.starts_with("chat_template.");
}

std::vector<ExtraFile> tokenizer_files(const std::string& folder, const std::string& prefix) {
  std::vector<ExtraFile> files;
  for (const std::string& name : names_in(folder)) {
    const std::string path = folder + "/" + name;
    std::error_code ignored;
    if (!is_tokenizer_file(name) || !std::filesystem::is_regular_file(path, ignored)) continue;
    files.push_back({prefix + name, read_file(path)});
  }
  return files;
}

}  // namespace phalanx
