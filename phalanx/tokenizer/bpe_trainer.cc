#include "phalanx/tokenizer/bpe_trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <unordered_set>
#include <utility>

#include "phalanx/base/error.h"
#include "phalanx/tokenizer/bpe_words.h"
#include "phalanx/tokenizer/byte_alphabet.h"
#include "phalanx/tokenizer/pair_queue.h"
#include "phalanx/tokenizer/stream_decoder.h"

namespace phalanx {
namespace {

// All bytes, ordered by the characters that files spell them with.
std::vector<uint8_t> alphabet() {
  std::vector<std::pair<std::string, uint8_t>> spelled;
  for (int byte = 0; byte < 256; ++byte) {
    spelled.emplace_back(to_byte_alphabet(std::string(1, static_cast<char>(byte))),
                         static_cast<uint8_t>(byte));
  }
  std::sort(spelled.begin(), spelled.end());  // UTF-8 sorts like code points
  std::vector<uint8_t> bytes;
  for (const auto& [character, byte] : spelled) bytes.push_back(byte);
  return bytes;
}

[[noreturn]] void refuse(std::string got, std::string needed, std::string fix) {
  throw Error(
      ErrorKind::kBadInput,
      {.where = "BPE training", .got = std::move(got), .needed = std::move(needed), .fix = std::move(fix)});
}

void check_special_tokens(const std::vector<std::string>& tokens) {
  std::unordered_set<std::string> seen;
  for (const std::string& token : tokens) {
    if (token.empty()) refuse("an empty special token", "some text", "leave it out");
    if (valid_utf8(token) != token) {
      refuse(fmt::format("special token '{}', which is not UTF-8", valid_utf8(token)), "UTF-8 text", "");
    }
    if (!seen.insert(token).second) {
      refuse(fmt::format("special token '{}' twice", token), "each special token once", "leave one out");
    }
    if (const std::optional<std::string> bytes = from_byte_alphabet(token); bytes && bytes->size() == 1) {
      refuse(fmt::format("special token '{}', which files use for a byte of text", token),
             "a special token that no byte is spelled like", "choose a longer name, such as <|endoftext|>");
    }
  }
}

void check(const BpeTrainerOptions& options) {
  check_special_tokens(options.special_tokens);
  const auto needed = static_cast<int64_t>(options.special_tokens.size()) + 256;
  if (options.vocab_size < needed || options.vocab_size > std::numeric_limits<int32_t>::max()) {
    refuse(fmt::format("vocab_size {}", options.vocab_size),
           fmt::format("{} (256 bytes and {} special tokens) to {}", needed, needed - 256,
                       std::numeric_limits<int32_t>::max()),
           "set the number of tokens, such as 32000");
  }
  if (options.min_frequency < 0) {
    refuse(fmt::format("min_frequency {}", options.min_frequency), "0 or more", "");
  }
  if (options.max_token_length < 0) {
    refuse(fmt::format("max_token_length {}", options.max_token_length), "0 (any) or more", "");
  }
}

// Sums over the places of the merged pair that have a given token beside them.
struct Neighbor {
  int64_t lost = 0;    // occurrences of (neighbor, a) or (b, neighbor) that are gone
  int64_t gained = 0;  // of (neighbor, ab) or (ab, neighbor) that are new
  uint64_t spots = 0;  // how many those are; then, where the next one is noted
  bool listed = false;
};

// What one merge changes on one side of its pair.
class Neighbors {
 public:
  void reserve(int64_t tokens) { by_id_.resize(static_cast<size_t>(tokens)); }
  void lose(int32_t id, int64_t count) { at(id).lost += count; }
  void gain(int32_t id, int64_t count, BpeSpot spot) {
    Neighbor& neighbor = at(id);
    neighbor.gained += count;
    ++neighbor.spots;
    events_.push_back({id, spot});
  }
  const std::vector<int32_t>& ids() const { return ids_; }
  Neighbor& operator[](int32_t id) { return by_id_[static_cast<size_t>(id)]; }

  // Appends the gained places to `all`, those of one neighbor after those of another, in the order of ids(), each in
  // the order of text. Neighbor::spots ends up at the end of the neighbor's places.
  void write_spots(std::vector<BpeSpot>& all) {
    uint64_t end = all.size();
    for (const int32_t id : ids_) end += std::exchange((*this)[id].spots, end);
    all.resize(end);
    for (const Event& event : events_) all[(*this)[event.id].spots++] = event.spot;
  }

  void clear() {
    for (const int32_t id : ids_) (*this)[id] = {};
    ids_.clear();
    events_.clear();
  }

 private:
  struct Event {
    int32_t id;
    BpeSpot spot;
  };

