// File: phalanx/tokenizer/byte_alphabet.h
//
// Purpose: GPT-2's way to spell bytes as printable characters, in which vocab.json, merges.txt and tokenizer.json
//   write their tokens: printable Latin-1 bytes stand for themselves, the other 68 for U+0100 onwards, in order.
// Contract: from_byte_alphabet(to_byte_alphabet(b)) == b for any bytes. Text with another character gives nullopt.
// Source: Radford et al. 2019 (the code of GPT-2).
// Example: to_byte_alphabet(" the\n") == "Ġtheċ".
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace phalanx {

std::string to_byte_alphabet(std::string_view bytes);
std::optional<std::string> from_byte_alphabet(std::string_view text);

}  // namespace phalanx
