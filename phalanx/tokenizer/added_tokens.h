// File: phalanx/tokenizer/added_tokens.h
//
// Purpose: finds added tokens in a text, before it is normalized and cut into pieces.
// Contract: matches are leftmost, then longest, and do not overlap; a match that is refused (a special token that was
//   not asked for, a single_word token inside a word) is passed over as a whole. Takes valid UTF-8. Immutable.
// Source: the rules of Hugging Face tokenizers.
// Example: AddedTokenFinder f(tokens, contents); f.split("a<x>b", true, parts);  // "a", <x>, "b"
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "phalanx/tokenizer/bpe_model.h"

namespace phalanx {

class AddedTokenFinder {
 public:
  struct Part {
    int32_t id = kText;
    std::string_view text;
  };
  static constexpr int32_t kText = -1;

  AddedTokenFinder() = default;
  // contents[i] is the text to search for tokens[i].
  AddedTokenFinder(std::vector<AddedToken> tokens, std::vector<std::string> contents);

  // Appends the parts of `text` in order. `special`: special tokens are produced, too.
  void split(std::string_view text, bool special, std::vector<Part>& parts) const;

 private:
  struct Match {
    size_t begin, end;
    const AddedToken* token;
  };
  size_t next_candidate(std::string_view text, size_t at) const;
  const AddedToken* longest_at(std::string_view text, size_t at, size_t* end) const;
  bool accepts(std::string_view text, const Match& match, bool special) const;

  std::vector<AddedToken> tokens_;     // sorted by contents
  std::vector<std::string> contents_;  // sorted
  std::array<bool, 256> starts_{};     // by first byte
  int num_starts_ = 0;
  char only_start_ = 0;
  bool all_special_ = true;
};

}  // namespace phalanx
