// File: phalanx/tokenizer/split_steps.h
//
// Purpose: all steps of a tokenizer's pre-tokenizer, one after the other: patterns and digits.
// Contract: each step cuts within the pieces of the one before, as if each were a text of its own. Valid UTF-8 only.
// Source: the Sequence, Split and Digits pre-tokenizers of Hugging Face tokenizers.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "phalanx/tokenizer/bpe_model.h"

namespace phalanx {

// The one pattern that is the whole pre-tokenizer, if there is such; split_pieces then streams over the text.
std::optional<SplitPattern> single_pattern(const BpeSpec& spec);

// Appends the ends of all pieces of `text`.
void split_in_steps(const BpeSpec& spec, std::string_view text, std::vector<uint32_t>& ends);

}  // namespace phalanx
