// File: phalanx/data/verify_corpus.h
//
// Purpose: whether a .bin/.idx pair is whole and as it was written.
// Contract: checks every entry of the index against the .bin; every token id against the vocabulary where it is known
//   (from the caller or from PREFIX.json); counts, dtype and both checksums where PREFIX.json is there. All faults of
//   the sidecar are listed in one Error. Nothing is changed.
// Errors: Error(kBadInput) naming the file and what differs, Error(kIo) for missing files.
// Units: tokens, bytes.
#pragma once

#include <cstdint>
#include <string>

#include "phalanx/data/token_dtype.h"

namespace phalanx {

struct VerifiedCorpus {
  std::string prefix;
  TokenDtype dtype = TokenDtype::kInt32;
  int64_t sequences = 0;
  int64_t documents = 0;
  int64_t tokens = 0;
  int64_t largest_id = -1;
  int64_t vocab_size = 0;    // that the ids were held against; 0: none
  bool has_sidecar = false;  // so that the checksums were compared
};

// vocab_size 0: the sidecar's, if any.
VerifiedCorpus verify_corpus(const std::string& prefix, int64_t vocab_size, int threads);

}  // namespace phalanx
