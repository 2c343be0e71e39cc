#include "phalanx/tokenizer/word_counter.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>

#include "phalanx/base/error.h"
#include "phalanx/base/threads.h"
#include "phalanx/tokenizer/stream_decoder.h"
#include "phalanx/tokenizer/utf8.h"

namespace phalanx {
namespace {

constexpr size_t kShort = 16;  // bytes of a word that a slot holds
constexpr size_t kFirstSlots = size_t{1} << 12;
constexpr size_t kBatch = 256;             // pieces whose slots are fetched together
constexpr size_t kTextLimit = 0xF0000000;  // offsets of pieces have 32 bits

uint64_t mix(uint64_t a, uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

uint64_t hash_pair(uint64_t low, uint64_t high, uint64_t size) {
  return mix(low ^ 0x9E3779B97F4A7C15ull, (high ^ 0xC2B2AE3D27D4EB4Full) + size);
}

uint64_t load(const char* bytes, size_t size) {
  uint64_t word = 0;
  std::memcpy(&word, bytes, size);
  return word;
}

uint64_t hash_long(const char* bytes, size_t size) {
  uint64_t hash = size;
  for (; size > 8; bytes += 8, size -= 8) hash = hash_pair(hash, load(bytes, 8), 0);
  return hash_pair(hash, load(bytes, size), 1);
}

}  // namespace

WordCounter::WordCounter(SplitPattern pattern, bool add_prefix_space)
    : pattern_(pattern), add_prefix_space_(add_prefix_space), slots_(kFirstSlots), batch_(kBatch) {}

void WordCounter::look_up(const char* bytes, size_t size, const char* readable_end, Lookup& word) {
  word.size = size;
  word.bytes = bytes;
  if (size > kShort) {
    word.high = 0;
    word.low = word.hash = hash_long(bytes, size);
    return;
  }
  if (readable_end - bytes >=
      static_cast<ptrdiff_t>(kShort)) {  // reads past the word and cuts off: no branches
    constexpr uint64_t kAll = ~uint64_t{0};
    word.low = load(bytes, 8) & (size >= 8 ? kAll : ~(kAll << (8 * size)));
    word.high = load(bytes + 8, 8) & (size <= 8 ? 0 : kAll >> (8 * (kShort - size)));
  } else {
    char padded[kShort] = {};
    std::memcpy(padded, bytes, size);
    word.low = load(padded, 8);
    word.high = load(padded + 8, 8);
  }
  word.hash = hash_pair(word.low, word.high, size);
}

void WordCounter::add(std::string_view text) {
  if (text.empty()) return;
  if (text.size() > kTextLimit) {
    throw Error(ErrorKind::kBadInput, {.where = "BPE training",
                                       .got = fmt::format("a document of {} bytes", text.size()),
                                       .needed = fmt::format("at most {}", kTextLimit),
                                       .fix = "cut it into documents"});
  }
  std::string repaired;
  if (!is_utf8(text)) {
    repaired = valid_utf8(text);
    text = repaired;
  }
  if (add_prefix_space_ && text.front() != ' ') {
    prefixed_.assign(1, ' ').append(text);
    text = prefixed_;
  }
  count_pieces(text);
}

void WordCounter::count_pieces(std::string_view text) {
  for (size_t begin = 0; begin < text.size();) {
    ends_.clear();
    const size_t end = split_pieces(pattern_, text, begin, kBatch, ends_);
    // Looked up in place: a copy right behind the stores would stall on them.
    for (size_t i = 0; i < ends_.size(); ++i) {
      look_up(text.data() + begin, ends_[i] - begin, text.data() + text.size(), batch_[i]);
      __builtin_prefetch(&slots_[batch_[i].hash & (slots_.size() - 1)], 1);
      begin = ends_[i];
    }
    for (size_t i = 0; i < ends_.size(); ++i) increase(batch_[i], 1);
    begin = end;
  }
}

WordCounter::Slot& WordCounter::find(const Lookup& word) {
  const size_t mask = slots_.size() - 1;
  for (size_t i = word.hash & mask;; i = (i + 1) & mask) {
    Slot& slot = slots_[i];
    if (slot.size == 0) return slot;
    if (slot.low != word.low || slot.size != word.size) continue;
    if (word.size <= kShort ? slot.high == word.high
                            : std::memcmp(long_words_.data() + slot.high, word.bytes, word.size) == 0)
      return slot;
  }
}

void WordCounter::increase(const Lookup& word, int64_t count) {
  Slot& slot = find(word);
  slot.count += count;
  if (slot.size != 0) return;
  slot.low = word.low;
  slot.high = word.high;
  slot.size = word.size;
  if (word.size > kShort) {
    slot.high = long_words_.size();
    long_words_.append(word.bytes, word.size);
  }
  if (static_cast<size_t>(++used_) * 2 > slots_.size()) grow();
}

void WordCounter::grow() {
  std::vector<Slot> old(slots_.size() * 2);
  old.swap(slots_);
  const size_t mask = slots_.size() - 1;
  for (const Slot& slot : old) {
    if (slot.size == 0) continue;
    size_t i = slot.size > kShort ? slot.low : hash_pair(slot.low, slot.high, slot.size);
    for (i &= mask; slots_[i].size != 0;) i = (i + 1) & mask;
    slots_[i] = slot;
  }
}

std::string_view WordCounter::bytes_of(const Slot& slot) const {
  static_assert(std::endian::native == std::endian::little && offsetof(Slot, high) == 8);
  if (slot.size > kShort) return std::string_view(long_words_).substr(slot.high, slot.size);
  return {reinterpret_cast<const char*>(&slot), slot.size};
}

void WordCounter::merge(const WordCounter& other) {
  for (const Slot& slot : other.slots_) {
    if (slot.size == 0) continue;
    const std::string_view bytes = other.bytes_of(slot);
    Lookup word{};
    look_up(bytes.data(), bytes.size(), bytes.data() + bytes.size(), word);
    increase(word, slot.count);
  }
}

std::vector<WordCount> WordCounter::words() const {
  std::vector<WordCount> words;
  words.reserve(static_cast<size_t>(used_));
  for (const Slot& slot : slots_) {
    if (slot.size != 0) words.push_back({bytes_of(slot), slot.count});
  }
  return words;
}

WordCounter count_words(std::span<const std::string_view> documents, SplitPattern pattern,
                        bool add_prefix_space, int threads) {
  // Cuts at the document borders that come nearest to equal shares of the bytes.
  size_t total = 0;
  for (const std::string_view document : documents) total += document.size();
  const size_t parts = std::clamp<size_t>(static_cast<size_t>(std::max(threads, 1)), 1, documents.size() + 1);
  std::vector<size_t> cuts{0};
  size_t seen = 0;
  for (size_t i = 0; i < documents.size(); ++i) {
    while (cuts.size() < parts && seen >= total / parts * cuts.size()) cuts.push_back(i);
    seen += documents[i].size();
  }
  cuts.resize(parts, documents.size());
  cuts.push_back(documents.size());

  std::vector<WordCounter> counters(parts, WordCounter(pattern, add_prefix_space));
  parallel_for(static_cast<int64_t>(parts), threads, [&](int64_t part) {
    const auto p = static_cast<size_t>(part);
    for (size_t i = cuts[p]; i < cuts[p + 1]; ++i) counters[p].add(documents[i]);
  });
  for (size_t p = 1; p < parts; ++p) counters[0].merge(counters[p]);
  return std::move(counters[0]);
}

}  // namespace phalanx
