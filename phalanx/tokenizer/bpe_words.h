// File: phalanx/tokenizer/bpe_words.h
//
// Purpose: the distinct words of a corpus as rows of tokens that a BPE trainer merges in place.
// Contract: every byte of text has a slot, and words have a slot of border around them. A token stands in the first and,
//   inverted, in the last of its slots, so that both neighbors of any token are found without a list. Nothing moves: a
//   place once noted stays good, and shows by its slot whether the token is still there.
// Units: slots.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "phalanx/tokenizer/word_counter.h"

namespace phalanx {

// Where a pair of tokens begins.
struct BpeSpot {
  uint32_t slot = 0;
  uint32_t word = 0;
};

class BpeWords {
 public:
  static constexpr int32_t kNone = -1;  // beside the first and the last token of a word

  // What stood around a pair that was just merged. The left neighbor may be the token of the merge before.
  struct Merged {
    int32_t left = 0, right = 0;
    uint32_t left_slot = 0;
    BpeSpot spot;
    int64_t count = 0;  // of the word
  };

  // ids: by byte. The words must have fewer than 2^32 - 2^16 bytes and borders together.
  BpeWords(std::span<const WordCount> words, const std::array<int32_t, 256>& ids);
  static uint64_t slots_needed(std::span<const WordCount> words);

  // Tokens are named in the order of their ids; the bytes' come first.
  void set_length(int32_t id, uint32_t length);
  uint32_t length(int32_t id) const { return lengths_[static_cast<size_t>(id)]; }

  // visit(left, right, spot, count of the word) for each pair of neighbors in all words.
  template <typename Visit>
  void each_pair(Visit&& visit) const;

  // Merges (a, b) where it still stands in `spots` (ascending within a word) and calls visit(Merged) for each.
  template <typename Visit>
  void merge(int32_t a, int32_t b, int32_t result, std::span<const BpeSpot> spots, Visit&& visit);

 private:
  static constexpr int32_t kBorder =
      std::numeric_limits<int32_t>::min();  // no id, and no inverted one that is used

  std::vector<int32_t> slots_;
  std::vector<uint32_t> begins_;  // by word
  std::vector<int64_t> counts_;   // by word
  std::vector<uint32_t> lengths_;
};

template <typename Visit>
void BpeWords::each_pair(Visit&& visit) const {
  for (uint32_t word = 0; word < begins_.size(); ++word) {
    uint32_t slot = begins_[word];
    for (int32_t left = slots_[slot]; left != kBorder;) {
      const uint32_t next = slot + length(left);
      const int32_t right = slots_[next];
      if (right != kBorder) visit(left, right, BpeSpot{slot, word}, counts_[word]);
      slot = next;
      left = right;
    }
  }
}

template <typename Visit>
void BpeWords::merge(int32_t a, int32_t b, int32_t result, std::span<const BpeSpot> spots, Visit&& visit) {
  constexpr size_t kAhead = 12;  // places are all over the memory
  const uint32_t a_length = length(a);
  const uint32_t b_length = length(b);
  for (size_t i = 0; i < spots.size(); ++i) {
    if (i + kAhead < spots.size()) {
      __builtin_prefetch(&slots_[spots[i + kAhead].slot], 1);
      __builtin_prefetch(&counts_[spots[i + kAhead].word]);
    }
    const uint32_t slot = spots[i].slot;
    const uint32_t middle = slot + a_length;
    if (slots_[slot] != a || slots_[middle] != b) continue;
    const int32_t before = slots_[slot - 1];
    const int32_t after = slots_[middle + b_length];
    slots_[middle] = kBorder;  // no token begins here any more
    slots_[middle + b_length - 1] = ~result;
    slots_[slot] = result;
    const int32_t left = before == kBorder ? kNone : before < 0 ? ~before : before;
    visit(Merged{left, after == kBorder ? kNone : after, left == kNone ? 0 : slot - length(left), spots[i],
                 counts_[spots[i].word]});
  }
}

}  // namespace phalanx
