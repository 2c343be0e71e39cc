#include "phalanx/tokenizer/utf8.h"

#include <utf8proc.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

constexpr uint64_t kHighBits = 0x8080808080808080u;

size_t skip_ascii(std::string_view text, size_t at) {
  std::array<uint64_t, 4> words{};
  while (at + sizeof words <= text.size()) {
    std::memcpy(words.data(), text.data() + at, sizeof words);
    if (((words[0] | words[1] | words[2] | words[3]) & kHighBits) != 0) break;
    at += sizeof words;
  }
  while (at < text.size() && static_cast<uint8_t>(text[at]) < 0x80) ++at;
  return at;
}

// The size of the valid character at `at`, which is not ASCII; 0 where there is none.
size_t valid_size(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[at + i]); };
  const auto follows = [&](size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const size_t left = text.size() - at;
  const uint8_t lead = byte(0);
  if (lead < 0xC2 || lead > 0xF4) return 0;
  if (lead < 0xE0) return left >= 2 && follows(1) ? 2 : 0;
  if (lead < 0xF0) {
    if (left < 3 || !follows(1) || !follows(2)) return 0;
    return (lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xED && byte(1) > 0x9F) ? 0 : 3;
  }
  if (left < 4 || !follows(1) || !follows(2) || !follows(3)) return 0;
  return (lead == 0xF0 && byte(1) < 0x90) || (lead == 0xF4 && byte(1) > 0x8F) ? 0 : 4;
}

struct Range {
  char32_t first, last;
};
// Blocks without combining marks, without characters that form C replaces, and without Hangul jamo, which it joins.
constexpr std::array<Range, 20> kLeftAlone{{
    {0x0000, 0x02FF},    // Latin
    {0x0388, 0x0482},    // Greek, Cyrillic
    {0x048A, 0x0556},    // Cyrillic, Armenian
    {0x05D0, 0x05EA},    // Hebrew letters
    {0x0620, 0x064A},    // Arabic letters
    {0x0904, 0x0939},    // Devanagari letters
    {0x0E01, 0x0E30},    // Thai letters
    {0x1E00, 0x1EFF},    // Latin, extended
    {0x2002, 0x2027},    // general punctuation
    {0x2030, 0x205E},    // general punctuation
    {0x20A0, 0x20BF},    // currency
    {0x2190, 0x2328},    // arrows, mathematics
    {0x2400, 0x27FF},    // boxes, dingbats
    {0x3000, 0x3029},    // CJK punctuation
    {0x3041, 0x3096},    // hiragana
    {0x30A1, 0x30FF},    // katakana
    {0x3400, 0x9FFF},    // CJK
    {0xAC00, 0xD7A3},    // Hangul syllables
    {0xFF00, 0xFFEF},    // full width
    {0x1F300, 0x1FAFF},  // emoji
}};

// Marks that Unicode 9.0 did not have, and three letters that compose: Hugging Face normalizes by its tables, in which
// these are unassigned and so stay where they are. utf8proc knows them. (Every code point was asked of tokenizers
// 0.23.3, alone and beside marks.)
constexpr std::array<Range, 39> kUnknown{{
    {0x007FD, 0x007FD}, {0x00898, 0x0089F}, {0x008CA, 0x008D3}, {0x009FE, 0x009FE}, {0x00C3C, 0x00C3C},
    {0x00D3B, 0x00D3C}, {0x00EBA, 0x00EBA}, {0x01715, 0x01715}, {0x01ABF, 0x01ACE}, {0x01DF6, 0x01DFA},
    {0x0A82C, 0x0A82C}, {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50},
    {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x11839, 0x1183A},
    {0x11930, 0x11930}, {0x11935, 0x11935}, {0x11938, 0x11938}, {0x1193D, 0x1193E}, {0x11943, 0x11943},
    {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42},
    {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x11F41, 0x11F42}, {0x16FF0, 0x16FF1}, {0x1E08F, 0x1E08F},
    {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF},
}};

bool contains(std::span<const Range> ranges, char32_t c) {
  for (const Range& range : ranges) {
    if (c <= range.last) return c >= range.first;
  }
  return false;
}

void append_nfc(std::string_view text, std::string& out) {
  if (text.empty()) return;
  utf8proc_uint8_t* bytes = nullptr;
  const utf8proc_ssize_t size = utf8proc_map(
      reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
      &bytes, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  if (size < 0) {
    throw Error(ErrorKind::kBadInput, {.where = "Unicode normalization",
                                       .got = utf8proc_errmsg(size),
                                       .needed = "text that fits in memory four times",
                                       .fix = "cut the text into documents"});
  }
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(bytes, &std::free);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
}

}  // namespace

bool is_utf8(std::string_view bytes) {
  size_t at = skip_ascii(bytes, 0);
  while (at < bytes.size()) {
    const size_t size = valid_size(bytes, at);
    if (size == 0) return false;
    at += size;
    if (at < bytes.size() && static_cast<uint8_t>(bytes[at]) < 0x80) at = skip_ascii(bytes, at);
  }
  return true;
}

Utf8Char utf8_char_at(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<uint8_t>(text[at + i])); };
  const char32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F), 4};
}

Utf8Char utf8_char_before(std::string_view text, size_t at) {
  do --at;
  while ((static_cast<uint8_t>(text[at]) & 0xC0) == 0x80);
  return utf8_char_at(text, at);
}

bool nfc_leaves_alone(char32_t c) {
  return contains(kLeftAlone, c);
}

std::optional<std::string> to_nfc(std::string_view text) {
  bool plain = true;
  for (size_t at = skip_ascii(text, 0); at < text.size() && plain;) {
    const Utf8Char next = utf8_char_at(text, at);
    plain = nfc_leaves_alone(next.c);
    at += next.size;
    if (at < text.size() && static_cast<uint8_t>(text[at]) < 0x80) at = skip_ascii(text, at);
  }
  if (plain) return std::nullopt;
  std::string normal;
  normal.reserve(text.size());
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char next = utf8_char_at(text, at);
    if (contains(kUnknown, next.c)) {
      append_nfc(text.substr(begin, at - begin), normal);
      normal += text.substr(at, next.size);
      begin = at + next.size;
    }
    at += next.size;
  }
  append_nfc(text.substr(begin), normal);
  if (normal == text) return std::nullopt;
  return normal;
}

}  // namespace phalanx
