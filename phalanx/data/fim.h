// File: phalanx/data/fim.h
//
// Purpose: fill-in-the-middle: documents of a sample become prefix, suffix and middle, so that a model learns to write
//   between two given texts.
// Rules, as Megatron's GPTFIMDataset: a sample is cut at end-of-document tokens; each piece is turned with probability
//   `rate`; with a split token that stands in it, the piece is first drawn as a whole with `rate`, then its fragments
//   with `fragment_rate`. Turning: decode, cut at two uniform characters a <= b, encode the three texts apart, and write
//     PSM  <prefix> text[0,a) <suffix> text[b,) <middle> text[a,b)      or, with probability `spm_rate`,
//     SPM  <prefix> <suffix> text[b,) <middle> text[0,a) text[a,b)
//   A piece whose text starts with `no_prefix` stays. The sample keeps its length: cut off, or filled with `pad`.
// Where it differs, on purpose: draws are Philox words of (seed, part, sample, number of the draw), so that any sample
//   can be made at any time and a resume gives the same ones (Megatron draws from one running generator per process);
//   empty pieces stay as they are, with their end-of-document token; labels that are fill do not count.
// Contract: apply is pure and thread-safe. Rates outside [0, 1], a split token without its fragment rate and a token
//   that the tokenizer does not know are Error(kBadInput) naming the setting. Bytes that are no UTF-8, as where a
//   sample begins within a character, come back as the tokenizer reads them.
// Units: tokens; characters are UTF-8 sequences.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "phalanx/data/data_config.h"
#include "phalanx/tokenizer/tokenizer.h"

namespace phalanx {

struct FimOptions {
  double rate = 0.5;
  double spm_rate = 0.5;
  double fragment_rate = 0.0;
  std::optional<int64_t> split_token;
  std::string no_prefix;  // empty: none
  int64_t prefix = 0, middle = 0, suffix = 0, pad = 0, eod = 0;
  uint64_t seed = 0;
  int32_t part = 0;  // train, valid and test draw apart
};

// A token by its id in digits, or by its text when that is one token.
int64_t find_token(const Tokenizer& tokenizer, const std::string& text, const std::string& setting);

FimOptions fim_options(const DataConfig& config, const Tokenizer& tokenizer, uint64_t seed, int32_t part);

class FillInTheMiddle {
 public:
  // The tokenizer must outlive it.
  FillInTheMiddle(const Tokenizer& tokenizer, const FimOptions& options)
      : tokenizer_(tokenizer), options_(options) {}

  // S + 1 tokens and S label masks of one sample.
  void apply(int64_t sample, std::span<int64_t> tokens, std::span<uint8_t> label_mask) const;

 private:
  class Draws;
  using Tokens = std::vector<int64_t>;

  void turn_document(std::span<const int64_t> piece, Draws& draws, Tokens& out) const;
  void turn(std::span<const int64_t> piece, double rate, Draws& draws, Tokens& out) const;
  void append_text(std::string_view text, Tokens& out) const;

  const Tokenizer& tokenizer_;
  FimOptions options_;
};

}  // namespace phalanx
