#include "phalanx/data/tokenizer_identity.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include <fmt/format.h>

#include "phalanx/base/fs.h"
#include "phalanx/shard/checksum.h"

namespace phalanx {
namespace {

namespace fs = std::filesystem;

bool is_tokenizer_file(const std::string& name) {
  for (const char* begin : {"tokenizer", "vocab", "merges", "special_tokens", "added_tokens"}) {
    if (name.starts_with(begin)) return true;
  }
  return name.ends_with(".model") || name.ends_with(".tiktoken");
}

std::vector<std::string> files_of(const std::string& path) {
  if (path.empty()) return {};
  std::error_code error;
  if (!fs::is_directory(path, error)) return {path};
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(path, error)) {
    if (entry.is_regular_file() && is_tokenizer_file(entry.path().filename().string()))
      files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

TokenizerIdentity identify_tokenizer(const TokenizerOptions& options, const Tokenizer& tokenizer) {
  Checksum sum;
  const auto add = [&](const std::string& text) { sum.update(std::as_bytes(std::span(text))); };
  add(fmt::format("{}\n{}\n{}\n", options.type, tokenizer.vocab_size(), tokenizer.eod().value_or(-1)));
  for (const std::string& given : {options.model, options.vocab_file, options.merge_file}) {
    for (const std::string& path : files_of(given)) {
      if (!path_exists(path)) continue;  // a name that the tokenizer itself understands
      const MappedFile file(path);
      add(fmt::format("{} {}\n", fs::path(path).filename().string(), file.bytes().size()));
      sum.update(file.bytes());
    }
  }
  return {.type = tokenizer.name(),
          .model = options.model.empty() ? options.vocab_file : options.model,
          .checksum = checksum_to_text(sum.digest())};
}

}  // namespace phalanx
