// File: phalanx/data/indexed_writer.h
//
// Purpose: write a .bin/.idx pair as a stream, the same bytes as Megatron's builder.
// Contract: memory is 4 bytes a sequence and 8 a document. Both files appear at commit(): an earlier .idx goes, then
//   .bin comes, then .idx, so that an .idx always has its .bin; without commit nothing changes on disk. A token that
//   does not fit the dtype and a merge of another dtype are Error(kBadInput); a document left open at commit is a bug.
// Example: w.add_sequence(ids); w.end_document(); w.commit();
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "phalanx/base/fs.h"
#include "phalanx/data/indexed_dataset.h"
#include "phalanx/data/token_dtype.h"
#include "phalanx/shard/checksum.h"

namespace phalanx {

// Documents on their way to a writer, already in the dtype of the file, so that many threads can prepare them.
struct PackedDocuments {
  std::vector<std::byte> tokens;
  std::vector<int32_t> lengths;    // tokens of each sequence
  std::vector<int32_t> documents;  // sequences of each document
};

// Appends ids as the file stores them. Error(kBadInput) naming `where` for an id that does not fit.
template <typename T>
void pack_tokens(std::span<const T> ids, TokenDtype dtype, const std::string& where,
                 std::vector<std::byte>& out);

// Removes PREFIX.idx, so that PREFIX.bin can change without looking finished. Error(kIo) when that fails.
void remove_index(const std::string& prefix);

// What a finished pair is: checksums of the two files.
struct PairChecksums {
  uint64_t bin = 0;
  uint64_t idx = 0;
};

class IndexedDatasetWriter {
 public:
  IndexedDatasetWriter(const std::string& prefix, TokenDtype dtype);

  void add_sequence(std::span<const int32_t> tokens);
  void add_sequence(std::span<const int64_t> tokens);
  void end_document();  // of all sequences since the last one; there may be none
  void add_packed(const PackedDocuments& documents);
  void append(const IndexedDataset& other);
  PairChecksums commit();

  int64_t num_sequences() const { return static_cast<int64_t>(lengths_.size()); }
  int64_t num_documents() const { return static_cast<int64_t>(documents_.size()) - 1; }
  int64_t num_tokens() const { return num_tokens_; }

 private:
  template <typename T>
  void add(std::span<const T> tokens);
  void put(std::span<const std::byte> bytes);
  void flush();
  uint64_t write_index(AtomicFile& idx) const;

  std::string prefix_;
  TokenDtype dtype_;
  AtomicFile bin_;
  std::vector<char> buffer_;        // on its way to the .bin
  std::vector<std::byte> scratch_;  // one sequence
  std::vector<int32_t> lengths_;
  std::vector<int64_t> documents_ = {0};
  int64_t num_tokens_ = 0;
  Checksum bin_sum_;
};

}  // namespace phalanx
