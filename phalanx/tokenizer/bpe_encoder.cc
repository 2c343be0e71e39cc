#include "phalanx/tokenizer/bpe_encoder.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

static_assert(std::endian::native == std::endian::little, "pieces are packed low byte first");

constexpr size_t kShortKey = 15;      // bytes that fit beside their length into 128 bits
constexpr size_t kLongestKept = 256;  // longer pieces hardly come twice
constexpr size_t kInlineIds = 4;
constexpr size_t kBatch = 64;                    // pieces whose cache lines are on their way at once
constexpr size_t kSpillLimit = size_t{1} << 18;  // ids kept outside the cache lines before it starts anew
constexpr uint64_t kCountMask = uint64_t{0xF} << 60;
constexpr uint64_t kSpilled = 15;

struct Packed {
  uint64_t low, high;
};

constexpr std::array<Packed, 16> make_masks() {
  std::array<Packed, 16> masks{};
  for (size_t n = 0; n < 16; ++n) {
    masks[n].low = n >= 8 ? ~uint64_t{0} : (uint64_t{1} << 8 * n) - 1;
    masks[n].high = n <= 8 ? 0 : (uint64_t{1} << 8 * (n - 8)) - 1;
  }
  return masks;
}
constexpr std::array<Packed, 16> kMasks = make_masks();

Packed pack(std::string_view text, size_t begin, size_t size) {
  Packed key{0, 0};
  if (begin + sizeof key <= text.size()) {
    std::memcpy(&key, text.data() + begin, sizeof key);
    key.low &= kMasks[size].low;
    key.high &= kMasks[size].high;
  } else {
    std::memcpy(&key, text.data() + begin, size);
  }
  key.high |= static_cast<uint64_t>(size) << 56;
  return key;
}

uint64_t hash_of(const Packed& key) {
  const uint64_t a = (key.low ^ 0x9E3779B97F4A7C15u) * 0xBF58476D1CE4E5B9u;
  const uint64_t b = (key.high + 0x94D049BB133111EBu) * 0xD6E8FEB86659FD93u;
  const uint64_t c = a ^ std::rotl(b, 32);
  return (c ^ c >> 29) * 0x9E3779B97F4A7C15u;
}

}  // namespace

// Two entries share a cache line. A piece that is asked for again moves to the front of the two; a new one takes the
// place of the other. So a common piece is never pushed out by rare ones.
class PieceEncoder::Cache {
 public:
  Cache(const BpeMerger& merger, int bits)
      : merger_(merger),
        num_lines_(size_t{1} << (bits - 1)),
        lines_(make_lines(num_lines_)),
        shift_(65 - bits),
        long_entries_(num_lines_ / 32 + 1) {}

  void encode(std::string_view text, size_t begin, std::span<const uint32_t> ends, std::vector<int32_t>& ids);

 private:
  struct Entry {
    uint64_t low,
        high;  // the piece; the top byte of `high` is its length and, in the upper half, the count of ids
    std::array<int32_t, kInlineIds> ids;
  };
  struct alignas(64) Line {
    Entry front, back;
  };
  // Pieces of 16 to 256 bytes: runs of spaces and of punctuation, mostly. One place each; the newest keeps it.
  struct LongEntry {
    std::string piece;
    std::vector<int32_t> ids;
  };

  struct Free {
    void operator()(Line* lines) const { std::free(lines); }
  };
  using Lines = std::unique_ptr<Line[], Free>;
  static Lines make_lines(size_t count);

  static bool matches(const Entry& entry, const Packed& key) {
    return ((entry.low ^ key.low) | ((entry.high ^ key.high) & ~kCountMask)) == 0;
  }
  static const Entry* find(Line& line, const Packed& key) {
    if (matches(line.front, key)) return &line.front;
    if (!matches(line.back, key)) return nullptr;
    std::swap(line.front, line.back);
    return &line.front;
  }
  void insert(Line& line, const Packed& key, std::span<const int32_t> ids);
  void encode_short(std::string_view piece, Line& line, const Packed& key, std::vector<int32_t>& ids);
  void encode_long(std::string_view piece, std::vector<int32_t>& ids);

  const BpeMerger& merger_;
  size_t num_lines_;
  Lines lines_;
  int shift_;
  std::vector<int32_t> spilled_;  // ids of pieces that have more than fit into an entry
  std::vector<LongEntry> long_entries_;
};

