// File: phalanx/tokenizer/scan_blocks.h
//
// Purpose: where pieces begin within 64 bytes, by bit algebra on masks of their classes.
// Contract: bit i stands for byte i of a block that begins where a piece begins. block_starts gives the bytes 1 to 62
//   at which a piece begins as the pattern's regex has it; the caller emits them and goes on from the last one. Bytes
//   from the first that is not ASCII on are in no class, and nothing is claimed from one byte before it on. A
//   start is claimed only where the bytes of the block decide it. At least 64 bytes are readable at `text`.
// Source: the alternatives of scan_plain.h, read as rules on neighbours: `x << 1` is "the byte before is in x".
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "phalanx/tokenizer/pretokenizer.h"
#include "phalanx/tokenizer/scan_plain.h"

namespace phalanx::scan {

struct Masks {
  uint64_t upper = 0;
  uint64_t lower = 0;
  uint64_t number = 0;
  uint64_t blank = 0;    // U+0020
  uint64_t newline = 0;  // \r \n
  uint64_t tab = 0;      // \t \v \f
  uint64_t apostrophe = 0;
  uint64_t slash = 0;
  uint64_t wide = 0;  // not ASCII
};

constexpr uint64_t first_of_run(uint64_t x) {
  return x & ~(x << 1);
}

// Calls f(i) for the bits of x, the lowest first.
template <typename F>
inline void for_each_bit(uint64_t x, const F& f) {
  for (; x != 0; x &= x - 1) f(std::countr_zero(x));
}

// Starts that the bytes decide: 1 to 62, and from the byte before the first wide one on none.
inline uint64_t decided(const Masks& m) {
  const uint64_t ascii = m.wide == 0 ? ~uint64_t{0} : (m.wide & -m.wide) - 1;
  return (ascii >> 1) & ~uint64_t{1};
}

// Apostrophes whose contraction lies within the block.
inline constexpr uint64_t kRoomForContraction = ~uint64_t{0} >> 2;

inline uint64_t gpt2_starts(const Masks& m, const uint8_t* text) {
  const uint64_t letter = m.upper | m.lower;
  const uint64_t space = m.blank | m.newline | m.tab;
  const uint64_t other = ~(letter | m.number | space | m.wide);
  // A run begins where the class changes, with the blank before it. Of whitespace the last byte stands apart.
  const uint64_t runs =
      (first_of_run(letter) | first_of_run(m.number) | first_of_run(other)) & ~(m.blank << 1);
  uint64_t starts = runs | (space & ~((space << 1) & (space >> 1)));
  for_each_bit(m.apostrophe & runs & (letter >> 1) & kRoomForContraction, [&](int i) {
    const ptrdiff_t size = contraction_at<false>(text + i, text + 64);
    if (size == 0) return;
    starts &= ~(uint64_t{2} << i);
    starts |= uint64_t{1} << i << size;
  });
  return starts & decided(m);
}

// Starts within runs of whitespace, of which the newlines that punctuation takes with it are no part.
inline uint64_t space_starts(const Masks& m, uint64_t taken) {
  const uint64_t all = m.blank | m.newline | m.tab;
  const uint64_t space = all & ~taken;
  const uint64_t newline = m.newline & ~taken;
  const uint64_t gap = space & ~newline;
  // The first of a run; and what precedes a character that is no whitespace, unless it is a newline.
  uint64_t starts = first_of_run(space) | (gap & ~(all >> 1));
  // What follows a newline, if no newline follows in the same run: \s*[\r\n]+ takes all up to the last one.
  for_each_bit(gap & (newline << 1) & ~starts, [&](int i) {
    const uint64_t beyond = ~gap >> i;
    if (beyond == 0) return;  // the block ends first: not decided, and no start of it lies further on
    const int stop = i + std::countr_zero(beyond);
    if ((((newline | m.wide) >> stop) & 1) == 0) starts |= uint64_t{1} << i;
  });
  return starts;
}

// Every number, or every third of a run.
template <bool kSingle>
uint64_t number_starts(uint64_t number) {
  if (kSingle) return number;
  const uint64_t pair = number & (number << 1);
  const uint64_t four = pair & (pair << 2);
  uint64_t starts = 0;
  for (uint64_t s = first_of_run(number); s != 0; s = (s << 3) & four) starts |= s;
  return starts;
}

template <SplitPattern kPattern>
uint64_t later_starts(const Masks& m, const uint8_t* text) {
  constexpr bool kO200k = kPattern == SplitPattern::kO200k;
  const uint64_t letter = m.upper | m.lower;
  const uint64_t space = m.blank | m.newline | m.tab;
  const uint64_t any_other = ~(letter | m.number | space | m.wide);
  // [\r\n]* after punctuation, or [\r\n/]*: the sum carries from its first newline to the end of the run.
  const uint64_t tail = kO200k ? m.newline | m.slash : m.newline;
  const uint64_t tail_first = m.newline & (any_other << 1);
  const uint64_t taken = (tail & ~(tail + tail_first)) | tail_first;
  const uint64_t other = any_other & ~taken;

  const uint64_t others = first_of_run(other) & ~(m.blank << 1);
  // Letters take one character with them that is no newline: whitespace, or punctuation that begins a piece.
  uint64_t starts = first_of_run(letter) & ~((m.blank | m.tab | others) << 1);
  if (kO200k) starts |= m.upper & (m.lower << 1);
  starts |= others | number_starts<kPattern == SplitPattern::kQwen2>(m.number) | space_starts(m, taken);

  const uint64_t apostrophes = m.apostrophe & others & (letter >> 1) & kRoomForContraction;
  ptrdiff_t after = 0;  // o200k: the end of the last contraction; an apostrophe there begins a piece
  for_each_bit(kO200k ? apostrophes & (letter << 1) : apostrophes, [&](int i) {
    const ptrdiff_t size = contraction_at<true>(text + i, text + 64);
    if (size == 0 || (kO200k && i == after)) return;
    if (kO200k) starts &= ~(uint64_t{7} << i);
    starts |= uint64_t{1} << i << size;
    after = i + size;
  });
  // o200k joins a contraction to its word, so whether its apostrophe begins a piece depends on the bytes after it.
  if (kO200k) starts &= ~(m.apostrophe & ~kRoomForContraction);
  return starts & decided(m);
}

template <SplitPattern kPattern>
uint64_t block_starts(const Masks& m, const uint8_t* text) {
  if constexpr (kPattern == SplitPattern::kGpt2) {
    return gpt2_starts(m, text);
  } else {
    return later_starts<kPattern>(m, text);
  }
}

}  // namespace phalanx::scan
