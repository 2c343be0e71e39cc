// File: phalanx/tokenizer/scan_plain.h
//
// Purpose: one piece of any pattern, character by character: the reference of the block scanner, and its path for
//   what is not ASCII.
// Contract: next_piece<pattern>(p, end), p < end, returns where the piece that begins at p ends. Never reads at or
//   after `end`; bytes that are no UTF-8 are cut somewhere, never out of bounds. A piece and what was looked at beyond
//   it are read a bounded number of times over the text, so the whole is linear.
// Source: the regexes in pretokenizer.cc. Each function below is its alternatives in their order.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "phalanx/tokenizer/pretokenizer.h"
#include "phalanx/tokenizer/unicode_class.h"

namespace phalanx::scan {

// Sets of classes, one bit each.
constexpr unsigned bit_of(UnicodeClass c) {
  return 1U << static_cast<unsigned>(c);
}
inline constexpr unsigned kSpaces = bit_of(UnicodeClass::kSpace);
inline constexpr unsigned kNumbers = bit_of(UnicodeClass::kNumber);
inline constexpr unsigned kMarks = bit_of(UnicodeClass::kMark);
inline constexpr unsigned kBothCases = bit_of(UnicodeClass::kCaseless) | kMarks;
inline constexpr unsigned kUppers =
    bit_of(UnicodeClass::kUpper) | kBothCases;  // [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]
inline constexpr unsigned kLowers = bit_of(UnicodeClass::kLower) | kBothCases;  // [\p{Ll}\p{Lm}\p{Lo}\p{M}]
inline constexpr unsigned kLetters = (kUppers | kLowers) & ~kMarks;
inline constexpr unsigned kOthers = bit_of(UnicodeClass::kOther) | kMarks;  // [^\s\p{L}\p{N}]

constexpr std::array<uint8_t, 128> make_ascii_sets() {
  std::array<uint8_t, 128> sets{};
  for (unsigned c = 0; c < 128; ++c) {
    UnicodeClass kind = UnicodeClass::kOther;
    if (c == ' ' || (c >= 9 && c <= 13)) kind = UnicodeClass::kSpace;
    if (c >= '0' && c <= '9') kind = UnicodeClass::kNumber;
    if (c >= 'A' && c <= 'Z') kind = UnicodeClass::kUpper;
    if (c >= 'a' && c <= 'z') kind = UnicodeClass::kLower;
    sets[c] = static_cast<uint8_t>(bit_of(kind));
  }
  return sets;
}
inline constexpr std::array<uint8_t, 128> kAsciiSets = make_ascii_sets();

struct Char {
  unsigned set = 0;  // the one bit of its class; 0 at the end of the text
  ptrdiff_t size = 0;
};

// The character at p, which is not ASCII. A cut or wrong sequence counts as one character of class other.
inline Char wide_char(const uint8_t* p, const uint8_t* end) {
  constexpr unsigned kOther = bit_of(UnicodeClass::kOther);
  const ptrdiff_t left = end - p;
  const char32_t lead = p[0];
  const auto tail = [p](int i) { return static_cast<char32_t>(p[i]) & 0x3FU; };
  char32_t c = 0;
  ptrdiff_t size = 0;
  if (lead < 0xE0) {
    if (left < 2) return {kOther, left};
    c = (lead & 0x1FU) << 6 | tail(1);
    size = 2;
  } else if (lead < 0xF0) {
    if (left < 3) return {kOther, left};
    c = (lead & 0xFU) << 12 | tail(1) << 6 | tail(2);
    size = 3;
  } else {
    if (left < 4) return {kOther, left};
    c = (lead & 7U) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3);
    size = 4;
  }
  return {bit_of(unicode_class(c)), size};
}

inline Char char_at(const uint8_t* p, const uint8_t* end) {
  if (p == end) return {};
  if (*p < 0x80) return {kAsciiSets[*p], 1};
  return wide_char(p, end);
}

// The end of the longest run of characters of `set` from p on.
inline const uint8_t* skip(const uint8_t* p, const uint8_t* end, unsigned set) {
  while (p < end) {
    if (*p < 0x80) {
      if ((kAsciiSets[*p] & set) == 0) break;
      ++p;
    } else {
      const Char c = wide_char(p, end);
      if ((c.set & set) == 0) break;
      p += c.size;
    }
  }
  return p;
}

inline bool is_newline(uint8_t c) {
  return c == '\n' || c == '\r';
}

// The bytes of the contraction at p, 0 when there is none: 's 't 'm 'd 're 've 'll. With any case the long s,
// U+017F, is an s too: Oniguruma and Rust fold it alike.
template <bool kAnyCase>
ptrdiff_t contraction_at(const uint8_t* p, const uint8_t* end) {
  if (end - p < 2 || *p != '\'') return 0;
  constexpr uint8_t kFold = kAnyCase ? 0x20 : 0;
  const unsigned a = p[1] | kFold;
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
  if (end - p < 3) return 0;
  const unsigned b = p[2] | kFold;
  if (b == 'e' && (a == 'r' || a == 'v')) return 3;
  if (b == 'l' && a == 'l') return 3;
  if (kAnyCase && p[1] == 0xC5 && p[2] == 0xBF) return 3;
  return 0;
}

