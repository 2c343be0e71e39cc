// File: phalanx/data/corpus_report.h
//
// Purpose: what a .bin/.idx pair looks like: counts, a histogram of document lengths, the first documents as text.
// Contract: pure functions of the pair (and of the tokenizer). The histogram has one bucket for empty documents and one
//   for each power of two, [1, 1], [2, 3], [4, 7], ..., from the first to the last that is used.
// Errors: a document past the end and a token id outside the tokenizer's vocabulary are Error(kBadInput).
// Units: tokens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "phalanx/data/indexed_dataset.h"
#include "phalanx/tokenizer/tokenizer.h"

namespace phalanx {

struct LengthBucket {
  int64_t low = 0;   // tokens, inclusive
  int64_t high = 0;  // inclusive
  int64_t documents = 0;
  int64_t tokens = 0;
};

struct CorpusLengths {
  int64_t shortest = 0;
  int64_t median = 0;
  int64_t longest = 0;
  double mean = 0;
  int64_t empty_documents = 0;
  std::vector<LengthBucket> histogram;
};

CorpusLengths measure_lengths(const IndexedDataset& data);

// A bucket a line: range, documents, share and a bar.
std::string histogram_text(const CorpusLengths& lengths);

// At most `limit` tokens of a document, over its sequences; all of them for a negative limit.
std::vector<int64_t> document_tokens(const IndexedDataset& data, int64_t document, int64_t limit);

// A document as valid UTF-8; "..." behind it where the limit cut it.
std::string document_text(const IndexedDataset& data, int64_t document, const Tokenizer& tokenizer,
                          int64_t limit);

}  // namespace phalanx
