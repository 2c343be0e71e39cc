// File: phalanx/tokenizer/tokenizer_json_writer.h
//
// Purpose: a byte-level BPE as Hugging Face's tokenizer.json.
// Contract: Hugging Face tokenizers loads the text and encodes equally; parse_tokenizer_json gives the same spec back.
//   Merges are spelled "A B", which old and new versions read. An added token whose id the model's range holds is
//   written into the vocab, too, where Hugging Face looks its id up.
// Errors: Error(kBadInput) for what the format cannot say: add_prefix_space with another pattern than GPT-2's.
// Example: write_file_atomic(path, tokenizer_json(spec));
#pragma once

#include <string>

#include "phalanx/tokenizer/bpe_model.h"

namespace phalanx {

std::string tokenizer_json(const BpeSpec& spec);

}  // namespace phalanx
