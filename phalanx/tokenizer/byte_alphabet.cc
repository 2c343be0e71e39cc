#include "phalanx/tokenizer/byte_alphabet.h"

#include <array>
#include <cstdint>

namespace phalanx {
namespace {

struct Alphabet {
  std::array<uint16_t, 256> character{};  // by byte
  std::array<int16_t, 0x144> byte{};      // by code point; -1 where none
};

constexpr bool stands_for_itself(int b) {
  return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
}

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  alphabet.byte.fill(-1);
  uint16_t next = 0x100;
  for (int b = 0; b < 256; ++b) {
    const uint16_t c = stands_for_itself(b) ? static_cast<uint16_t>(b) : next++;
    alphabet.character[static_cast<size_t>(b)] = c;
    alphabet.byte[c] = static_cast<int16_t>(b);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

std::string to_byte_alphabet(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  for (const char byte : bytes) {
    const uint16_t c = kAlphabet.character[static_cast<uint8_t>(byte)];
    if (c < 0x80) {
      text += static_cast<char>(c);
    } else {
      text += static_cast<char>(0xC0 | c >> 6);
      text += static_cast<char>(0x80 | (c & 0x3F));
    }
  }
  return text;
}

std::optional<std::string> from_byte_alphabet(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto lead = static_cast<uint8_t>(text[i]);
    size_t c = lead;
    if (lead >= 0x80) {
      if (lead < 0xC2 || lead > 0xDF || i + 1 == text.size()) return std::nullopt;
      const auto next = static_cast<uint8_t>(text[++i]);
      if ((next & 0xC0) != 0x80) return std::nullopt;
      c = static_cast<size_t>(lead & 0x1F) << 6 | (next & 0x3Fu);
    }
    if (c >= kAlphabet.byte.size() || kAlphabet.byte[c] < 0) return std::nullopt;
    bytes += static_cast<char>(kAlphabet.byte[c]);
  }
  return bytes;
}

}  // namespace phalanx
