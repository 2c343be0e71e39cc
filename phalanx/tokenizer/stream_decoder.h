// File: phalanx/tokenizer/stream_decoder.h
//
// Purpose: text while it is generated. A token may end in the middle of a character; its bytes wait for the rest.
// Contract: everything returned is valid UTF-8 and whole characters; the pieces put together, finish() included, are
//   valid_utf8(tokenizer.decode(all ids)). At most three bytes are held back.
// Example: StreamDecoder d(tokenizer); for (id : ids) out << d.push(id); out << d.finish();
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "phalanx/tokenizer/tokenizer.h"

namespace phalanx {

// `bytes` with every part that is not UTF-8 replaced by U+FFFD, one for each longest start of a valid character
// (the Unicode standard's "maximal subpart" rule, which Python and browsers follow too).
std::string valid_utf8(std::string_view bytes);

class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}  // must outlive the decoder
  std::string push(int32_t id);
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  std::string pending_;  // the start of a character
  bool first_ = true;
};

}  // namespace phalanx
