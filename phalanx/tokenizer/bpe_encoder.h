// File: phalanx/tokenizer/bpe_encoder.h
//
// Purpose: pieces of text to token ids: BPE merging, and a cache in front of it.
// Contract: BpeMerger is immutable. The ids of a piece are what merging the adjacent pair of lowest rank, the leftmost
//   first, again and again gives; time is n log n in the piece, so that no text is quadratic. PieceEncoder gives the
//   same ids and remembers short pieces; it serves one thread and must not outlive its merger.
// Units: cache_bits: the cache holds 2^cache_bits pieces, 32 bytes each.
// Source: Sennrich et al. 2016. The cache's idea (pieces of at most 15 bytes packed with their ids into half a cache
//   line, looked up in batches with prefetch) is gigatoken's.
// Example: PieceEncoder e(merger, 16); e.encode(text, ends, 0, ids);
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "phalanx/tokenizer/bpe_model.h"

namespace phalanx {

class BpeMerger {
 public:
  explicit BpeMerger(const BpeModel& model);  // checked by check_bpe

  // Appends the ids of one piece.
  void encode_piece(std::string_view piece, std::vector<int32_t>& ids) const;

 private:
  struct Merge {
    uint32_t rank = kNoRank;
    int32_t result = 0;
  };
  class Heap;
  static constexpr uint64_t kNoPair = ~uint64_t{0};
  static constexpr uint32_t kNoRank = ~uint32_t{0};

  Merge find(int32_t left, int32_t right) const;
  int32_t find_token(std::string_view piece) const;  // -1 where it is none
  void index_tokens(const BpeModel& model);
  void merge_short(std::string_view piece, std::vector<int32_t>& ids) const;
  void merge_long(std::string_view piece, std::vector<int32_t>& ids) const;

  std::vector<int32_t> byte_ids_;
  // Open addressing, a power of two, at most a third full. Most pairs are no merge, so pairs lie dense and apart.
  std::vector<uint64_t> pairs_;
  std::vector<Merge> merges_;
  int shift_ = 63;
  std::vector<std::string> tokens_;   // only where whole pieces are looked up (ignore_merges)
  std::vector<int32_t> token_slots_;  // by hash of the bytes; -1: empty
};

class PieceEncoder {
 public:
  PieceEncoder(const BpeMerger& merger, int cache_bits);
  ~PieceEncoder();

  // Appends the ids of the pieces of `text` that end at `ends`; the first begins at `begin`.
  void encode(std::string_view text, std::span<const uint32_t> ends, size_t begin, std::vector<int32_t>& ids);

 private:
  class Cache;
  std::unique_ptr<Cache> cache_;
};

}  // namespace phalanx