// Lines are read in no order: with large pages, where the system has them to give, far fewer translations miss.
PieceEncoder::Cache::Lines PieceEncoder::Cache::make_lines(size_t count) {
  constexpr size_t kLargePage = size_t{1} << 21;
  const size_t size = count * sizeof(Line);
  Line* const lines =
      static_cast<Line*>(std::aligned_alloc(size < kLargePage ? sizeof(Line) : kLargePage, size));
  if (lines == nullptr) throw std::bad_alloc();
  if (size >= kLargePage) madvise(lines, size, MADV_HUGEPAGE);
  std::uninitialized_value_construct_n(lines, count);
  return Lines(lines);
}

void PieceEncoder::Cache::encode(std::string_view text, size_t begin, std::span<const uint32_t> ends,
                                 std::vector<int32_t>& ids) {
  std::array<Packed, kBatch> keys{};
  std::array<Line*, kBatch> lines{};
  size_t at = begin;
  for (size_t i = 0; i < ends.size(); ++i) {
    const size_t size = ends[i] - at;
    lines[i] = nullptr;
    if (size <= kShortKey) {
      keys[i] = pack(text, at, size);
      lines[i] = &lines_[hash_of(keys[i]) >> shift_];
      __builtin_prefetch(lines[i]);
    }
    at = ends[i];
  }
  std::array<int32_t, kBatch * kInlineIds> out{};
  size_t filled = 0;
  const auto flush = [&] {
    ids.insert(ids.end(), out.begin(), out.begin() + static_cast<ptrdiff_t>(filled));
    filled = 0;
  };
  at = begin;
  for (size_t i = 0; i < ends.size(); at = ends[i], ++i) {
    const Entry* entry = lines[i] == nullptr ? nullptr : find(*lines[i], keys[i]);
    if (entry != nullptr && entry->high >> 60 != kSpilled) {
      std::memcpy(out.data() + filled, entry->ids.data(), sizeof entry->ids);
      filled += entry->high >> 60;
      continue;
    }
    flush();
    const std::string_view piece = text.substr(at, ends[i] - at);
    if (entry != nullptr) {
      const int32_t* first = spilled_.data() + entry->ids[0];
      ids.insert(ids.end(), first, first + entry->ids[1]);
    } else if (lines[i] != nullptr) {
      encode_short(piece, *lines[i], keys[i], ids);
    } else {
      encode_long(piece, ids);
    }
  }
  flush();
}

void PieceEncoder::Cache::encode_short(std::string_view piece, Line& line, const Packed& key,
                                       std::vector<int32_t>& ids) {
  const size_t before = ids.size();
  merger_.encode_piece(piece, ids);
  insert(line, key, std::span<const int32_t>(ids).subspan(before));
}

void PieceEncoder::Cache::insert(Line& line, const Packed& key, std::span<const int32_t> ids) {
  Entry entry{key.low, key.high, {}};
  if (ids.size() <= kInlineIds) {
    entry.high |= static_cast<uint64_t>(ids.size()) << 60;
    std::copy(ids.begin(), ids.end(), entry.ids.begin());
  } else {
    if (spilled_.size() + ids.size() > kSpillLimit) {
      std::fill_n(lines_.get(), num_lines_, Line{});
      spilled_.clear();
    }
    entry.high |= kSpilled << 60;
    entry.ids[0] = static_cast<int32_t>(spilled_.size());
    entry.ids[1] = static_cast<int32_t>(ids.size());
    spilled_.insert(spilled_.end(), ids.begin(), ids.end());
  }
  (line.front.high == 0 ? line.front : line.back) = entry;
}

void PieceEncoder::Cache::encode_long(std::string_view piece, std::vector<int32_t>& ids) {
  if (piece.size() > kLongestKept) {
    merger_.encode_piece(piece, ids);
    return;
  }
  LongEntry& entry = long_entries_[std::hash<std::string_view>{}(piece) % long_entries_.size()];
  if (entry.piece != piece) {
    entry.ids.clear();
    merger_.encode_piece(piece, entry.ids);
    entry.piece = piece;
  }
  ids.insert(ids.end(), entry.ids.begin(), entry.ids.end());
}

PieceEncoder::PieceEncoder(const BpeMerger& merger, int cache_bits) {
  PHALANX_CHECK(cache_bits >= 2 && cache_bits <= 28, "cache_bits is 2 to 28");
  cache_ = std::make_unique<Cache>(merger, cache_bits);
}

PieceEncoder::~PieceEncoder() = default;

void PieceEncoder::encode(std::string_view text, std::span<const uint32_t> ends, size_t begin,
                          std::vector<int32_t>& ids) {
  while (!ends.empty()) {
    const std::span<const uint32_t> batch = ends.first(std::min(kBatch, ends.size()));
    cache_->encode(text, begin, batch, ids);
    begin = batch.back();
    ends = ends.subspan(batch.size());
  }
}

}  // namespace phalanx
