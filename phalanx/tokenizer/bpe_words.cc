#include "phalanx/tokenizer/bpe_words.h"

#include "phalanx/base/error.h"

namespace phalanx {

uint64_t BpeWords::slots_needed(std::span<const WordCount> words) {
  uint64_t slots = 1;
  for (const WordCount& word : words) slots += word.bytes.size() + 1;
  return slots;
}

BpeWords::BpeWords(std::span<const WordCount> words, const std::array<int32_t, 256>& ids) {
  slots_.reserve(slots_needed(words));
  begins_.reserve(words.size());
  counts_.reserve(words.size());
  slots_.push_back(kBorder);
  for (const WordCount& word : words) {
    begins_.push_back(static_cast<uint32_t>(slots_.size()));
    counts_.push_back(word.count);
    for (const char byte : word.bytes) slots_.push_back(ids[static_cast<uint8_t>(byte)]);
    slots_.push_back(kBorder);
  }
}

void BpeWords::set_length(int32_t id, uint32_t length) {
  if (lengths_.size() <= static_cast<size_t>(id)) lengths_.resize(static_cast<size_t>(id) + 1);
  lengths_[static_cast<size_t>(id)] = length;
}

}  // namespace phalanx
