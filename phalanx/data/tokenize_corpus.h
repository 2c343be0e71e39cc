// File: phalanx/data/tokenize_corpus.h
//
// Purpose: the job behind `phalanx data tokenize`: text files to OUTPUT_KEY_document.bin and .idx, one pair a key.
// Contract: the bytes are those of Megatron's preprocess_data.py for the same ids, and depend on the input and the
//   settings only: not on threads, on how often the job was stopped, or on what was there before. Memory is bounded by
//   threads and by the longest line, not by the input. Output appears by rename when all of it is complete: an .idx
//   always has its .bin. What a stopped job has finished lies in OUTPUT_parts/ and is not done again.
// Errors: Error(kBadInput) for too many rejected lines, for input that gives no token, that changes while it is read or
//   that is the output, and for --append-eod without a token for it; Error(kIo) for files.
// Units: bytes, tokens, seconds; lines count from 1.
// Source: Megatron-LM, tools/preprocess_data.py: what is written, not how.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "phalanx/data/tokenize_parts.h"
#include "phalanx/tokenizer/make_tokenizer.h"

namespace phalanx {

struct TokenizeProgress {
  int64_t input_bytes = 0;  // done, of `input_bytes_total`; what an earlier run did counts
  int64_t input_bytes_total = 0;
  int64_t lines = 0;
};

struct TokenizeOptions {
  std::vector<std::string> inputs;
  TextFormat format = TextFormat::kAuto;
  std::string output_prefix;
  std::vector<std::string> keys = {"text"};
  TokenizerOptions tokenizer;
  bool append_eod = false;
  int threads = 1;
  RejectLimit max_rejected;
  int64_t max_document_bytes = int64_t{1} << 30;
  std::function<void(const TokenizeProgress&)> on_progress;  // in the caller's thread, after each block
};

struct TokenizedColumn {
  std::string key;
  std::string prefix;  // of the pair
  ColumnCounts counts;
};

struct TokenizeReport {
  CorpusCounts counts;
  std::vector<TokenizedColumn> columns;
  TokenDtype dtype = TokenDtype::kInt32;
  size_t files = 0;
  size_t parts = 0;
  size_t parts_reused = 0;
  int64_t bytes_reused = 0;  // unpacked
  double seconds = 0;
};

TokenizeReport tokenize_corpus(const TokenizeOptions& options);

}  // namespace phalanx
