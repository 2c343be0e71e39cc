// The block scanner with AVX2: one target attribute a function and no -mavx2 for the file, so that nothing shared with
// other files is compiled for a processor that may not be there. Other architectures get a body that says so.
#include "phalanx/base/error.h"
#include "phalanx/tokenizer/scan.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <array>
#include <bit>

#include "phalanx/tokenizer/scan_blocks.h"

#define PHALANX_AVX2 __attribute__((target("avx2,bmi,bmi2,popcnt")))

namespace phalanx::scan {
namespace {

constexpr ptrdiff_t kBlock = 64;

struct Half {
  uint32_t letter, cased, number, blank, newline, control, apostrophe, slash, wide;
};

PHALANX_AVX2 inline uint32_t bits(__m256i x) {
  return static_cast<uint32_t>(_mm256_movemask_epi8(x));
}

// Bytes from `first` on, `count` of them; wraps around below `first`.
PHALANX_AVX2 inline uint32_t in_range(__m256i x, char first, char count) {
  const __m256i from = _mm256_sub_epi8(x, _mm256_set1_epi8(first));
  return bits(_mm256_cmpeq_epi8(_mm256_min_epu8(from, _mm256_set1_epi8(static_cast<char>(count - 1))), from));
}

PHALANX_AVX2 inline uint32_t equal(__m256i x, char c) {
  return bits(_mm256_cmpeq_epi8(x, _mm256_set1_epi8(c)));
}

PHALANX_AVX2 inline Half classify_half(const uint8_t* p) {
  const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {.letter = in_range(_mm256_or_si256(x, _mm256_set1_epi8(0x20)), 'a', 26),
          .cased = bits(_mm256_slli_epi16(x, 2)),  // the bit that tells a from A
          .number = in_range(x, '0', 10),
          .blank = equal(x, ' '),
          .newline = equal(x, '\n') | equal(x, '\r'),
          .control = in_range(x, '\t', 5),
          .apostrophe = equal(x, '\''),
          .slash = equal(x, '/'),
          .wide = bits(x)};
}

inline uint64_t join(uint32_t low, uint32_t high) {
  return low | static_cast<uint64_t>(high) << 32;
}

PHALANX_AVX2 inline Masks classify(const uint8_t* p) {
  const Half a = classify_half(p);
  const Half b = classify_half(p + 32);
  const uint64_t letter = join(a.letter, b.letter);
  const uint64_t cased = join(a.cased, b.cased);
  const uint64_t newline = join(a.newline, b.newline);
  return {.upper = letter & ~cased,
          .lower = letter & cased,
          .number = join(a.number, b.number),
          .blank = join(a.blank, b.blank),
          .newline = newline,
          .tab = join(a.control, b.control) & ~newline,
          .apostrophe = join(a.apostrophe, b.apostrophe),
          .slash = join(a.slash, b.slash),
          .wide = join(a.wide, b.wide)};
}

// Writes base + i for every bit i of x, and returns how many; up to seven places more are overwritten.
PHALANX_AVX2 inline size_t write_bits(uint64_t x, uint32_t base, uint32_t* out) {
  const auto count = static_cast<size_t>(_mm_popcnt_u64(x));
  for (size_t i = 0; i < count; i += 8) {
    for (size_t j = i; j < i + 8; ++j) {
      out[j] = base + static_cast<uint32_t>(_tzcnt_u64(x));
      x = _blsr_u64(x);
    }
  }
  return count;
}

template <SplitPattern kPattern>
PHALANX_AVX2 size_t run(std::string_view text, size_t begin, size_t limit, std::vector<uint32_t>& ends) {
  const auto* const base = reinterpret_cast<const uint8_t*>(text.data());
  const uint8_t* const end = base + text.size();
  const uint8_t* p = base + begin;
  std::array<uint32_t, 512> buffer{};
  while (limit > 0 && p < end) {
    size_t count = 0;
    while (count < buffer.size() - kBlock && count < limit && p < end) {
      if (end - p >= kBlock && p[0] < 0x80 && p[1] < 0x80) {
        const uint64_t starts = block_starts<kPattern>(classify(p), p);
        if (starts != 0) {
          count += write_bits(starts, static_cast<uint32_t>(p - base), buffer.data() + count);
          p += 63 - std::countl_zero(starts);
          continue;
        }
      }
      p = next_piece<kPattern>(p, end);
      buffer[count++] = static_cast<uint32_t>(p - base);
    }
    count = std::min(count, limit);  // the last block may have had more
    limit -= count;
    ends.insert(ends.end(), buffer.begin(), buffer.begin() + static_cast<ptrdiff_t>(count));
    p = base + buffer[count - 1];
  }
  return static_cast<size_t>(p - base);
}

}  // namespace

bool have_avx2() {
  return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("bmi") != 0 &&
         __builtin_cpu_supports("bmi2") != 0 && __builtin_cpu_supports("popcnt") != 0;
}

size_t split_avx2(SplitPattern pattern, std::string_view text, size_t begin, size_t limit,
                  std::vector<uint32_t>& ends) {
  switch (pattern) {
    case SplitPattern::kGpt2:
      return run<SplitPattern::kGpt2>(text, begin, limit, ends);
    case SplitPattern::kCl100k:
      return run<SplitPattern::kCl100k>(text, begin, limit, ends);
    case SplitPattern::kO200k:
      return run<SplitPattern::kO200k>(text, begin, limit, ends);
    case SplitPattern::kLlama3:
      return run<SplitPattern::kLlama3>(text, begin, limit, ends);
    case SplitPattern::kQwen2:
      return run<SplitPattern::kQwen2>(text, begin, limit, ends);
    case SplitPattern::kWholeText:
      break;
  }
  PHALANX_CHECK(false, "a pattern without a scanner");
}

}  // namespace phalanx::scan

#else

namespace phalanx::scan {

bool have_avx2() {
  return false;
}

size_t split_avx2(SplitPattern, std::string_view, size_t, size_t, std::vector<uint32_t>&) {
  PHALANX_CHECK(false, "have_avx2() said no");
}

}  // namespace phalanx::scan

#endif
