// File: phalanx/data/corpus_sidecar.h
//
// Purpose: PREFIX.json beside PREFIX.bin and PREFIX.idx: how the pair was made, what is in it, checksums of both files.
// Contract: written after the pair, so a pair without it is whole but unexplained; readers of tokens never need it. The
//   same input and settings give the same bytes. Unknown fields are ignored; a newer version is Error(kBadInput).
// Units: tokens; bytes of UTF-8 text. Checksums are XXH3 with 64 bits, in 16 hexadecimal digits.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "phalanx/data/indexed_writer.h"
#include "phalanx/data/token_dtype.h"

namespace phalanx {

struct CorpusSidecar {
  TokenDtype dtype = TokenDtype::kInt32;
  int64_t sequences = 0;
  int64_t documents = 0;
  int64_t empty_documents = 0;
  int64_t tokens = 0;
  int64_t text_bytes = 0;      // 0: not known
  std::string tokenizer_type;  // empty: not known
  std::string tokenizer_model;
  std::string tokenizer_checksum;
  int64_t vocab_size = 0;  // 0: not known
  bool append_eod = false;
  PairChecksums checksums;
};

std::string sidecar_path(const std::string& prefix);
void write_sidecar(const std::string& prefix, const CorpusSidecar& sidecar);
// Nothing when there is no such file.
std::optional<CorpusSidecar> read_sidecar(const std::string& prefix);
void remove_sidecar(const std::string& prefix);

}  // namespace phalanx
