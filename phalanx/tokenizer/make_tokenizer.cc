#include "phalanx/tokenizer/make_tokenizer.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "phalanx/base/error.h"
#include "phalanx/tokenizer/byte_tokenizer.h"
#include "phalanx/tokenizer/load_bpe.h"
#include "phalanx/tokenizer/null_tokenizer.h"
#include "phalanx/tokenizer/sentencepiece_tokenizer.h"

namespace phalanx {
namespace {

struct Type {
  std::string_view name;
  bool model, files, eod, vocab_size, tiktoken;  // which settings it takes
};

constexpr std::array<Type, 8> kTypes = {{
    {"ByteTokenizer", false, false, false, false, false},
    {"NullTokenizer", false, false, false, true, false},
    {"GPT2BPETokenizer", false, true, true, false, false},
    {"HuggingFaceTokenizer", true, false, true, false, false},
    {"TikTokenizer", true, false, true, true, true},
    {"SentencePieceTokenizer", true, false, true, false, false},
    {"GPTSentencePieceTokenizer", true, false, true, false, false},
    {"Llama2Tokenizer", true, false, true, false, false},
}};

constexpr std::array<std::string_view, 2> kNotBuilt = {"BertWordPieceLowerCase", "BertWordPieceCase"};

const Type& find_type(const std::string& name) {
  std::vector<std::string_view> names;
  for (const Type& type : kTypes) {
    if (type.name == name) return type;
    names.push_back(type.name);
  }
  const std::string here = fmt::format("one of {}", fmt::join(names, ", "));
  if (std::find(kNotBuilt.begin(), kNotBuilt.end(), name) != kNotBuilt.end()) {
    throw Error(ErrorKind::kBadInput, {.where = "tokenizer_type",
                                       .got = fmt::format("'{}', which this version does not have", name),
                                       .needed = here,
                                       .fix = "tokenize elsewhere and give .bin/.idx files"});
  }
  const std::string nearest = nearest_name(name, names);
  throw Error(ErrorKind::kBadInput,
              {.where = "tokenizer_type",
               .got = fmt::format("'{}'", name),
               .needed = here,
               .fix = nearest.empty() ? "choose one of these" : "did you mean " + nearest + "?"});
}

void reject_setting(const std::string& type, const char* name, const std::string& value) {
  if (value.empty()) return;
  throw Error(ErrorKind::kBadInput,
              {.where = type,
               .got = fmt::format("{} '{}'", name, value),
               .needed = "no such setting for this type",
               .fix = fmt::format("leave {} out, or choose another tokenizer_type", name)});
}

void need_setting(const std::string& type, const char* name, const std::string& value) {
  if (!value.empty()) return;
  throw Error(ErrorKind::kBadInput, {.where = type,
                                     .got = fmt::format("no {}", name),
                                     .needed = "a path",
                                     .fix = fmt::format("give {}", name)});
}

void check_settings(const Type& type, const TokenizerOptions& options) {
  const auto path = [&](bool takes, const char* name, const std::string& value) {
    takes ? need_setting(options.type, name, value) : reject_setting(options.type, name, value);
  };
  path(type.model, "tokenizer_model", options.model);
  path(type.files, "vocab_file", options.vocab_file);
  path(type.files, "merge_file", options.merge_file);
  if (!type.eod) reject_setting(options.type, "eod_token", options.eod_token);
  if (!type.vocab_size && options.vocab_size != 0) {
    reject_setting(options.type, "vocab_size", std::to_string(options.vocab_size));
  }
  if (type.tiktoken) return;
  reject_setting(options.type, "tiktoken_pattern", options.tiktoken_pattern);
  if (options.tiktoken_num_special_tokens == -1) return;
  reject_setting(options.type, "tiktoken_num_special_tokens",
                 std::to_string(options.tiktoken_num_special_tokens));
}

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerOptions& options) {
  const Type& type = find_type(options.type);
  check_settings(type, options);
  if (type.name == "ByteTokenizer") return std::make_unique<ByteTokenizer>();
  if (type.name == "NullTokenizer") return std::make_unique<NullTokenizer>(options.vocab_size);
  if (type.name == "GPT2BPETokenizer") return load_gpt2(options);
  if (type.name == "HuggingFaceTokenizer") return load_hugging_face(options);
  if (type.name == "TikTokenizer") return load_tiktoken(options);
  return load_sentencepiece(options.model, options.eod_token);
}

}  // namespace phalanx
