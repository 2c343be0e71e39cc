// File: phalanx/data/split.h
//
// Purpose: "969,30,1": the ranges of sequences that train, validation and test get.
// Contract: one to three numbers, relative, missing ones are 0; borders are round_half_even(n x cumulated share) in
//   fp64, as Megatron's. A part of width zero is absent. Anything else in the text is Error(kBadInput).
// Units: sequences.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

namespace phalanx {

struct SequenceRange {
  int64_t begin = 0;
  int64_t end = 0;
  bool operator==(const SequenceRange&) const = default;
};

// Train, validation, test.
using SplitRanges = std::array<std::optional<SequenceRange>, 3>;

SplitRanges split_sequences(const std::string& split, int64_t num_sequences);

}  // namespace phalanx
