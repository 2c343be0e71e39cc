// Writes phalanx/tokenizer/unicode_class_table.cc, to standard output, from utf8proc and unicode_newer.h.
//
//   g++ -std=c++20 -I. tools/make_unicode_classes.cc -lutf8proc -o /tmp/make && /tmp/make > phalanx/tokenizer/unicode_class_table.cc
//
// unicode_class_test compares the written table with both on every code point.
#include <utf8proc.h>

#include <array>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <map>
#include <vector>

#include "phalanx/tokenizer/unicode_class.h"
#include "phalanx/tokenizer/unicode_newer.h"

namespace {

using phalanx::UnicodeClass;
using Block = std::array<uint64_t, 8>;

// The property White_Space, which utf8proc does not carry (PropList.txt).
bool is_white_space(uint32_t c) {
  return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

UnicodeClass class_of(uint32_t c) {
  if (is_white_space(c)) return UnicodeClass::kSpace;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return UnicodeClass::kNumber;
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT:
      return UnicodeClass::kUpper;
    case UTF8PROC_CATEGORY_LL:
      return UnicodeClass::kLower;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return UnicodeClass::kCaseless;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
      return UnicodeClass::kMark;
    case UTF8PROC_CATEGORY_CN:
      for (const auto& range : phalanx::kNewerRanges) {
        if (c >= range.first && c <= range.last) return range.kind;
      }
      return UnicodeClass::kOther;
    default:
      return UnicodeClass::kOther;
  }
}

}  // namespace

int main() {
  std::map<Block, size_t> number_of;
  std::vector<Block> blocks;
  std::vector<size_t> order;
  for (uint32_t base = 0; base < 0x110000; base += 128) {
    Block block{};
    for (uint32_t i = 0; i < 128; ++i) {
      block[i / 16] |= static_cast<uint64_t>(class_of(base + i)) << (4 * (i % 16));
    }
    const auto [place, is_new] = number_of.try_emplace(block, blocks.size());
    if (is_new) blocks.push_back(block);
    order.push_back(place->second);
  }
  std::printf(
      "// Written by tools/make_unicode_classes.cc. %zu different blocks.\n#include "
      "\"phalanx/tokenizer/unicode_class.h\"\n\nnamespace phalanx {\n\n// clang-format off\n"
      "const std::array<uint8_t, kClassBlocks> kClassBlockOf = {\n",
      blocks.size());
  for (size_t i = 0; i < order.size(); ++i) std::printf("%zu,%s", order[i], i % 100 == 99 ? "\n" : "");
  std::printf("\n};\nconst std::array<uint64_t, kDistinctClassBlocks * 8> kClassNibbles = {\n");
  for (const Block& block : blocks) {
    for (const uint64_t sixteen : block) std::printf("0x%" PRIx64 ",", sixteen);
    std::printf("\n");
  }
  std::printf("};\n// clang-format on\n\n}  // namespace phalanx\n");
  return 0;
}
