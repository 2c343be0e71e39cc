// File: phalanx/tokenizer/make_tokenizer.h
//
// Purpose: a tokenizer by Megatron's type name.
// Contract:
//   ByteTokenizer                no files; 257 tokens
//   NullTokenizer                vocab_size
//   GPT2BPETokenizer             vocab_file and merge_file
//   HuggingFaceTokenizer         model: a folder with tokenizer.json, or such a file; tokenizer_config.json beside it
//   TikTokenizer                 model: Megatron's JSON list of ranks, or a .tiktoken file; tiktoken_pattern
//   SentencePieceTokenizer, GPTSentencePieceTokenizer, Llama2Tokenizer      model: a SentencePiece model
//   The token that ends a document is eod_token, else eos_token of tokenizer_config.json, else <|endoftext|> (for
//   Megatron's list </s>, for SentencePiece the model's own). A .tiktoken file has none in it: it gets the next id.
// Errors: Error(kBadInput) for an unknown name with the nearest known one, a name that Megatron knows and this version
//   does not build, a missing setting, and a setting that the type would ignore.
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
  std::string eod_token;         // the text of the token that ends a document; empty: the tokenizer's own
  int64_t vocab_size = 0;        // for NullTokenizer; for TikTokenizer at most so many tokens, 0: all
  std::string tiktoken_pattern;  // v1, v2 (Megatron's), gpt2, cl100k, o200k, llama3 or qwen2
  int64_t tiktoken_num_special_tokens = -1;  // put before the ranks; -1: 1000 for Megatron's list, else 0
};

std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerOptions& options);

}  // namespace phalanx