  Neighbor& at(int32_t id) {
    Neighbor& neighbor = (*this)[id];
    if (!neighbor.listed) {
      neighbor.listed = true;
      ids_.push_back(id);
    }
    return neighbor;
  }

  std::vector<Neighbor> by_id_;
  std::vector<int32_t> ids_;  // those with anything noted
  std::vector<Event> events_;
};

std::array<int32_t, 256> byte_ids(size_t first) {
  std::array<int32_t, 256> ids{};
  for (const uint8_t byte : alphabet()) ids[byte] = static_cast<int32_t>(first++);
  return ids;
}

class BpeTraining {
 public:
  BpeTraining(std::span<const WordCount> words, const BpeTrainerOptions& options);
  BpeSpec run(const BpeProgress& progress);

 private:
  int32_t add_token(const std::string& bytes);
  void queue_first_pairs();
  void merge(int32_t a, int32_t b, int32_t result, std::span<const BpeSpot> spots);
  void count_gains(Neighbors& side, bool left, int32_t result);
  void count_losses(Neighbors& side, bool left, int32_t merged);
  void queue_gains(Neighbors& side, bool left, int32_t result);
  BpeSpec result();

  const BpeTrainerOptions& options_;
  std::vector<std::string> tokens_;  // by id; empty: a special token
  std::vector<BpeMerge> merges_;
  std::unordered_set<std::string> forbidden_;  // what special tokens spell
  BpeWords words_;
  PairCounts counts_;
  PairQueue queue_;
  std::vector<BpeSpot> spots_;  // of all queued pairs, pair after pair
  Neighbors left_, right_;
};

BpeTraining::BpeTraining(std::span<const WordCount> words, const BpeTrainerOptions& options)
    : options_(options),
      tokens_(options.special_tokens.size()),
      words_(words, byte_ids(options.special_tokens.size())) {
  for (const std::string& token : options.special_tokens) {
    if (const std::optional<std::string> bytes = from_byte_alphabet(token)) forbidden_.insert(*bytes);
  }
  for (const uint8_t byte : alphabet()) add_token(std::string(1, static_cast<char>(byte)));
  // Each merge takes a byte's place away, so that a small corpus makes no large vocabulary.
  const auto most = static_cast<int64_t>(tokens_.size() + BpeWords::slots_needed(words));
  left_.reserve(std::min(options.vocab_size, most));
  right_.reserve(std::min(options.vocab_size, most));
  queue_first_pairs();
}

int32_t BpeTraining::add_token(const std::string& bytes) {
  const auto id = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(bytes);
  words_.set_length(id, static_cast<uint32_t>(bytes.size()));
  return id;
}

void BpeTraining::queue_first_pairs() {
  constexpr size_t kPairs = 256 * 256;
  const auto first = static_cast<int32_t>(options_.special_tokens.size());
  const auto index = [&](int32_t left, int32_t right) {
    return static_cast<size_t>(left - first) * 256 + static_cast<size_t>(right - first);
  };
  std::vector<int64_t> counts(kPairs);
  std::vector<uint64_t> ends(kPairs + 1);
  words_.each_pair([&](int32_t left, int32_t right, BpeSpot, int64_t count) {
    counts[index(left, right)] += count;
    ++ends[index(left, right) + 1];
  });
  for (size_t i = 0; i < kPairs; ++i) ends[i + 1] += ends[i];
  spots_.resize(ends[kPairs]);
  std::vector<uint64_t> next(ends.begin(), ends.end() - 1);
  words_.each_pair(
      [&](int32_t left, int32_t right, BpeSpot spot, int64_t) { spots_[next[index(left, right)]++] = spot; });
  for (size_t i = 0; i < kPairs; ++i) {
    if (counts[i] == 0) continue;
    const uint64_t key =
        pair_key(first + static_cast<int32_t>(i / 256), first + static_cast<int32_t>(i % 256));
    counts_.add(key, counts[i]);
    queue_.push({.count = counts[i], .key = key, .first_spot = ends[i], .spots = ends[i + 1] - ends[i]});
  }
}

void BpeTraining::merge(int32_t a, int32_t b, int32_t result, std::span<const BpeSpot> spots) {
  const int64_t limit =
      options_.max_token_length == 0 ? std::numeric_limits<int64_t>::max() : options_.max_token_length;
  const int64_t room = limit - words_.length(result);
  words_.merge(a, b, result, spots, [&](const BpeWords::Merged& merged) {
    if (merged.left != BpeWords::kNone) {
      left_.lose(merged.left, merged.count);
      if (words_.length(merged.left) < room)
        left_.gain(merged.left, merged.count, {merged.left_slot, merged.spot.word});
    }
    if (merged.right != BpeWords::kNone) {
      right_.lose(merged.right, merged.count);
      if (words_.length(merged.right) < room) right_.gain(merged.right, merged.count, merged.spot);
    }
  });
  // Gains first: (result, a) can come and go within one merge.
  count_gains(left_, true, result);
  count_gains(right_, false, result);
  count_losses(left_, true, a);
  count_losses(right_, false, b);
  queue_gains(left_, true, result);
  queue_gains(right_, false, result);
}

void BpeTraining::count_gains(Neighbors& side, bool left, int32_t result) {
  const auto key = [&](int32_t id) { return left ? pair_key(id, result) : pair_key(result, id); };
  for (const int32_t id : side.ids()) counts_.prefetch(key(id));
  for (const int32_t id : side.ids()) {
    const Neighbor& neighbor = side[id];
    if (neighbor.spots == 0) continue;
    const bool is_new = counts_.add(key(id), neighbor.gained);
    PHALANX_CHECK(is_new, "a pair with a token that was just made");
  }
}

void BpeTraining::count_losses(Neighbors& side, bool left, int32_t merged) {
  const auto key = [&](int32_t id) { return left ? pair_key(id, merged) : pair_key(merged, id); };
  for (const int32_t id : side.ids()) counts_.prefetch(key(id));
  for (const int32_t id : side.ids()) {
    if (side[id].lost != 0) counts_.add(key(id), -side[id].lost);
  }
}

void BpeTraining::queue_gains(Neighbors& side, bool left, int32_t result) {
  uint64_t begin = spots_.size();
  side.write_spots(spots_);
  for (const int32_t id : side.ids()) {
    const uint64_t end = side[id].spots;
    const uint64_t key = left ? pair_key(id, result) : pair_key(result, id);
    const int64_t count = end == begin ? 0 : counts_.count(key);
    if (count > 0) queue_.push({.count = count, .key = key, .first_spot = begin, .spots = end - begin});
    begin = end;
  }
  side.clear();
}

BpeSpec BpeTraining::run(const BpeProgress& progress) {
  constexpr size_t kReport = 256;  // tokens
  PairQueue::Entry top;
  while (static_cast<int64_t>(tokens_.size()) < options_.vocab_size && queue_.pop(top)) {
    const int64_t count = counts_.count(top.key);
    if (top.count != count) {  // merges took some of it away; it gets its place when its turn comes
      top.count = count;
      queue_.push(top);
      continue;
    }
    if (count < std::max<int64_t>(options_.min_frequency, 1)) break;
    const auto a = static_cast<int32_t>(top.key >> 32);
    const auto b = static_cast<int32_t>(top.key & 0xFFFFFFFFu);
    // No earlier token has these bytes: it would stand in the place of a and b.
    const std::string bytes = tokens_[static_cast<size_t>(a)] + tokens_[static_cast<size_t>(b)];
    if (forbidden_.contains(bytes)) continue;
    const int32_t result = add_token(bytes);
    merges_.push_back({a, b, result});
    // The places move while they grow.
    const auto begin = spots_.begin() + static_cast<int64_t>(top.first_spot);
    std::vector<BpeSpot> spots(begin, begin + static_cast<int64_t>(top.spots));
    merge(a, b, result, spots);
    if (progress && tokens_.size() % kReport == 0) {
      progress(static_cast<int64_t>(tokens_.size()), options_.vocab_size);
    }
  }
  if (progress) progress(static_cast<int64_t>(tokens_.size()), options_.vocab_size);
  return result();
}

BpeSpec BpeTraining::result() {
  BpeSpec spec;
  for (size_t i = 0; i < options_.special_tokens.size(); ++i) {
    spec.added.push_back(
        {.id = static_cast<int32_t>(i), .content = options_.special_tokens[i], .special = true});
  }
  if (options_.pattern != SplitPattern::kWholeText) spec.splits.push_back(options_.pattern);
  spec.add_prefix_space = options_.add_prefix_space;
  spec.model.tokens = std::move(tokens_);
  spec.model.merges = std::move(merges_);
  return spec;
}

}  // namespace

BpeSpec train_bpe(std::span<const WordCount> words, const BpeTrainerOptions& options,
                  const BpeProgress& progress) {
  check(options);
  constexpr uint64_t kSlots = 0xFFFF0000;
  if (const uint64_t slots = BpeWords::slots_needed(words); slots > kSlots) {
    refuse(fmt::format("distinct pieces of {} bytes together", slots), fmt::format("at most {}", kSlots),
           "train on less text, or with a pattern that cuts it into shorter pieces");
  }
  return BpeTraining(words, options).run(progress);
}

}  // namespace phalanx
