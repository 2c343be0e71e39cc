// File: phalanx/tokenizer/unicode_class.h
//
// Purpose: what kind of character a code point is, as far as pre-tokenizers tell characters apart.
// Contract: a pure lookup in a table of Unicode 16.0, frozen so that ids depend on no installed library. White_Space
//   comes first (U+0085 and U+00A0 are kSpace, U+180E, U+200B, U+FEFF and U+001C to U+001F are not); then the general
//   category: N* number, Lu and Lt upper, Ll lower, Lm and Lo caseless, M* mark, anything else other. Numbers of
//   0x110000 and more are kOther.
// Source: utf8proc 2.8 (Unicode 15.0) and the 48 ranges of unicode_newer.h, 5055 code points that 15.1 and 16.0
//   assigned. Equal on every code point to \p{L} \p{N} \p{M} \s and the case classes of Hugging Face tokenizers 0.23.3
//   (Oniguruma) and tiktoken 0.14 (regex-syntax 0.8.11).
// Example: unicode_class(U'7') == UnicodeClass::kNumber
#pragma once

#include <array>
#include <cstdint>

namespace phalanx {

enum class UnicodeClass : uint8_t { kOther, kSpace, kNumber, kUpper, kLower, kCaseless, kMark };

// Two stages: the block of 128 code points, then four bits for each of them, the lowest first.
inline constexpr int kClassBlocks = 0x110000 / 128;
inline constexpr int kDistinctClassBlocks = 230;
extern const std::array<uint8_t, kClassBlocks> kClassBlockOf;
extern const std::array<uint64_t, kDistinctClassBlocks * 8> kClassNibbles;

inline UnicodeClass unicode_class(char32_t c) {
  if (c >= 0x110000) return UnicodeClass::kOther;
  const uint64_t sixteen = kClassNibbles[kClassBlockOf[c >> 7] * 8U + ((c >> 4) & 7U)];
  return static_cast<UnicodeClass>((sixteen >> (4 * (c & 15U))) & 15U);
}

constexpr bool is_letter(UnicodeClass c) {
  return c == UnicodeClass::kUpper || c == UnicodeClass::kLower || c == UnicodeClass::kCaseless;
}

}  // namespace phalanx
