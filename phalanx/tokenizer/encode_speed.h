// File: phalanx/tokenizer/encode_speed.h
//
// Purpose: how fast one thread encodes texts that its cache has never seen, setting up included.
// Contract: timed are loading the tokenizer's files, making an encoder, and encoding every text once, in order.
// Units: seconds; bytes of text. checksum: the sum over all ids, counted from 1, of place x id, modulo 2^64.
// Example: bench_encode({.type = "HuggingFaceTokenizer", .model = "tokenizer.json"}, texts).bytes_per_second()
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "phalanx/tokenizer/make_tokenizer.h"

namespace phalanx {

struct TokenizerBenchResult {
  double load_seconds = 0;
  double encode_seconds = 0;
  int64_t texts = 0;
  int64_t bytes = 0;
  int64_t tokens = 0;
  uint64_t checksum = 0;
  double bytes_per_second() const { return static_cast<double>(bytes) / (load_seconds + encode_seconds); }
};

TokenizerBenchResult bench_encode(const TokenizerOptions& options, std::span<const std::string> texts);

}  // namespace phalanx
