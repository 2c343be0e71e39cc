// File: phalanx/tokenizer/byte_tokenizer.h
//
// Purpose: the tokenizer that needs no file: id = byte, and 256 ends a document. For demos, tests and byte models.
// Contract: vocab_size 257; lossless for any bytes.
#pragma once

#include "phalanx/tokenizer/tokenizer.h"

namespace phalanx {

class ByteTokenizer final : public Tokenizer {
 public:
  static constexpr int32_t kEod = 256;

  std::string name() const override { return "ByteTokenizer"; }
  int64_t vocab_size() const override { return 257; }
  std::optional<int32_t> eod() const override { return kEod; }
  std::vector<int32_t> encode(std::string_view text) const override;
  std::string piece(int32_t id, bool first) const override;
};

}  // namespace phalanx
