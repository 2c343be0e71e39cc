// File: phalanx/tokenizer/tiktoken_file.h
//
// Purpose: tiktoken's rank files, and the JSON lists of ranks that Megatron's TikTokenizer reads.
// Contract: read_tiktoken_ranks gives the tokens by rank. tiktoken_spec encodes as tiktoken does: a whole piece that is a
//   token is that token, and any two neighbors whose bytes together are a token merge, the token's rank being theirs.
//   Only one pair of neighbors can ever make a given token (inside its bytes, merging does not depend on what stands
//   around them), so that pair is its merge. `special` tokens come first, as in Megatron: the rank r has the id
//   special.size() + r.
// Units: ranks count from 0; tokens are raw bytes of at most 1024.
// Errors: Error(kBadInput) with path and line or entry: no base64, a rank twice or missing, a token twice.
// Source: the file formats of tiktoken 0.14 and megatron-core 0.16.
// Example: tiktoken_spec(read_tiktoken_ranks("cl100k_base.tiktoken"), SplitPattern::kCl100k, {}, path);
#pragma once

#include <string>
#include <vector>

#include "phalanx/tokenizer/bpe_model.h"

namespace phalanx {

struct TiktokenRanks {
  std::vector<std::string> tokens;  // by rank
  bool megatron_json = false;       // Megatron's list, whose readers put special tokens before it
};

TiktokenRanks read_tiktoken_ranks(const std::string& path);

BpeSpec tiktoken_spec(const TiktokenRanks& ranks, SplitPattern pattern,
                      const std::vector<std::string>& special, const std::string& where);

// The special tokens that Megatron puts first: <unk> <s> </s> <mask> <pad> <cls> <sep>, then <SPECIAL_7> and so on.
std::vector<std::string> megatron_special_tokens(int64_t count);

}  // namespace phalanx
