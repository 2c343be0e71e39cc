#include <algorithm>
#include <array>
#include <bit>
#include <functional>

#include "phalanx/base/error.h"
#include "phalanx/tokenizer/bpe_encoder.h"

namespace phalanx {
namespace {

// Longer pieces go to the heap: scanning for the lowest rank costs n^2 there.
constexpr size_t kShortPiece = 48;

uint64_t pair_of(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

uint64_t mix(uint64_t x) {
  x = (x ^ x >> 32) * 0x9E3779B97F4A7C15u;
  return x ^ x >> 29;
}

}  // namespace

BpeMerger::BpeMerger(const BpeModel& model) : byte_ids_(256, -1) {
  for (size_t id = 0; id < model.tokens.size(); ++id) {
    const std::string& token = model.tokens[id];
    if (token.size() == 1) byte_ids_[static_cast<uint8_t>(token[0])] = static_cast<int32_t>(id);
  }
  PHALANX_CHECK(std::find(byte_ids_.begin(), byte_ids_.end(), -1) == byte_ids_.end(), "a byte has no token");
  const size_t size = std::bit_ceil(std::max<size_t>(2, 3 * model.merges.size()));
  shift_ = 64 - std::countr_zero(size);
  pairs_.assign(size, kNoPair);
  merges_.resize(size);
  for (size_t rank = 0; rank < model.merges.size(); ++rank) {
    const BpeMerge& merge = model.merges[rank];
    const uint64_t pair = pair_of(merge.left, merge.right);
    size_t at = pair * 0x9E3779B97F4A7C15u >> shift_;
    while (pairs_[at] != kNoPair) at = (at + 1) & (size - 1);
    pairs_[at] = pair;
    merges_[at] = {.rank = static_cast<uint32_t>(rank), .result = merge.result};
  }
  if (model.ignore_merges) index_tokens(model);
}

BpeMerger::Merge BpeMerger::find(int32_t left, int32_t right) const {
  const uint64_t pair = pair_of(left, right);
  size_t at = pair * 0x9E3779B97F4A7C15u >> shift_;
  while (pairs_[at] != pair) {
    if (pairs_[at] == kNoPair) return {};
    at = (at + 1) & (pairs_.size() - 1);
  }
  return merges_[at];
}

void BpeMerger::index_tokens(const BpeModel& model) {
  tokens_ = model.tokens;
  token_slots_.assign(std::bit_ceil(2 * tokens_.size() + 2), -1);
  for (size_t id = 0; id < tokens_.size(); ++id) {
    if (tokens_[id].empty()) continue;
    size_t at = mix(std::hash<std::string_view>{}(tokens_[id])) & (token_slots_.size() - 1);
    while (token_slots_[at] >= 0) at = (at + 1) & (token_slots_.size() - 1);
    token_slots_[at] = static_cast<int32_t>(id);
  }
}

int32_t BpeMerger::find_token(std::string_view piece) const {
  size_t at = mix(std::hash<std::string_view>{}(piece)) & (token_slots_.size() - 1);
  while (token_slots_[at] >= 0 && tokens_[static_cast<size_t>(token_slots_[at])] != piece) {
    at = (at + 1) & (token_slots_.size() - 1);
  }
  return token_slots_[at];
}

void BpeMerger::encode_piece(std::string_view piece, std::vector<int32_t>& ids) const {
  if (piece.empty()) return;
  if (!token_slots_.empty()) {
    if (const int32_t id = find_token(piece); id >= 0) {
      ids.push_back(id);
      return;
    }
  }
  if (piece.size() <= kShortPiece) {
    merge_short(piece, ids);
  } else {
    merge_long(piece, ids);
  }
}

void BpeMerger::merge_short(std::string_view piece, std::vector<int32_t>& ids) const {
  std::array<int32_t, kShortPiece + 1> symbols{};
  std::array<Merge, kShortPiece + 1> merges;  // of each symbol with the next
  size_t count = piece.size();
  for (size_t i = 0; i < count; ++i) symbols[i] = byte_ids_[static_cast<uint8_t>(piece[i])];
  for (size_t i = 0; i + 1 < count; ++i) merges[i] = find(symbols[i], symbols[i + 1]);
  merges[count - 1] = {};
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (merges[i].rank < merges[best].rank) best = i;
    }
    if (merges[best].rank == kNoRank) break;
    symbols[best] = merges[best].result;
    for (size_t i = best + 1; i + 1 < count; ++i) {
      symbols[i] = symbols[i + 1];
      merges[i] = merges[i + 1];
    }
    --count;
    merges[best] = best + 1 < count ? find(symbols[best], symbols[best + 1]) : Merge{};
    if (best > 0) merges[best - 1] = find(symbols[best - 1], symbols[best]);
  }
  ids.insert(ids.end(), symbols.begin(), symbols.begin() + static_cast<ptrdiff_t>(count));
}

