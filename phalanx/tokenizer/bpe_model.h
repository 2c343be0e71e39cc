// File: phalanx/tokenizer/bpe_model.h
//
// Purpose: what a byte-level BPE knows, as plain data: the trainer writes it, files carry it, the encoder reads it.
// Contract: tokens are raw bytes (files spell them in GPT-2's printable alphabet). All 256 single bytes are tokens. The
//   rank of a merge is its place in `merges`; merging left and right gives `result`, whose bytes are theirs together.
//   check_bpe throws Error(kBadInput) naming `where` and the entry that breaks this, or an id that two tokens or none
//   have; readers call it, so that everything behind them may rely on it.
// Units: ids and ranks count from 0.
// Source: Sennrich et al. 2016; Radford et al. 2019 for bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "phalanx/tokenizer/pretokenizer.h"

namespace phalanx {

struct BpeMerge {
  int32_t left = 0;
  int32_t right = 0;
  int32_t result = 0;
  bool operator==(const BpeMerge&) const = default;
};

struct BpeModel {
  std::vector<std::string> tokens;  // by id; empty where an added token holds the id
  std::vector<BpeMerge> merges;     // by rank
  bool ignore_merges = false;       // a whole piece that is a token needs no merges (Llama 3)
  bool operator==(const BpeModel&) const = default;
};

// A token that text is searched for before it is cut into pieces.
struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;      // never out of user text unless asked; decodes to nothing
  bool single_word = false;  // only between characters that are no word characters
  bool lstrip = false;       // takes the whitespace before it
  bool rstrip = false;       // takes the whitespace after it
  bool normalized = false;   // searched for after normalization
  bool operator==(const AddedToken&) const = default;
};

// A whole tokenizer.
struct BpeSpec {
  BpeModel model;
  std::vector<AddedToken> added;
  std::vector<SplitPattern> splits;    // one after the other, each within the pieces of the one before
  int digits = 0;                      // 0: no Digits step; 1: runs of digits apart; 2: every digit apart
  size_t digits_at = 0;                // how many of the splits come before the Digits step
  bool add_prefix_space = false;       // a space before text that does not begin with one
  bool nfc = false;                    // Unicode normalization form C first (Qwen2)
  std::vector<int32_t> template_head;  // ids that the post-processor puts before and after a text
  std::vector<int32_t> template_tail;
  bool operator==(const BpeSpec&) const = default;
};

// Ids of the model and the added tokens together: the largest and one.
int64_t bpe_vocab_size(const BpeSpec& spec);

void check_bpe(const BpeSpec& spec, const std::string& where);

}  // namespace phalanx
