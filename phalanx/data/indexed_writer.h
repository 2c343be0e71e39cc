// File: phalanx/data/indexed_writer.h
//
// Purpose: write a .bin/.idx pair as a stream, the same bytes as Megatron's builder.
// Contract: memory is 4 bytes a sequence and 8 a document. Both files appear at commit(), .bin first, so that an .idx
//   always has its .bin; without commit nothing changes on disk. A token that does not fit the dtype and a merge of
//   another dtype are Error(kBadInput); a document left open at commit is a bug.
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

namespace phalanx {

class IndexedDatasetWriter {
 public:
  IndexedDatasetWriter(const std::string& prefix, TokenDtype dtype);

  void add_sequence(std::span<const int32_t> tokens);
  void add_sequence(std::span<const int64_t> tokens);
  void end_document();  // of all sequences since the last one; there may be none
  void append(const IndexedDataset& other);
  void commit();

  int64_t num_sequences() const { return static_cast<int64_t>(lengths_.size()); }

 private:
  template <typename T>
  void add(std::span<const T> tokens);
  void put(std::span<const std::byte> bytes);
  void flush();

  std::string prefix_;
  TokenDtype dtype_;
  AtomicFile bin_;
  std::vector<char> buffer_;        // on its way to the .bin
  std::vector<std::byte> scratch_;  // one sequence
  std::vector<int32_t> lengths_;
  std::vector<int64_t> documents_ = {0};
};

}  // namespace phalanx