// Candidate merges by rank, then place. A merge leaves candidates of its neighbors behind, whose symbols are other
// ones by now: the pair that stands there has another rank, or none, when they come up.
class BpeMerger::Heap {
 public:
  Heap(const BpeMerger& merger, std::string_view piece) : merger_(merger), symbols_(piece.size()) {
    const auto count = static_cast<uint32_t>(piece.size());
    for (uint32_t i = 0; i < count; ++i) {
      symbols_[i] = {.id = merger.byte_ids_[static_cast<uint8_t>(piece[i])], .before = i - 1, .after = i + 1};
    }
    candidates_.reserve(piece.size());
    for (uint32_t i = 0; i + 1 < count; ++i) {
      const uint32_t rank = merge_at(i).rank;
      if (rank != kNoRank) candidates_.push_back(static_cast<uint64_t>(rank) << 32 | i);
    }
    std::make_heap(candidates_.begin(), candidates_.end(), std::greater<>());
  }

  void run() {
    while (!candidates_.empty()) {
      std::pop_heap(candidates_.begin(), candidates_.end(), std::greater<>());
      const uint64_t candidate = candidates_.back();
      candidates_.pop_back();
      const auto place = static_cast<uint32_t>(candidate);
      Symbol& left = symbols_[place];
      if (left.id == kMerged || left.after >= symbols_.size()) continue;
      const Merge merge = merge_at(place);
      if (merge.rank != candidate >> 32) continue;
      Symbol& right = symbols_[left.after];
      left.id = merge.result;
      right.id = kMerged;
      left.after = right.after;
      if (left.after < symbols_.size()) {
        symbols_[left.after].before = place;
        push(place);
      }
      if (left.before < symbols_.size()) push(left.before);
    }
  }

  void append_to(std::vector<int32_t>& ids) const {
    for (size_t i = 0; i < symbols_.size(); i = symbols_[i].after) ids.push_back(symbols_[i].id);
  }

 private:
  static constexpr int32_t kMerged = -1;
  struct Symbol {
    int32_t id;
    uint32_t before, after;  // out of range at the ends
  };

  Merge merge_at(uint32_t place) const {
    return merger_.find(symbols_[place].id, symbols_[symbols_[place].after].id);
  }
  void push(uint32_t place) {
    const uint32_t rank = merge_at(place).rank;
    if (rank == kNoRank) return;
    candidates_.push_back(static_cast<uint64_t>(rank) << 32 | place);
    std::push_heap(candidates_.begin(), candidates_.end(), std::greater<>());
  }

  const BpeMerger& merger_;
  std::vector<Symbol> symbols_;
  std::vector<uint64_t> candidates_;  // rank, then place
};

void BpeMerger::merge_long(std::string_view piece, std::vector<int32_t>& ids) const {
  Heap heap(*this, piece);
  heap.run();
  heap.append_to(ids);
}

}  // namespace phalanx
