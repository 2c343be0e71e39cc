// File: phalanx/data/indexed_dataset.h
//
// Purpose: read a tokenised corpus: PREFIX.bin holds the tokens of all sequences back to back, PREFIX.idx says where
//   each begins. Both are mapped, not loaded. Layout of .idx (little-endian, nothing aligned):
//     0 "MMIDIDX\0\0" | 9 u64 version 1 | 17 u8 dtype code | 18 u64 sequences n | 26 u64 document indices d
//     34 i32 lengths[n] | i64 byte offsets[n] | i64 document indices[d]: the first 0, the last n, ascending
// Contract: opening checks every entry against both files, so that reads need no checks of the file; each fault is an
//   Error(kBadInput) with the path, a missing file Error(kIo). Reading outside a sequence is a bug. Thread-safe.
// Units: tokens; byte offsets only inside.
// Source: Megatron's indexed dataset, version 1. Multimodal files (a mode byte a sequence) are refused by name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "phalanx/base/fs.h"
#include "phalanx/data/token_dtype.h"

namespace phalanx {

struct IndexLayout {
  TokenDtype dtype = TokenDtype::kInt32;
  int64_t num_sequences = 0;
  int64_t num_documents = 0;
  int64_t num_tokens = 0;
};

// Checks a whole .idx against the size of its .bin. `prefix` is for messages.
IndexLayout check_index(std::span<const std::byte> idx, uint64_t bin_size, const std::string& prefix);

// "corpus.bin" and "corpus.idx" name the pair "corpus".
std::string dataset_prefix(const std::string& path);

class IndexedDataset {
 public:
  explicit IndexedDataset(const std::string& path);  // a prefix, or one of the two files

  const std::string& prefix() const { return prefix_; }
  TokenDtype dtype() const { return layout_.dtype; }
  int64_t num_sequences() const { return layout_.num_sequences; }
  int64_t num_documents() const { return layout_.num_documents; }
  int64_t num_tokens() const { return layout_.num_tokens; }

  int64_t length(int64_t sequence) const;
  // The first sequence of a document; document num_documents() begins where the last one ends.
  int64_t document_begin(int64_t document) const;

  // out.size() tokens of a sequence from `offset` on.
  void read(int64_t sequence, int64_t offset, std::span<int64_t> out) const;
  // All tokens of a sequence as they are stored.
  std::span<const std::byte> sequence_bytes(int64_t sequence) const;

 private:
  std::string prefix_;
  MappedFile idx_;
  MappedFile bin_;
  IndexLayout layout_;
};

}  // namespace phalanx
