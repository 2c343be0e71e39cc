// File: phalanx/tokenizer/tokenizer.h
//
// Purpose: the one interface between text and token ids.
// Contract: immutable and usable from many threads. Ids lie in [0, vocab_size()). decode(encode(text)) == text for
//   tokenizers that lose nothing (the byte tokenizer); decode gives exact bytes, which need not be valid UTF-8.
//   Special tokens (end of document) decode to nothing and are never produced by encode. An id outside the vocabulary
//   and text that cannot be encoded are Error(kBadInput).
//   A TextEncoder gives the same ids as encode, faster: it remembers what it has seen, so it serves one thread.
// Units: vocab_size in tokens, token_byte_counts in bytes.
// Example: auto t = make_tokenizer({.type = "ByteTokenizer"}); t->decode(t->encode("hi"));
//   auto e = t->make_encoder(); for (text : texts) e->encode(text, ids);
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace phalanx {

class TextEncoder {
 public:
  virtual ~TextEncoder() = default;
  virtual void encode(std::string_view text, std::vector<int32_t>& ids) = 0;  // appends to `ids`
};

struct EncodeOptions {
  bool special = false;       // where the text spells a special token, that token
  bool add_template = false;  // the tokens that the tokenizer's file puts around a text (begin of sequence)
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual std::string name() const = 0;  // Megatron's type name
  virtual int64_t vocab_size() const = 0;
  virtual std::optional<int32_t> eod() const = 0;  // the token that ends a document
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;

  // For prompts, which are not user text alone. Tokenizers without special tokens in text just encode.
  virtual std::vector<int32_t> encode_with(std::string_view text, const EncodeOptions& options) const;

  // One for each thread; the tokenizer must outlive it.
  virtual std::unique_ptr<TextEncoder> make_encoder() const;

  // The bytes that token `id` adds to the text. `first`: nothing stands before it (some tokenizers write a separator
  // or a leading space otherwise).
  virtual std::string piece(int32_t id, bool first) const = 0;

  // Whether nothing after token `id` is `first` any more. As a rule that is so where the token has bytes; some also begin
  // a text by taking the place of its separator.
  virtual bool begins_text(int32_t id) const { return !piece(id, true).empty(); }

  std::string decode(std::span<const int32_t> ids) const;

 protected:
  // For piece(): Error(kBadInput) unless `id` lies in the vocabulary.
  void check_id(int32_t id) const;
};

// Bytes of text that each token stands for, for bits per byte: 0 for special tokens.
std::vector<int64_t> token_byte_counts(const Tokenizer& tokenizer);

}  // namespace phalanx
