// File: phalanx/data/tokenizer_identity.h
//
// Purpose: which tokenizer made a corpus: its type, where its files were, and a checksum that changes when they do.
// Contract: a folder counts by the files in it that tokenizers read (tokenizer*, vocab*, merges*, special_tokens*,
//   added_tokens*, *.model, *.tiktoken), in the order of their names. The end-of-document token and the size of the
//   vocabulary count, too.
#pragma once

#include <string>

#include "phalanx/tokenizer/make_tokenizer.h"

namespace phalanx {

struct TokenizerIdentity {
  std::string type;
  std::string model;     // path as given; of vocab.json where there is no model
  std::string checksum;  // 16 hexadecimal digits
};

TokenizerIdentity identify_tokenizer(const TokenizerOptions& options, const Tokenizer& tokenizer);

}  // namespace phalanx
