// File: phalanx/tokenizer/bpe_tokenizer.h
//
// Purpose: the byte-level BPE tokenizer, whatever file it came from.
// Contract: encode is valid UTF-8 (bytes that are none become U+FFFD), added tokens, normalization, prefix space, splits,
//   merging, in this order. The text of a special token is ordinary text to encode and encoders; encode_with finds it
//   where asked. decode is exact bytes; special tokens give none. A text of 4 GiB or more is Error(kBadInput).
// Example: BpeTokenizer t(read_tokenizer_json(path), "HuggingFaceTokenizer", t.find("<|endoftext|>"));
#pragma once

#include <memory>

#include "phalanx/tokenizer/added_tokens.h"
#include "phalanx/tokenizer/bpe_encoder.h"
#include "phalanx/tokenizer/bpe_model.h"
#include "phalanx/tokenizer/tokenizer.h"

namespace phalanx {

// The id of the token with this text, added tokens first; nullopt where there is none.
std::optional<int32_t> find_token(const BpeSpec& spec, std::string_view content);

class BpeTokenizer final : public Tokenizer {
 public:
  // Calls check_bpe. `eod` is a token of the spec, made special here if it is not.
  BpeTokenizer(BpeSpec spec, std::string name, std::optional<int32_t> eod);

  std::string name() const override { return name_; }
  int64_t vocab_size() const override { return static_cast<int64_t>(bytes_.size()); }
  std::optional<int32_t> eod() const override { return eod_; }
  std::vector<int32_t> encode(std::string_view text) const override { return encode_with(text, {}); }
  std::vector<int32_t> encode_with(std::string_view text, const EncodeOptions& options) const override;
  std::unique_ptr<TextEncoder> make_encoder() const override;
  std::string piece(int32_t id, bool first) const override;

  const BpeSpec& spec() const { return spec_; }

 private:
  class Encoder;

  BpeSpec spec_;
  std::string name_;
  std::optional<int32_t> eod_;
  std::vector<std::string> bytes_;  // by id, what it decodes to
  BpeMerger merger_;
  AddedTokenFinder before_;  // searched for in the text as it is
  AddedTokenFinder after_;   // in normalized text
};

}  // namespace phalanx
