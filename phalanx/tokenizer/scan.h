// File: phalanx/tokenizer/scan.h
//
// Purpose: the two ways to run a pattern over a text, for split_pieces and for the test that compares them.
// Contract: as split_pieces, for every pattern but kWholeText; equal results.
// See: scan_plain.h for a piece, scan_blocks.h for 64 bytes at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "phalanx/tokenizer/pretokenizer.h"

namespace phalanx::scan {

size_t split_plain(SplitPattern pattern, std::string_view text, size_t begin, size_t limit,
                   std::vector<uint32_t>& ends);

bool have_avx2();  // this processor, and BMI with it

size_t split_avx2(SplitPattern pattern, std::string_view text, size_t begin, size_t limit,
                  std::vector<uint32_t>& ends);

}  // namespace phalanx::scan
