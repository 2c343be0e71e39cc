// File: apps/phalanx/tokenizer_flags.h
//
// Purpose: the flags that name a tokenizer, with Megatron's spelling, for every verb that takes one.
#pragma once

#include <vector>

#include "phalanx/config/flags.h"
#include "phalanx/tokenizer/make_tokenizer.h"

namespace phalanx::apps {

// --tokenizer-type --tokenizer-model --vocab-file --merge-file --vocab-size --eod-token --tiktoken-pattern
// --tiktoken-num-special-tokens
void add_tokenizer_flags(std::vector<FlagAlias>& aliases);
TokenizerOptions tokenizer_options_of(const ParsedFlags& flags);

}  // namespace phalanx::apps
