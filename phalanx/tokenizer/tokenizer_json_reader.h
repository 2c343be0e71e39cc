// File: phalanx/tokenizer/tokenizer_json_reader.h
//
// Purpose: a byte-level BPE out of Hugging Face's tokenizer.json.
// Contract: every component is either obeyed or refused by its name; none is ignored. Known: model BPE; normalizer NFC
//   and Sequence; pre_tokenizer ByteLevel, Split by a regex of find_pattern, Digits and Sequence; post_processor
//   ByteLevel, TemplateProcessing (of one text) and Sequence; decoder ByteLevel and Sequence. The result has passed
//   check_bpe; its added tokens are in the order of their ids. unk_token is without effect, since every byte is a token.
// Errors: Error(kBadInput) with path and field; Error(kIo) where the file cannot be read.
// Example: BpeSpec spec = read_tokenizer_json("model/tokenizer.json");
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "phalanx/tokenizer/bpe_model.h"

namespace phalanx {

BpeSpec read_tokenizer_json(const std::string& path);
BpeSpec parse_tokenizer_json(std::string_view text, const std::string& where);  // `where` stands for the path

// Tokens and merges as files spell them, as a model. Added tokens that the vocab holds, too, stay empty in
// model.tokens unless merges need them.
BpeModel build_model(std::vector<std::pair<std::string, int32_t>> vocab,
                     const std::vector<std::pair<std::string, std::string>>& merges,
                     const std::vector<AddedToken>& added, const std::string& where);

}  // namespace phalanx
