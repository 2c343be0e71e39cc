#include "phalanx/tokenizer/make_tokenizer.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "phalanx/base/error.h"
#include "phalanx/tokenizer/byte_tokenizer.h"
#include "phalanx/tokenizer/null_tokenizer.h"

namespace phalanx {
namespace {

constexpr std::array<std::string_view, 2> kTypes = {"ByteTokenizer", "NullTokenizer"};

constexpr std::array<std::string_view, 8> kLaterTypes = {
    "HuggingFaceTokenizer", "GPT2BPETokenizer", "SentencePieceTokenizer", "GPTSentencePieceTokenizer",
    "Llama2Tokenizer",      "TikTokenizer",     "BertWordPieceLowerCase", "BertWordPieceCase"};

[[noreturn]] void throw_type(const std::string& type) {
  const std::string here = fmt::format("one of {}", fmt::join(kTypes, ", "));
  if (std::find(kLaterTypes.begin(), kLaterTypes.end(), type) != kLaterTypes.end()) {
    throw Error(
        ErrorKind::kBadInput,
        {.where = "tokenizer_type",
         .got = fmt::format("'{}', which this version does not have yet (it comes with the BPE tokenizers)",
                            type),
         .needed = here,
         .fix = "use --tokenizer-type ByteTokenizer, or tokenize elsewhere and give .bin/.idx files"});
  }
  const std::string nearest = nearest_name(type, kTypes);
  throw Error(ErrorKind::kBadInput,
              {.where = "tokenizer_type",
               .got = fmt::format("'{}'", type),
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

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerOptions& options) {
  if (std::find(kTypes.begin(), kTypes.end(), options.type) == kTypes.end()) throw_type(options.type);
  reject_setting(options.type, "tokenizer_model", options.model);
  reject_setting(options.type, "vocab_file", options.vocab_file);
  reject_setting(options.type, "merge_file", options.merge_file);
  reject_setting(options.type, "eod_token", options.eod_token);
  if (options.type == "NullTokenizer") return std::make_unique<NullTokenizer>(options.vocab_size);
  return std::make_unique<ByteTokenizer>();
}

}  // namespace phalanx
