// File: phalanx/data/merge_corpora.h
//
// Purpose: several .bin/.idx pairs become one, documents and sequences one behind the other.
// Contract: inputs keep their order; a folder stands for the pairs in it, sorted by name. The pairs must have one
//   dtype. The output appears when it is complete. Where all inputs have a sidecar, the output gets one; the tokenizer
//   stands in it when all have the same.
// Errors: another dtype, another tokenizer, a .bin or .idx alone in a folder, an input that is the output, and a single
//   input folder without pairs are Error(kBadInput).
// Source: Megatron-LM, tools/merge_datasets.py: what is written.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "phalanx/data/token_dtype.h"

namespace phalanx {

struct MergedCorpus {
  std::string prefix;
  TokenDtype dtype = TokenDtype::kInt32;
  int64_t inputs = 0;
  int64_t sequences = 0;
  int64_t documents = 0;
  int64_t tokens = 0;
};

// The prefixes that `inputs` (prefixes, .bin or .idx files, folders) stand for.
std::vector<std::string> list_pairs(const std::vector<std::string>& inputs);

MergedCorpus merge_corpora(const std::vector<std::string>& inputs, const std::string& output_prefix);

}  // namespace phalanx
