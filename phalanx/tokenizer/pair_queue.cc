#include "phalanx/tokenizer/pair_queue.h"

#include <algorithm>
#include <utility>

namespace phalanx {
namespace {

constexpr int64_t kLevels = 1 << 14;  // more frequent pairs are few: the heap takes them from the start

bool lower(const PairQueue::Entry& a, const PairQueue::Entry& b) {
  return a.count != b.count ? a.count < b.count : a.key > b.key;
}

}  // namespace

PairCounts::PairCounts() : slots_(size_t{1} << 16), shift_(64 - 16) {}

size_t PairCounts::start(uint64_t key) const {
  key ^= key >> 32;  // the left id must reach the upper bits of the product, too
  return static_cast<size_t>(key * 0x9E3779B97F4A7C15ull >> shift_);
}

size_t PairCounts::locate(uint64_t key) const {
  const size_t mask = slots_.size() - 1;
  size_t i = start(key);
  while (slots_[i].key != key && slots_[i].key != kFree) i = (i + 1) & mask;
  return i;
}

bool PairCounts::add(uint64_t key, int64_t change) {
  Slot& slot = slots_[locate(key)];
  slot.count += change;
  if (slot.key == key) return false;
  slot.key = key;
  if (++used_ * 2 > slots_.size()) grow();
  return true;
}

void PairCounts::grow() {
  std::vector<Slot> old(slots_.size() * 2);
  old.swap(slots_);
  --shift_;
  for (const Slot& slot : old) {
    if (slot.key != kFree) slots_[locate(slot.key)] = slot;
  }
}

PairQueue::PairQueue() : waiting_(kLevels), level_(kLevels) {}

void PairQueue::push(const Entry& entry) {
  if (entry.count >= level_) {
    active_.push_back(entry);
    std::push_heap(active_.begin(), active_.end(), lower);
  } else {
    waiting_[static_cast<size_t>(entry.count)].push_back(entry);
  }
}

bool PairQueue::pop(Entry& top) {
  while (active_.empty()) {
    if (level_ == 0) return false;
    active_ = std::exchange(waiting_[static_cast<size_t>(--level_)], {});
    std::make_heap(active_.begin(), active_.end(), lower);
  }
  std::pop_heap(active_.begin(), active_.end(), lower);
  top = active_.back();
  active_.pop_back();
  return true;
}

}  // namespace phalanx
