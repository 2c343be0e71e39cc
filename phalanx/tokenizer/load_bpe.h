// File: phalanx/tokenizer/load_bpe.h
//
// Purpose: the BPE types of make_tokenizer: which files, which patterns, which token ends a document.
// Contract: as make_tokenizer, which has checked that the settings fit the type.
// See: make_tokenizer.h
#pragma once

#include <memory>

#include "phalanx/tokenizer/make_tokenizer.h"

namespace phalanx {

std::unique_ptr<Tokenizer> load_gpt2(const TokenizerOptions& options);
std::unique_ptr<Tokenizer> load_hugging_face(const TokenizerOptions& options);
std::unique_ptr<Tokenizer> load_tiktoken(const TokenizerOptions& options);

}  // namespace phalanx
