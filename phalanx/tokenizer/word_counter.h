// File: phalanx/tokenizer/word_counter.h
//
// Purpose: how often each piece of text occurs, which is all that a BPE trainer needs to know of a corpus.
// Contract: texts stream through; memory grows with the distinct pieces only. A counter belongs to one thread; counters
//   of several threads are merged afterwards. Bytes that are not UTF-8 count as U+FFFD, as when text is encoded. The
//   order of the words depends on the order of the texts, what a trainer makes of them does not.
// Units: bytes, occurrences.
// Example: WordCounter counter(SplitPattern::kGpt2); for (doc : docs) counter.add(doc); train_bpe(counter.words(), ...);
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "phalanx/tokenizer/pretokenizer.h"

namespace phalanx {

struct WordCount {
  std::string_view bytes;
  int64_t count = 0;
};

class WordCounter {
 public:
  // add_prefix_space: a text that does not begin with a space gets one.
  explicit WordCounter(SplitPattern pattern, bool add_prefix_space = false);

  void add(std::string_view text);       // one document: no piece reaches from one text into the next
  void merge(const WordCounter& other);  // the counts of both
  std::vector<WordCount> words() const;  // views into this counter
  int64_t distinct() const { return used_; }

 private:
  // A word of at most 16 bytes lies in its slot, padded with zeros; of a longer one the slot has hash and place.
  struct Slot {
    uint64_t low = 0, high = 0;
    int64_t count = 0;
    uint64_t size = 0;  // 0: free
  };
  struct Lookup {
    uint64_t low, high, size, hash;
    const char* bytes;
  };

  static void look_up(const char* bytes, size_t size, const char* readable_end, Lookup& word);
  void count_pieces(std::string_view text);
  void increase(const Lookup& word, int64_t count);
  Slot& find(const Lookup& word);
  std::string_view bytes_of(const Slot& slot) const;
  void grow();

  SplitPattern pattern_;
  bool add_prefix_space_;
  int64_t used_ = 0;
  std::vector<Slot> slots_;  // a power of two, at most half of them used
  std::string long_words_;
  std::string prefixed_;
  std::vector<uint32_t> ends_;
  std::vector<Lookup> batch_;
};

// The words of all documents, counted on `threads` threads.
WordCounter count_words(std::span<const std::string_view> documents, SplitPattern pattern,
                        bool add_prefix_space, int threads);

}  // namespace phalanx