// \s+(?!\S)|\s+ at a whitespace character: the run, less its last character where text follows. With newlines,
// \s*[\r\n]+ comes first: the run up to its last newline. With trailing, \s++$ comes before both.
template <bool kNewlines, bool kTrailing>
const uint8_t* space_piece(const uint8_t* p, const uint8_t* end) {
  const uint8_t* last = p;
  const uint8_t* after_newline = nullptr;
  const uint8_t* q = p;
  for (Char c = char_at(q, end); c.set == kSpaces; c = char_at(q, end)) {
    last = q;
    if (kNewlines && is_newline(*q)) after_newline = q + 1;
    q += c.size;
  }
  if (kTrailing && q == end) return end;
  if (after_newline != nullptr) return after_newline;
  return q == end || last == p ? q : last;
}

inline const uint8_t* gpt2_piece(const uint8_t* p, const uint8_t* end) {
  if (const ptrdiff_t size = contraction_at<false>(p, end)) return p + size;
  const uint8_t* q = *p == ' ' ? p + 1 : p;
  const Char c = char_at(q, end);
  for (const unsigned set : {kLetters, kNumbers, kOthers}) {
    if ((c.set & set) != 0) return skip(q + c.size, end, set);
  }
  return space_piece<false, false>(p, end);
}

// Numbers, ` ?[^\s\p{L}\p{N}]+[\r\n]*` and whitespace, which all the later patterns share.
template <SplitPattern kPattern>
const uint8_t* later_piece(const uint8_t* p, const uint8_t* end, const Char& first) {
  if (first.set == kNumbers) {
    const uint8_t* q = p + first.size;
    for (int i = 1; i < (kPattern == SplitPattern::kQwen2 ? 1 : 3); ++i) {
      const Char c = char_at(q, end);
      if (c.set != kNumbers) break;
      q += c.size;
    }
    return q;
  }
  const uint8_t* q = *p == ' ' ? p + 1 : p;
  const Char c = char_at(q, end);
  if ((c.set & kOthers) != 0) {
    q = skip(q + c.size, end, kOthers);
    while (q < end && (is_newline(*q) || (kPattern == SplitPattern::kO200k && *q == '/'))) ++q;
    return q;
  }
  return space_piece<true, kPattern == SplitPattern::kCl100k>(p, end);
}

// [^\r\n\p{L}\p{N}]
inline bool may_lead(const uint8_t* p, const Char& c) {
  return (c.set & (kLetters | kNumbers)) == 0 && !is_newline(*p);
}

template <SplitPattern kPattern>
const uint8_t* cl100k_piece(const uint8_t* p, const uint8_t* end) {
  if (const ptrdiff_t size = contraction_at<true>(p, end)) return p + size;
  const Char first = char_at(p, end);
  const uint8_t* q = p + first.size;
  if ((first.set & kLetters) != 0) return skip(q, end, kLetters);
  if (may_lead(p, first)) {
    const Char c = char_at(q, end);
    if ((c.set & kLetters) != 0) return skip(q + c.size, end, kLetters);
  }
  return later_piece<kPattern>(p, end, first);
}

// [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+ at q, or nullptr. Where nothing follows the first run,
// it gives characters back until one of them also counts as lower: the last caseless one or mark.
inline const uint8_t* upper_then_lower(const uint8_t* q, const uint8_t* end, bool& any_upper,
                                       const uint8_t*& run) {
  const uint8_t* after_both = nullptr;
  run = q;
  for (Char c = char_at(run, end); (c.set & kUppers) != 0; c = char_at(run, end)) {
    run += c.size;
    if ((c.set & kBothCases) != 0) after_both = run;
  }
  any_upper = run != q;
  const uint8_t* lower = skip(run, end, kLowers);
  return lower != run ? lower : after_both;
}

// The two word alternatives of o200k without their contraction, or nullptr.
inline const uint8_t* o200k_word(const uint8_t* p, const uint8_t* end, const Char& first) {
  const uint8_t* run = nullptr;
  bool any_upper = false;
  const bool led = may_lead(p, first);
  if (!led && (first.set & kLetters) == 0) return nullptr;
  // The second alternative is only tried where nothing lower could follow: then it is the run of uppers.
  const uint8_t* word = upper_then_lower(led ? p + first.size : p, end, any_upper, run);
  if (word != nullptr) return word;
  // A mark may lead or be a lower of its own; uppers after it had no lower, so alone it is the first alternative.
  if (first.set == kMarks) return p + first.size;
  return any_upper ? run : nullptr;
}

inline const uint8_t* o200k_piece(const uint8_t* p, const uint8_t* end) {
  const Char first = char_at(p, end);
  if (const uint8_t* word = o200k_word(p, end, first)) return word + contraction_at<true>(word, end);
  return later_piece<SplitPattern::kO200k>(p, end, first);
}

template <SplitPattern kPattern>
const uint8_t* next_piece(const uint8_t* p, const uint8_t* end) {
  if constexpr (kPattern == SplitPattern::kGpt2) {
    return gpt2_piece(p, end);
  } else if constexpr (kPattern == SplitPattern::kO200k) {
    return o200k_piece(p, end);
  } else {
    return cl100k_piece<kPattern>(p, end);
  }
}

}  // namespace phalanx::scan
