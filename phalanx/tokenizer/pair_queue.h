// File: phalanx/tokenizer/pair_queue.h
//
// Purpose: what a BPE trainer keeps of pairs of tokens: their counts, and a queue that yields the most frequent.
// Contract: PairCounts never forgets a pair. PairQueue pops by highest count, then smallest (left, right);
//   pushing below the count that was popped last costs O(1).
// Units: occurrences in the corpus.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace phalanx {

// (left id, right id) as one number that sorts like the pair.
constexpr uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
}

class PairCounts {
 public:
  PairCounts();
  void prefetch(uint64_t key) const { __builtin_prefetch(&slots_[start(key)]); }
  // Adds to the pair's count and says whether the pair is new.
  bool add(uint64_t key, int64_t change);
  int64_t count(uint64_t key) const { return slots_[locate(key)].count; }

 private:
  static constexpr uint64_t kFree = ~uint64_t{0};
  struct Slot {
    uint64_t key = kFree;
    int64_t count = 0;
  };

  size_t start(uint64_t key) const;
  size_t locate(uint64_t key) const;
  void grow();

  std::vector<Slot> slots_;  // a power of two, at most half of them used
  size_t used_ = 0;
  int shift_ = 0;
};

class PairQueue {
 public:
  struct Entry {
    int64_t count = 0;
    uint64_t key = 0;
    uint64_t first_spot = 0;  // where the trainer keeps the places of this pair
    uint64_t spots = 0;
  };

  PairQueue();
  void push(const Entry& entry);
  bool pop(Entry& top);  // false: empty

 private:
  std::vector<Entry> active_;                // a heap of all entries that count level_ or more
  std::vector<std::vector<Entry>> waiting_;  // by count, below level_
  int64_t level_;
};

}  // namespace phalanx
