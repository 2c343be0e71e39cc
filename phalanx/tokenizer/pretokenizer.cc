#include "phalanx/tokenizer/pretokenizer.h"

#include <array>
#include <limits>

#include "phalanx/base/error.h"
#include "phalanx/tokenizer/scan.h"

namespace phalanx {
namespace {

constexpr unsigned kHuggingFace = 1;
constexpr unsigned kTiktoken = 2;
constexpr unsigned kBoth = kHuggingFace | kTiktoken;

struct Spelling {
  SplitPattern pattern;
  unsigned readers;  // those to which the text means the pattern
  std::string_view regex;
};

// The first of a pattern is the one that both readers understand alike: pattern_regex.
constexpr std::array kSpellings{
    // The release of GPT-2; tokenizers' ByteLevel has it built in.
    Spelling{SplitPattern::kGpt2, kBoth,
             R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"},
    Spelling{SplitPattern::kGpt2, kBoth,
             R"('s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"},
    // tiktoken 0.14, r50k_base.
    Spelling{SplitPattern::kGpt2, kBoth,
             R"('(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s)"},
    // tiktoken 0.14, cl100k_base, but for its {1,3}+. Of that, tiktoken makes "three at most, and keep them" and
    // Oniguruma "groups of three, any number of them".
    Spelling{SplitPattern::kCl100k, kBoth,
             R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*+)"
             R"(|\s++$|\s*[\r\n]|\s+(?!\S)|\s)"},
    Spelling{SplitPattern::kCl100k, kTiktoken,
             R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+)"
             R"(|\s++$|\s*[\r\n]|\s+(?!\S)|\s)"},
    // tiktoken 0.14, o200k_base.
    Spelling{SplitPattern::kO200k, kBoth,
             R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
             R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
             R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
             R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
             R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    // transformers 5.23, convert_slow_tokenizer.py (TikTokenConverter); the tokenizer.json of Llama 3.
    Spelling{SplitPattern::kLlama3, kBoth,
             R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
             R"(|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    // transformers 5.23, tokenization_qwen2.py.
    Spelling{SplitPattern::kQwen2, kBoth,
             R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
             R"(|\s*[\r\n]+|\s+(?!\S)|\s+)"},
};

}  // namespace

size_t split_pieces(SplitPattern pattern, std::string_view text, size_t begin, size_t limit,
                    std::vector<uint32_t>& ends) {
  PHALANX_CHECK(text.size() <= std::numeric_limits<uint32_t>::max(), "offsets have 32 bits");
  PHALANX_CHECK(begin <= text.size(), "a place in the text");
  if (begin == text.size() || limit == 0) return begin;
  if (pattern == SplitPattern::kWholeText) {
    ends.push_back(static_cast<uint32_t>(text.size()));
    return text.size();
  }
  static const bool wide = scan::have_avx2();
  return wide ? scan::split_avx2(pattern, text, begin, limit, ends)
              : scan::split_plain(pattern, text, begin, limit, ends);
}

std::optional<SplitPattern> find_pattern(std::string_view regex, RegexReader reader) {
  const unsigned bit = reader == RegexReader::kTiktoken ? kTiktoken : kHuggingFace;
  for (const Spelling& spelling : kSpellings) {
    if (spelling.regex == regex && (spelling.readers & bit) != 0) return spelling.pattern;
  }
  return std::nullopt;
}

std::string_view pattern_regex(SplitPattern pattern) {
  for (const Spelling& spelling : kSpellings) {
    if (spelling.pattern == pattern) return spelling.regex;
  }
  return "";
}

}  // namespace phalanx
