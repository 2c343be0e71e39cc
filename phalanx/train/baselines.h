// File: phalanx/train/baselines.h
//
// Purpose: what counting bytes alone achieves on the same validation text: the bars that a trained model must pass.
// Equations: unigram p(x) = (count(x) + 1) / (n + 256); bigram p(x | y) = (count(y, x) + p(x)) / (count(y) + 1): seen
//   pairs by their share, the rest by the unigram.
// Contract: counts come from the labels of every sample of `train` once, scores from those of `valid`, whatever the
//   tokenizer: tokens stand for their bytes, ends of documents for none.
// Units: bits per byte, as the model's own figure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "phalanx/train/sample_source.h"

namespace phalanx {

struct Baselines {
  double unigram_bpb = 0;
  double bigram_bpb = 0;
  int64_t bytes = 0;  // of the validation labels
  std::string text;   // those labels as bytes, for a compressor
};

// `piece[id]` is the text of a token.
Baselines count_baselines(const SampleSource& train, const SampleSource& valid, int64_t seq_length,
                          const std::vector<std::string>& pieces);

}  // namespace phalanx
