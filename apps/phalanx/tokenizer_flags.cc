#include "apps/phalanx/tokenizer_flags.h"

#include "apps/phalanx/data_verbs.h"

namespace phalanx::apps {

void add_tokenizer_flags(std::vector<FlagAlias>& aliases) {
  for (const char* flag :
       {"--tokenizer-type", "--tokenizer-model", "--vocab-file", "--merge-file", "--vocab-size",
        "--eod-token", "--tiktoken-pattern", "--tiktoken-num-special-tokens"}) {
    aliases.push_back({flag, ""});
  }
}

TokenizerOptions tokenizer_options_of(const ParsedFlags& flags) {
  return {.type = flags.option("--tokenizer-type"),
          .model = flags.option("--tokenizer-model"),
          .vocab_file = flags.option("--vocab-file"),
          .merge_file = flags.option("--merge-file"),
          .eod_token = flags.option("--eod-token"),
          .vocab_size = flags.has("--vocab-size") ? whole_number(flags, "--vocab-size", "") : 0,
          .tiktoken_pattern = flags.option("--tiktoken-pattern"),
          .tiktoken_num_special_tokens = flags.has("--tiktoken-num-special-tokens")
                                             ? whole_number(flags, "--tiktoken-num-special-tokens", "")
                                             : -1};
}

}  // namespace phalanx::apps
