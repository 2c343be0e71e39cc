// File: phalanx/tokenizer/utf8.h
//
// Purpose: is a text valid UTF-8, and is it in Unicode normalization form C?
// Contract: is_utf8 is what valid_utf8 leaves unchanged. to_nfc takes valid UTF-8 and returns an empty optional where
//   the text is in form C already, which it sees without normalizing when every character is one that form C leaves
//   alone whatever stands beside it (ASCII, Latin, Cyrillic, kana, CJK, Hangul, most punctuation).
//   Form C is that of Unicode 9.0, as Hugging Face tokenizers has it: later marks stay where they are.
// Source: The Unicode Standard, table 3-7; normalization by utf8proc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace phalanx {

bool is_utf8(std::string_view bytes);

std::optional<std::string> to_nfc(std::string_view text);

// Whether form C never changes this character nor joins it to the one before. False where this is not known quickly.
bool nfc_leaves_alone(char32_t c);

struct Utf8Char {
  char32_t c = 0;
  size_t size = 0;
};
Utf8Char utf8_char_at(std::string_view text, size_t at);      // valid UTF-8, a character begins at `at`
Utf8Char utf8_char_before(std::string_view text, size_t at);  // valid UTF-8, 0 < at, a character ends there

}  // namespace phalanx
