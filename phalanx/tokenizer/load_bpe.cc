#include "phalanx/tokenizer/load_bpe.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"
#include "phalanx/tokenizer/bpe_tokenizer.h"
#include "phalanx/tokenizer/gpt2_files.h"
#include "phalanx/tokenizer/tiktoken_file.h"
#include "phalanx/tokenizer/tokenizer_json_reader.h"

namespace phalanx {
namespace {

int32_t eod_of(const BpeSpec& spec, const std::string& wanted, const std::string& source,
               const std::string& where) {
  if (const std::optional<int32_t> id = find_token(spec, wanted)) return *id;
  throw Error(ErrorKind::kBadInput, {.where = where,
                                     .got = fmt::format("no token '{}', which {} names", wanted, source),
                                     .needed = "a token of the vocabulary that ends a document",
                                     .fix = "give --eod-token with a token that the file has"});
}

// eos_token of tokenizer_config.json: a string, an object with the string in it, or nothing.
std::string eos_token(const std::string& path) {
  if (!path_exists(path)) return "";
  const Json config = read_json_file(path);
  if (!config.is_object()) throw_json_field(path, "eos_token", config.type_name(), "a JSON object");
  const auto it = config.find("eos_token");
  if (it == config.end() || it->is_null()) return "";
  if (it->is_string()) return it->get<std::string>();
  if (!it->is_object())
    throw_json_field(path, "eos_token", it->dump(), "a string, or an object with a content");
  return json_get<std::string>(*it, "content", path + ": eos_token");
}

struct NamedPattern {
  std::string_view name;
  std::string_view megatron_regex;  // empty: `pattern` has it
  SplitPattern pattern;
};

// The names v1 and v2, and their regexes, are Megatron's (megatron-core 0.16, tiktoken_tokenizer.py).
constexpr std::array<NamedPattern, 7> kPatterns = {{
    {"v1", R"([^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)",
     SplitPattern::kWholeText},
    {"v2",
     R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
     R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
     R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     SplitPattern::kWholeText},
    {"gpt2", "", SplitPattern::kGpt2},
    {"cl100k", "", SplitPattern::kCl100k},
    {"o200k", "", SplitPattern::kO200k},
    {"llama3", "", SplitPattern::kLlama3},
    {"qwen2", "", SplitPattern::kQwen2},
}};

SplitPattern tiktoken_pattern(const std::string& name) {
  for (const NamedPattern& known : kPatterns) {
    if (known.name != name) continue;
    if (known.megatron_regex.empty()) return known.pattern;
    if (const auto found = find_pattern(known.megatron_regex, RegexReader::kTiktoken)) return *found;
    throw Error(ErrorKind::kBadInput,
                {.where = "tiktoken_pattern",
                 .got = fmt::format("'{}', which this version does not have", name),
                 .needed = "gpt2, cl100k, o200k, llama3 or qwen2",
                 .fix = "tokenize elsewhere and give .bin/.idx files, or choose one of these patterns"});
  }
  throw Error(ErrorKind::kBadInput,
              {.where = "tiktoken_pattern",
               .got = name.empty() ? "none" : fmt::format("'{}'", name),
               .needed = "v1, v2, gpt2, cl100k, o200k, llama3 or qwen2",
               .fix = "give --tiktoken-pattern; a rank file does not say how its text was cut"});
}

std::vector<std::string> tiktoken_special(const TokenizerOptions& options, bool megatron) {
  const int64_t asked = options.tiktoken_num_special_tokens;
  const int64_t count = asked >= 0 ? asked : megatron ? 1000 : 0;
  if (count == 0) return {};
  if (count < 7 || count > 100000) {
    throw Error(ErrorKind::kBadInput, {.where = "tiktoken_num_special_tokens",
                                       .got = std::to_string(count),
                                       .needed = "0, or 7 to 100000",
                                       .fix = "Megatron's default is 1000"});
  }
  return megatron_special_tokens(count);
}

}  // namespace

std::unique_ptr<Tokenizer> load_gpt2(const TokenizerOptions& options) {
  BpeSpec spec = read_gpt2_files(options.vocab_file, options.merge_file);
  const bool given = !options.eod_token.empty();
  const int32_t eod = eod_of(spec, given ? options.eod_token : std::string(kEndOfText),
                             given ? "--eod-token" : "GPT-2", options.vocab_file);
  return std::make_unique<BpeTokenizer>(std::move(spec), options.type, eod);
}

std::unique_ptr<Tokenizer> load_hugging_face(const TokenizerOptions& options) {
  std::filesystem::path file = options.model;
  if (std::filesystem::is_directory(file)) {
    file /= "tokenizer.json";
    if (!path_exists(file.string())) {
      throw Error(ErrorKind::kBadInput,
                  {.where = options.model,
                   .got = "a folder without tokenizer.json",
                   .needed = "tokenizer.json",
                   .fix = "write it with transformers' save_pretrained; vocab.json and merges.txt alone are "
                          "GPT2BPETokenizer, a tokenizer.model is SentencePieceTokenizer"});
    }
  }
  BpeSpec spec = read_tokenizer_json(file.string());
  const std::string config = (file.parent_path() / "tokenizer_config.json").string();
  std::string wanted = options.eod_token;
  std::string source = "--eod-token";
  if (wanted.empty()) {
    wanted = eos_token(config);
    source = config;
  }
  if (wanted.empty()) {
    wanted = kEndOfText;
    source = "the default (no eos_token in tokenizer_config.json)";
  }
  const int32_t eod = eod_of(spec, wanted, source, file.string());
  return std::make_unique<BpeTokenizer>(std::move(spec), options.type, eod);
}

std::unique_ptr<Tokenizer> load_tiktoken(const TokenizerOptions& options) {
  TiktokenRanks ranks = read_tiktoken_ranks(options.model);
  const bool megatron_default = ranks.megatron_json && options.tiktoken_pattern.empty();
  const SplitPattern pattern = tiktoken_pattern(megatron_default ? "v2" : options.tiktoken_pattern);
  const std::vector<std::string> special = tiktoken_special(options, ranks.megatron_json);
  const size_t most = ranks.tokens.size() + special.size();
  if (options.vocab_size != 0 && static_cast<uint64_t>(options.vocab_size) < most) {
    const int64_t left = options.vocab_size - static_cast<int64_t>(special.size());
    ranks.tokens.resize(static_cast<size_t>(std::max<int64_t>(left, 0)));
  }
  BpeSpec spec = tiktoken_spec(ranks, pattern, special, options.model);
  std::string wanted = options.eod_token;
  if (wanted.empty()) wanted = special.empty() ? std::string(kEndOfText) : "</s>";
  if (special.empty() && !find_token(spec, wanted)) {
    spec.added.push_back(
        {.id = static_cast<int32_t>(bpe_vocab_size(spec)), .content = wanted, .special = true});
  }
  const int32_t eod = eod_of(spec, wanted, "--eod-token", options.model);
  return std::make_unique<BpeTokenizer>(std::move(spec), options.type, eod);
}

}  // namespace phalanx
