// File: phalanx/tokenizer/null_tokenizer.h
//
// Purpose: text that already is token ids: whole numbers between white space.
// Contract: vocab_size N is given, N - 1 ends a document. Anything but numbers below N - 1 in the text is
//   Error(kBadInput) with the word; decode writes single spaces.
// Source: Megatron's NullTokenizer.
#pragma once

#include "phalanx/tokenizer/tokenizer.h"

namespace phalanx {

class NullTokenizer final : public Tokenizer {
 public:
  explicit NullTokenizer(int64_t vocab_size);  // Error(kBadInput) unless 1 to 2^31

  std::string name() const override { return "NullTokenizer"; }
  int64_t vocab_size() const override { return vocab_size_; }
  std::optional<int32_t> eod() const override { return static_cast<int32_t>(vocab_size_ - 1); }
  std::vector<int32_t> encode(std::string_view text) const override;
  std::string piece(int32_t id, bool first) const override;

 private:
  int64_t vocab_size_;
};

}  // namespace phalanx
