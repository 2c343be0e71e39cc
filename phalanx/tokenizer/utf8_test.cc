#include "phalanx/tokenizer/utf8.h"

#include <gtest/gtest.h>
#include <utf8proc.h>

#include <random>

#include "phalanx/tokenizer/stream_decoder.h"

namespace phalanx {
namespace {

std::string utf8(char32_t c) {
  std::string out(4, '\0');
  out.resize(static_cast<size_t>(utf8proc_encode_char(static_cast<utf8proc_int32_t>(c),
                                                      reinterpret_cast<utf8proc_uint8_t*>(out.data()))));
  return out;
}

std::string compose(const std::string& text) {
  return to_nfc(text).value_or(text);
}

// Every string of up to four bytes from the borders of the rules, against the decoder that replaces what is wrong.
TEST(IsUtf8, EqualsTheReplacingDecoder) {
  const std::string border = "a\x7F\x80\x8F\x90\x9F\xA0\xBF\xC1\xC2\xDF\xE0\xE1\xED\xEF\xF0\xF1\xF4\xF5\xFF";
  int valid = 0;
  for (size_t i = 0; i < 20 * 20 * 20 * 20; ++i) {
    const std::string text = {border[i % 20], border[i / 20 % 20], border[i / 400 % 20], border[i / 8000]};
    for (size_t size = 1; size <= 4; ++size) {
      const std::string_view part = std::string_view(text).substr(0, size);
      ASSERT_EQ(is_utf8(part), valid_utf8(part) == part) << i << " " << size;
      valid += is_utf8(part) ? 1 : 0;
    }
  }
  EXPECT_GT(valid, 1000);
  EXPECT_TRUE(is_utf8(""));
}

// The wide loop over ASCII: one wrong byte anywhere is seen.
TEST(IsUtf8, SeesEveryPlace) {
  for (size_t size = 1; size < 100; ++size) {
    std::string text(size, 'x');
    ASSERT_TRUE(is_utf8(text));
    for (size_t at = 0; at < size; ++at) {
      text[at] = '\x80';
      ASSERT_FALSE(is_utf8(text)) << size << " " << at;
      text[at] = 'x';
    }
  }
}

TEST(Utf8Char, BothDirections) {
  for (const char32_t c :
       {U'a', U'\u007f', U'\u0080', U'\u07ff', U'\u0800', U'\uffff', U'\U00010000', U'\U0010ffff'}) {
    const std::string text = "x" + utf8(c) + "y";
    EXPECT_EQ(utf8_char_at(text, 1).c, c);
    EXPECT_EQ(utf8_char_at(text, 1).size, text.size() - 2);
    EXPECT_EQ(utf8_char_before(text, text.size() - 1).c, c);
  }
}

TEST(ToNfc, Composes) {
  EXPECT_EQ(to_nfc("plain \u00e9 日本語 한국어 Привет 🙂"), std::nullopt);
  EXPECT_EQ(to_nfc("e\u0301"), "\u00e9");
  EXPECT_EQ(to_nfc("\u1112\u1161\u11ab"), "\ud55c");
  EXPECT_EQ(to_nfc("\u212b\u0958"), "\u00c5\u0915\u093c");
  EXPECT_EQ(to_nfc("a\u0301\u0316"), "\u00e1\u0316");
  EXPECT_EQ(to_nfc("x\u0316\u0301"), std::nullopt);  // nothing to compose, already in order
  // U+1ABF is of Unicode 13: Hugging Face does not move the U+0334, of a lower class, before it.
  EXPECT_EQ(to_nfc("a\u1abf\u0334"), std::nullopt);
  EXPECT_EQ(to_nfc("a\u0323\u0334e\u0301\u1abf\u0334e\u0301"), "\u1ea1\u0334\u00e9\u1abf\u0334\u00e9");
  EXPECT_EQ(to_nfc("\U00011935\U00011930"), std::nullopt);
  const std::string with_nul("a\0e\u0301", 5);
  EXPECT_EQ(to_nfc(with_nul), std::string("a\0\u00e9", 4));
}

// A character that is passed over must be what utf8proc leaves alone: by itself, and after a character that could take
// it in, be it a letter, a jamo or a syllable.
TEST(ToNfc, PassesOverOnlyWhatNeverChanges) {
  int alone = 0;
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (!nfc_leaves_alone(c) || (c >= 0xD800 && c < 0xE000)) continue;
    ++alone;
    const auto* property = utf8proc_get_property(static_cast<utf8proc_int32_t>(c));
    ASSERT_EQ(property->combining_class, 0) << static_cast<uint32_t>(c);
    for (const char* before :
         {"", "a", "\u1100", "\uac00", "\u0928", "\u09c7", "\u0627", "\u03b1", "\u30ab"}) {
      // The mark behind makes to_nfc ask utf8proc; it joins nothing.
      const std::string text = std::string(before) + utf8(c) + "\u0334";
      ASSERT_EQ(compose(text), text) << static_cast<uint32_t>(c) << " after " << before;
    }
  }
  EXPECT_GT(alone, 40000);
}

}  // namespace
}  // namespace phalanx
