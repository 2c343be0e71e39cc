// File: phalanx/tokenizer/gpt2_files.h
//
// Purpose: GPT-2's pair of files, vocab.json and merges.txt.
// Contract: splits by GPT-2's pattern; a token <|endoftext|> of the vocab is special. merges.txt: an optional first line
//   "#version...", then "A B" a line, in the order of ranks. The result has passed check_bpe.
// Errors: Error(kBadInput) with path and line; Error(kIo) where a file cannot be read.
// Example: BpeSpec spec = read_gpt2_files("gpt2-vocab.json", "gpt2-merges.txt");
#pragma once

#include <string>
#include <string_view>

#include "phalanx/tokenizer/bpe_model.h"

namespace phalanx {

inline constexpr std::string_view kEndOfText = "<|endoftext|>";

BpeSpec read_gpt2_files(const std::string& vocab_path, const std::string& merges_path);

}  // namespace phalanx
