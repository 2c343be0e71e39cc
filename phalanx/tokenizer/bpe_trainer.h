// File: phalanx/tokenizer/bpe_trainer.h
//
// Purpose: trains a byte-level BPE: from counted pieces of text to tokens and merges.
// Contract: the ids and merges that Hugging Face's BpeTrainer finds with ByteLevel's alphabet: special tokens first, then
//   the 256 bytes in the order of their printable characters, then the most frequent pair again and again, of equal ones
//   the one with the smallest (left id, right id), until vocab_size is reached or no pair occurs min_frequency times.
//   Two rules differ: counts have 64 bits where Hugging Face's wrap at 2^31, and a merge that would spell a special
//   token is left out, because special tokens must not come out of text. The result depends neither on the order of the
//   words nor on threads. An empty corpus gives the alphabet alone, a small one fewer tokens than asked for.
// Errors: Error(kBadInput) for a vocabulary that cannot hold bytes and special tokens, a special token that is empty, no
//   UTF-8, doubled or a single byte, negative settings, words that have 4 GiB together.
// Source: Sennrich et al. 2016; Hugging Face tokenizers 0.23 for the order of equals.
// Example: train_bpe(count_words(documents, pattern, false, 2).words(), {.vocab_size = 32000, .pattern = pattern});
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "phalanx/tokenizer/bpe_model.h"
#include "phalanx/tokenizer/word_counter.h"

namespace phalanx {

struct BpeTrainerOptions {
  int64_t vocab_size = 30000;  // special tokens and bytes included
  int64_t min_frequency = 0;
  int64_t max_token_length =
      0;  // bytes; 0: any. Hugging Face's rule: longer ones than max - 1 only as pairs of bytes
  std::vector<std::string> special_tokens = {};
  SplitPattern pattern = SplitPattern::kGpt2;  // for the result; the words were cut with it
  bool add_prefix_space = false;               // for the result as well
};

// progress(tokens so far, vocab_size) is called now and then, and at the end.
using BpeProgress = std::function<void(int64_t, int64_t)>;

BpeSpec train_bpe(std::span<const WordCount> words, const BpeTrainerOptions& options,
                  const BpeProgress& progress = nullptr);

}  // namespace phalanx
