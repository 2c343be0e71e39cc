// File: phalanx/train/baselines.h
//
// Purpose: what counting alone achieves on the same validation labels: the bars that a trained model must pass.
// Equations: unigram p(x) = (count(x) + 1) / (n + V); bigram p(x | y) = (count(y, x) + a p(x)) / (count(y) + a) with
//   a = 1: seen pairs by their share, the rest by the unigram.
// Contract: counts come from every sample of `train` once, scores from every label of `valid`. Bits per byte divides by
//   the bytes of the labels' text, as the model's own figure does.
// Units: bits per byte.
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
  int64_t labels = 0;
  std::string text;  // those labels as bytes, for a compressor
};

// `piece[id]` is the text of a token.
Baselines count_baselines(const SampleSource& train, const SampleSource& valid, int64_t seq_length,
                          const std::vector<std::string>& pieces);

}  // namespace phalanx
