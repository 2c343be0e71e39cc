// File: phalanx/data/publish_pair.h
//
// Purpose: finished parts become one pair under its final name.
// Contract: one part is linked there (no copy), several are joined. An earlier .idx of that name goes first, .bin comes
//   before .idx: at no moment does an .idx describe another .bin. The parts stay as they are.
// Errors: Error(kIo) for files.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "phalanx/data/indexed_writer.h"

namespace phalanx {

struct PartPair {
  std::string prefix;
  int64_t sequences = 0;
  int64_t documents = 0;
  PairChecksums checksums;
};

PairChecksums publish_pair(std::span<const PartPair> parts, TokenDtype dtype, const std::string& prefix);

}  // namespace phalanx
