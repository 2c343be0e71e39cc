#include "phalanx/tokenizer/stream_decoder.h"

namespace phalanx {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

struct Character {
  size_t size = 1;  // bytes to consume
  bool valid = false;
  bool unfinished = false;  // a valid start that the text ends in
};

// The second byte's range depends on the first: no overlong forms, no surrogates, nothing above U+10FFFF.
Character read_character(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {.size = 1, .valid = true};
  if (lead < 0xC2 || lead > 0xF4) return {};
  const size_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  const uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (size_t i = 1; i < size; ++i) {
    if (i == text.size()) return {.size = i, .unfinished = true};
    if (byte(i) < (i == 1 ? low : 0x80) || byte(i) > (i == 1 ? high : 0xBF)) return {.size = i};
  }
  return {.size = size, .valid = true};
}

// Appends what is decided to `out` and returns the unfinished character at the end.
std::string_view take_characters(std::string_view bytes, std::string& out) {
  while (!bytes.empty()) {
    const Character character = read_character(bytes);
    if (character.unfinished) break;
    out += character.valid ? bytes.substr(0, character.size) : kReplacement;
    bytes.remove_prefix(character.size);
  }
  return bytes;
}

}  // namespace

std::string valid_utf8(std::string_view bytes) {
  std::string out;
  if (!take_characters(bytes, out).empty()) out += kReplacement;
  return out;
}

std::string StreamDecoder::push(int32_t id) {
  const std::string piece = tokenizer_->piece(id, first_);
  first_ = first_ && !tokenizer_->begins_text(id);
  pending_ += piece;
  std::string out;
  pending_ = std::string(take_characters(pending_, out));
  return out;
}

std::string StreamDecoder::finish() {
  const std::string out = pending_.empty() ? std::string() : std::string(kReplacement);
  pending_.clear();
  first_ = true;
  return out;
}

}  // namespace phalanx
