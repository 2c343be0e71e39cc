#include "phalanx/tokenizer/unicode_class.h"

#include <gtest/gtest.h>
#include <utf8proc.h>

#include "phalanx/base/json.h"
#include "phalanx/tokenizer/test_regex.h"
#include "phalanx/tokenizer/unicode_newer.h"

namespace phalanx {
namespace {

using test::has_property;

UnicodeClass slow_class(char32_t c) {
  if (has_property(c, "s")) return UnicodeClass::kSpace;
  if (has_property(c, "N")) return UnicodeClass::kNumber;
  if (has_property(c, "Lu") || has_property(c, "Lt")) return UnicodeClass::kUpper;
  if (has_property(c, "Ll")) return UnicodeClass::kLower;
  if (has_property(c, "L")) return UnicodeClass::kCaseless;
  if (has_property(c, "M")) return UnicodeClass::kMark;
  return UnicodeClass::kOther;
}

TEST(UnicodeClass, EveryCodePointIsWhatUtf8procAndTheNewerRangesSay) {
  size_t assigned = 0;
  for (char32_t c = 0; c < 0x110000; ++c) {
    const bool known = utf8proc_category(static_cast<utf8proc_int32_t>(c)) != UTF8PROC_CATEGORY_CN;
    const UnicodeClass kind = unicode_class(c);
    assigned += known ? 1 : 0;
    // A newer utf8proc may know what Unicode 16.0 does not; it may not know a character otherwise than we do.
    const bool frozen =
        known && kind == UnicodeClass::kOther && std::string_view(utf8proc_unicode_version()) > "16.0.0";
    ASSERT_TRUE(kind == slow_class(c) || frozen) << std::hex << static_cast<uint32_t>(c);
  }
  EXPECT_GT(assigned, 280000U);
}

TEST(UnicodeClass, EveryCodePointIsWhatHuggingFaceAndTiktokenSay) {
  const Json ranges = read_json_file(PHALANX_SOURCE_DIR "/tests/fixtures/pretokenizer/classes.json");
  ASSERT_GT(ranges.size(), 3000U);
  for (size_t i = 0; i < ranges.size(); ++i) {
    const auto first = ranges[i][0].get<uint32_t>();
    const uint32_t end = i + 1 < ranges.size() ? ranges[i + 1][0].get<uint32_t>() : 0x110000;
    for (uint32_t c = first; c < end; ++c) {
      ASSERT_EQ(static_cast<int>(unicode_class(c)), ranges[i][1].get<int>()) << std::hex << c;
    }
  }
}

TEST(UnicodeClass, NewerRangesAreSortedAndNumber5055) {
  uint32_t total = 0;
  uint32_t before = 0;
  for (const NewerRange& range : kNewerRanges) {
    EXPECT_GT(range.first, before);
    EXPECT_GE(range.last, range.first);
    before = range.last;
    total += range.last - range.first + 1;
  }
  EXPECT_EQ(total, 5055U);
}

TEST(UnicodeClass, NumbersBeyondUnicodeAreOther) {
  EXPECT_EQ(unicode_class(0x110000), UnicodeClass::kOther);
  EXPECT_EQ(unicode_class(0xFFFFFFFF), UnicodeClass::kOther);
}

}  // namespace
}  // namespace phalanx
