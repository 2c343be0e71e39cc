// File: phalanx/data/count_corpus.h
//
// Purpose: how often each piece occurs in a corpus of files, which is what training a tokenizer needs.
// Contract: reads what `data tokenize` reads (text files, jsonl, gzip, zstd, folders) and streams it: memory grows with
//   the distinct pieces and the longest line. What cannot be used is counted as rejected and left out. The counts do
//   not depend on the number of threads.
// Errors: Error(kIo) for files; Error(kBadInput) when no document is left.
// Units: bytes of text.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "phalanx/data/text_source.h"
#include "phalanx/tokenizer/word_counter.h"

namespace phalanx {

struct CountOptions {
  std::vector<TextFile> files;
  std::vector<std::string> keys = {"text"};
  SplitPattern pattern = SplitPattern::kGpt2;
  bool add_prefix_space = false;
  int threads = 1;
};

struct CountedCorpus {
  WordCounter words;
  int64_t documents = 0;
  int64_t bytes = 0;
  int64_t rejected = 0;
};

CountedCorpus count_corpus(const CountOptions& options);

}  // namespace phalanx
