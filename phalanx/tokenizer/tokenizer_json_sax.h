// File: phalanx/tokenizer/tokenizer_json_sax.h
//
// Purpose: tokenizer.json in one pass: vocab and merges, which are large, into plain lists, everything else into Json.
// Contract: Error(kBadInput) naming `where` and the field for text that is no JSON, a field given twice, nesting deeper
//   than 64, and a vocab or merges of another form. Linear in the text.
// See: tokenizer_json_reader.h
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "phalanx/base/json.h"

namespace phalanx {

struct RawTokenizerJson {
  Json rest;  // model.vocab and model.merges are absent here
  bool has_vocab = false;
  bool has_merges = false;
  std::vector<std::pair<std::string, int32_t>> vocab;  // as spelled in the file
  std::vector<std::pair<std::string, std::string>> merges;
};

// Ids in a file lie below this: a hostile one must not ask for memory. The largest vocabularies have 300 thousand.
constexpr int64_t kLargestVocab = int64_t{1} << 24;

RawTokenizerJson parse_raw_tokenizer_json(std::string_view text, const std::string& where);

// A file that is one object of tokens and ids (vocab.json).
std::vector<std::pair<std::string, int32_t>> parse_vocab_json(std::string_view text,
                                                              const std::string& where);

}  // namespace phalanx
