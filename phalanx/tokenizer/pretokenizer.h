// File: phalanx/tokenizer/pretokenizer.h
//
// Purpose: cuts text into the pieces within which BPE merges, by hand-written scanners instead of a regex engine.
// Contract: `text` is valid UTF-8. Pieces lie back to back and cover the text; each is what the pattern's regex, an
//   ordered alternation, matches there. Where a piece ends depends on its begin and on the text after it only: cut
//   into several calls, a text has the same pieces. Pure functions, usable from many threads. Linear in the text.
//   Classes are those of Unicode 16.0. kCl100k is tiktoken's of today: it differs from kLlama3 in whitespace that ends
//   the text after a newline, which stays one piece.
// Units: bytes.
// Source: the patterns of GPT-2, tiktoken 0.14 (cl100k_base, o200k_base), Llama 3 and Qwen2, written out in
//   pretokenizer.cc. Equal to Hugging Face tokenizers 0.23.3 and tiktoken 0.14 (tests/fixtures/pretokenizer).
// Example: std::vector<uint32_t> ends; split_pieces(SplitPattern::kGpt2, text, 0, 4096, ends);
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace phalanx {

enum class SplitPattern { kWholeText, kGpt2, kCl100k, kO200k, kLlama3, kQwen2 };

// Appends the ends (offsets in `text`) of the pieces from `begin` on, at most `limit` of them, and returns where the
// last one ends: text.size() when the text is through. Texts of 4 GiB and more are a bug.
size_t split_pieces(SplitPattern pattern, std::string_view text, size_t begin, size_t limit,
                    std::vector<uint32_t>& ends);

// Whose regex a text is: tokenizer.json is read by Hugging Face's engine, which takes tiktoken's own spelling of
// cl100k for another pattern (digits in runs of any length).
enum class RegexReader { kHuggingFace, kTiktoken };

// The pattern whose regex is exactly this text, as tokenizer.json and tiktoken spell it.
std::optional<SplitPattern> find_pattern(std::string_view regex,
                                         RegexReader reader = RegexReader::kHuggingFace);

// The regex of a pattern, which both readers understand alike; empty for kWholeText.
std::string_view pattern_regex(SplitPattern pattern);

}  // namespace phalanx
