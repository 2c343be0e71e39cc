#include "phalanx/tokenizer/split_steps.h"

#include <limits>

#include "phalanx/tokenizer/unicode_class.h"
#include "phalanx/tokenizer/utf8.h"

namespace phalanx {
namespace {

// Numbers of every kind (categories Nd, Nl, No) count as digits.
void split_digits(std::string_view text, bool every, std::vector<uint32_t>& ends) {
  bool before = false;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char next = utf8_char_at(text, at);
    const bool digit = unicode_class(next.c) == UnicodeClass::kNumber;
    if (at > 0 && (digit != before || (digit && every))) ends.push_back(static_cast<uint32_t>(at));
    before = digit;
    at += next.size;
  }
  ends.push_back(static_cast<uint32_t>(text.size()));
}

}  // namespace

std::optional<SplitPattern> single_pattern(const BpeSpec& spec) {
  if (spec.digits != 0 || spec.splits.size() > 1) return std::nullopt;
  return spec.splits.empty() ? SplitPattern::kWholeText : spec.splits[0];
}

void split_in_steps(const BpeSpec& spec, std::string_view text, std::vector<uint32_t>& ends) {
  if (text.empty()) return;
  std::vector<uint32_t> pieces = {static_cast<uint32_t>(text.size())};
  std::vector<uint32_t> finer, inside;
  const auto refine = [&](auto split) {
    finer.clear();
    size_t begin = 0;
    for (const uint32_t end : pieces) {
      inside.clear();
      split(text.substr(begin, end - begin), inside);
      for (const uint32_t cut : inside) finer.push_back(static_cast<uint32_t>(begin + cut));
      begin = end;
    }
    pieces.swap(finer);
  };
  for (size_t step = 0; step <= spec.splits.size(); ++step) {
    if (spec.digits != 0 && step == spec.digits_at) {
      refine([&](std::string_view piece, auto& out) { split_digits(piece, spec.digits == 2, out); });
    }
    if (step == spec.splits.size()) break;
    refine([&](std::string_view piece, auto& out) {
      split_pieces(spec.splits[step], piece, 0, std::numeric_limits<size_t>::max(), out);
    });
  }
  ends.insert(ends.end(), pieces.begin(), pieces.end());
}

}  // namespace phalanx
