// File: phalanx/tokenizer/make_tokenizer.h
//
// Purpose: a tokenizer by Megatron's type name.
// Contract: an unknown name is Error(kBadInput) with the nearest known one; a name that Megatron knows and this version
//   does not build yet is Error(kBadInput) that says so. A setting that the type would ignore is an error, too.
// Example: make_tokenizer({.type = "NullTokenizer", .vocab_size = 1000});
#pragma once

#include <memory>

#include "phalanx/tokenizer/tokenizer.h"

namespace phalanx {

struct TokenizerOptions {
  std::string type;
  std::string model;       // file or folder
  std::string vocab_file;  // for GPT2BPETokenizer
  std::string merge_file;
  std::string eod_token;   // the text of the token that ends a document; empty: the tokenizer's own
  int64_t vocab_size = 0;  // for NullTokenizer
};

std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerOptions& options);

}  // namespace phalanx
