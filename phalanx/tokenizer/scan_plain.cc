#include "phalanx/tokenizer/scan_plain.h"

#include "phalanx/base/error.h"
#include "phalanx/tokenizer/scan.h"

namespace phalanx::scan {
namespace {

template <SplitPattern kPattern>
size_t run(std::string_view text, size_t begin, size_t limit, std::vector<uint32_t>& ends) {
  const auto* const base = reinterpret_cast<const uint8_t*>(text.data());
  const uint8_t* const end = base + text.size();
  const uint8_t* p = base + begin;
  for (size_t i = 0; i < limit && p < end; ++i) {
    p = next_piece<kPattern>(p, end);
    ends.push_back(static_cast<uint32_t>(p - base));
  }
  return static_cast<size_t>(p - base);
}

}  // namespace

size_t split_plain(SplitPattern pattern, std::string_view text, size_t begin, size_t limit,
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
