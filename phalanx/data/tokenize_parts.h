// File: phalanx/data/tokenize_parts.h
//
// Purpose: what makes `data tokenize` restartable: the corpus is cut into parts (a file, or a run of small ones), each
//   kept as a finished pair in OUTPUT_parts/ until the whole is done.
// Contract: a part is finished when its .json is there, which is written last; its name is a hash of its files (path,
//   size, time) and of all settings, so that whatever changed is done again. One process at a time may hold a folder;
//   temporary files that a killed one left are removed. The cut depends on the files only.
// Errors: another process in the folder is Error(kBadInput); a folder that cannot be written Error(kIo).
// Units: bytes, tokens.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "phalanx/data/block_encoder.h"
#include "phalanx/data/indexed_writer.h"
#include "phalanx/data/reject.h"
#include "phalanx/data/text_source.h"

namespace phalanx {

struct ColumnCounts {
  int64_t sequences = 0;
  int64_t documents = 0;
  int64_t empty_documents = 0;
  int64_t tokens = 0;
  int64_t text_bytes = 0;
};

struct CorpusCounts {
  int64_t lines = 0;  // a document that is a file counts as one
  int64_t blank_lines = 0;
  int64_t repaired = 0;
  int64_t input_bytes = 0;     // as the files are
  int64_t unpacked_bytes = 0;  // after gzip and zstd
  RejectCounts rejected;
  std::vector<ColumnCounts> columns;  // by key

  void add(const CorpusCounts& other);
};

struct FinishedPart {
  CorpusCounts counts;
  std::vector<PairChecksums> checksums;  // by key
};

struct CorpusPart {
  std::vector<TextFile> files;
  std::string name;  // 16 hexadecimal digits
};

// `settings`: everything but the files that the tokens depend on, as text.
std::vector<CorpusPart> plan_parts(const std::vector<TextFile>& files, const std::string& settings);

class PartFolder {
 public:
  PartFolder(const std::string& output_prefix, size_t num_columns, TokenDtype dtype);
  ~PartFolder();  // gives the folder free; it goes when it is empty
  PartFolder(const PartFolder&) = delete;
  PartFolder& operator=(const PartFolder&) = delete;

  std::string prefix(const CorpusPart& part, size_t column) const;
  std::optional<FinishedPart> find(const CorpusPart& part) const;
  void record(const CorpusPart& part, const FinishedPart& finished) const;
  // At the end: all parts, of this job and of abandoned ones.
  void remove_parts() const;

 private:
  void lock();
  bool pair_is_whole(const CorpusPart& part, size_t column, const ColumnCounts& counts) const;

  std::string folder_;
  size_t num_columns_;
  TokenDtype dtype_;
  int lock_ = -1;
};

// Removes files that begin with `prefix` and were never finished. `all`: the caller holds a lock, so that nobody else is
// writing them; otherwise those of processes that still run stay.
void remove_temporaries(const std::string& prefix, bool all);

}  // namespace phalanx
