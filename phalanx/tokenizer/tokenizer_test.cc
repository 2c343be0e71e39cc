#include "phalanx/tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "phalanx/base/error.h"
#include "phalanx/tokenizer/byte_tokenizer.h"
#include "phalanx/tokenizer/make_tokenizer.h"
#include "phalanx/tokenizer/null_tokenizer.h"
#include "phalanx/tokenizer/stream_decoder.h"

namespace phalanx {
namespace {

using testing::HasSubstr;

template <typename F>
std::string error_of(F action) {
  try {
    action();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kBadInput);
    return e.what();
  }
  return "(no error)";
}

std::string stream(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  StreamDecoder decoder(tokenizer);
  std::string text;
  for (const int32_t id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

TEST(ByteTokenizer, EveryByteRoundTrips) {
  const ByteTokenizer t;
  std::string all;
  for (int b = 0; b < 256; ++b) all += static_cast<char>(b);
  const std::vector<int32_t> ids = t.encode(all);
  ASSERT_EQ(ids.size(), 256u);
  for (int b = 0; b < 256; ++b) EXPECT_EQ(ids[static_cast<size_t>(b)], b);
  EXPECT_EQ(t.decode(ids), all);
  EXPECT_EQ(t.vocab_size(), 257);
  EXPECT_EQ(t.eod(), 256);
  EXPECT_EQ(t.decode(std::vector<int32_t>{104, 256, 105}), "hi");
  EXPECT_TRUE(t.encode("").empty());
  EXPECT_THAT(
      error_of([&] { t.piece(257, true); }),
      HasSubstr(
          "ByteTokenizer: got token id 257; needed 0 to 256. Fix: use the tokenizer that made these tokens"));
  EXPECT_THAT(error_of([&] { t.piece(-1, true); }), HasSubstr("token id -1"));
}

TEST(ByteTokenizer, ByteCounts) {
  const std::vector<int64_t> counts = token_byte_counts(ByteTokenizer());
  ASSERT_EQ(counts.size(), 257u);
  EXPECT_EQ(std::count(counts.begin(), counts.end(), 1), 256);
  EXPECT_EQ(counts[256], 0);
}

TEST(NullTokenizer, NumbersBetweenWhiteSpace) {
  const NullTokenizer t(100);
  EXPECT_EQ(t.encode("  3 98\n0\t7 "), (std::vector<int32_t>{3, 98, 0, 7}));
  EXPECT_TRUE(t.encode(" \n").empty());
  EXPECT_EQ(t.decode(std::vector<int32_t>{3, 99, 98, 0}), "3 98 0");
  EXPECT_EQ(t.eod(), 99);
  EXPECT_EQ(stream(t, {99, 3, 98, 0}), "3 98 0");
}

TEST(NullTokenizer, Errors) {
  const NullTokenizer t(100);
  EXPECT_THAT(error_of([&] { t.encode("3 x4"); }),
              HasSubstr("NullTokenizer: got 'x4' at byte 2 of the text; needed token ids from 0 to 98"));
  for (const char* text : {"99", "100", "-1", "1.5", "4x", "99999999999999999999", "+3"}) {
    EXPECT_THAT(error_of([&] { t.encode(text); }), HasSubstr("needed token ids from 0 to 98")) << text;
  }
  EXPECT_THAT(error_of([] { NullTokenizer{0}; }),
              HasSubstr("got vocab_size 0; needed 1 to 2147483648. Fix: set model.vocab"));
  EXPECT_EQ(NullTokenizer(int64_t{1} << 31).eod(), 2147483647);
}

TEST(MakeTokenizer, ByName) {
  EXPECT_EQ(make_tokenizer({.type = "ByteTokenizer"})->name(), "ByteTokenizer");
  EXPECT_EQ(make_tokenizer({.type = "NullTokenizer", .vocab_size = 50})->vocab_size(), 50);
}

TEST(MakeTokenizer, NamesThatAreNotHere) {
  EXPECT_THAT(
      error_of([] { make_tokenizer({.type = "BertWordPieceCase"}); }),
      HasSubstr("tokenizer_type: got 'BertWordPieceCase', which this version does not have; needed one of"));
  EXPECT_THAT(error_of([] { make_tokenizer({.type = "ByteTokeniser"}); }),
              HasSubstr("did you mean ByteTokenizer?"));
  EXPECT_THAT(error_of([] { make_tokenizer({}); }),
              HasSubstr("got ''; needed one of ByteTokenizer, NullTokenizer, GPT2BPETokenizer"));
}

TEST(MakeTokenizer, SettingsThatAreMissing) {
  EXPECT_THAT(error_of([] { make_tokenizer({.type = "HuggingFaceTokenizer"}); }),
              HasSubstr("HuggingFaceTokenizer: got no tokenizer_model; needed a path"));
  EXPECT_THAT(error_of([] { make_tokenizer({.type = "GPT2BPETokenizer", .vocab_file = "v"}); }),
              HasSubstr("GPT2BPETokenizer: got no merge_file"));
}

TEST(TextEncoder, AppendsWhatEncodeGives) {
  const ByteTokenizer t;
  const auto encoder = t.make_encoder();
  std::vector<int32_t> ids = {7};
  encoder->encode("ab", ids);
  encoder->encode("", ids);
  encoder->encode("c", ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{7, 97, 98, 99}));
  EXPECT_EQ(t.encode_with("ab", {.special = true, .add_template = true}), t.encode("ab"));
}

TEST(MakeTokenizer, SettingsThatWouldBeIgnored) {
  EXPECT_THAT(error_of([] { make_tokenizer({.type = "ByteTokenizer", .model = "x"}); }),
              HasSubstr("ByteTokenizer: got tokenizer_model 'x'; needed no such setting for this type"));
  EXPECT_THAT(
      error_of([] { make_tokenizer({.type = "NullTokenizer", .eod_token = "</s>", .vocab_size = 9}); }),
      HasSubstr("NullTokenizer: got eod_token '</s>'"));
  EXPECT_THAT(error_of([] { make_tokenizer({.type = "ByteTokenizer", .vocab_size = 300}); }),
              HasSubstr("ByteTokenizer: got vocab_size '300'"));
  EXPECT_THAT(error_of([] { make_tokenizer({.type = "ByteTokenizer", .tiktoken_pattern = "v2"}); }),
              HasSubstr("got tiktoken_pattern 'v2'"));
  EXPECT_THAT(error_of([] { make_tokenizer({.type = "ByteTokenizer", .tiktoken_num_special_tokens = 9}); }),
              HasSubstr("got tiktoken_num_special_tokens '9'"));
}

// Expected texts are Python's bytes.decode("utf-8", "replace").
TEST(ValidUtf8, ReplacesByMaximalSubparts) {
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(valid_utf8("plain \xC3\xA9 \xE2\x82\xAC \xF0\x9F\x99\x82"),
            "plain \xC3\xA9 \xE2\x82\xAC \xF0\x9F\x99\x82");
  EXPECT_EQ(valid_utf8("\xC0\x80"), r + r);                  // overlong
  EXPECT_EQ(valid_utf8("\xE0\x80\x80"), r + r + r);          // overlong
  EXPECT_EQ(valid_utf8("\xED\xA0\x80"), r + r + r);          // surrogate
  EXPECT_EQ(valid_utf8("\xF4\x90\x80\x80"), r + r + r + r);  // above U+10FFFF
  EXPECT_EQ(valid_utf8("\xF0\x9F\x99"), r);                  // cut
  EXPECT_EQ(valid_utf8("a\xF0\x9F\x99z"), "a" + r + "z");    // cut, then more
  EXPECT_EQ(valid_utf8("\xE2\x82\xE2\x82\xAC"), r + "\xE2\x82\xAC");
  EXPECT_EQ(valid_utf8("\x80\xFF"), r + r);
  EXPECT_EQ(valid_utf8("\xEF\xBF\xBF\xF4\x8F\xBF\xBF"), "\xEF\xBF\xBF\xF4\x8F\xBF\xBF");
}

TEST(StreamDecoder, WaitsForWholeCharacters) {
  const ByteTokenizer t;
  StreamDecoder decoder(t);
  EXPECT_EQ(decoder.push('a'), "a");
  EXPECT_EQ(decoder.push(0xF0), "");
  EXPECT_EQ(decoder.push(0x9F), "");
  EXPECT_EQ(decoder.push(0x99), "");
  EXPECT_EQ(decoder.push(0x82), "\xF0\x9F\x99\x82");
  EXPECT_EQ(decoder.push(ByteTokenizer::kEod), "");
  EXPECT_EQ(decoder.push(0xE2), "");
  EXPECT_EQ(decoder.push('b'),
            "\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(decoder.push(0xC3), "");
  EXPECT_EQ(decoder.finish(), "\xEF\xBF\xBD");
  EXPECT_EQ(decoder.finish(), "");
}

// Every string over bytes that sit on the borders of the UTF-8 rules, up to length 4.
TEST(StreamDecoder, EqualsDecodingAtOnce) {
  const ByteTokenizer t;
  const std::vector<int32_t> border = {'a',  0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2,
                                       0xDF, 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5, 0xFF};
  int strings = 0;
  for (const int32_t a : border) {
    for (const int32_t b : border) {
      for (const int32_t c : border) {
        for (const int32_t d : border) {
          const std::vector<int32_t> ids = {a, b, c, d};
          const std::string once = valid_utf8(t.decode(ids));
          ASSERT_EQ(stream(t, ids), once);
          ASSERT_EQ(valid_utf8(once), once);  // the result is valid
          ++strings;
        }
      }
    }
  }
  EXPECT_EQ(strings, 20 * 20 * 20 * 20);
}

TEST(StreamDecoderFuzz, RandomBytesAreAlwaysValidAndComplete) {
  const ByteTokenizer t;
  std::mt19937 random(5);
  for (int round = 0; round < 20000; ++round) {
    std::vector<int32_t> ids(random() % 40);
    for (int32_t& id : ids) id = static_cast<int32_t>(random() % 257);
    const std::string text = stream(t, ids);
    ASSERT_EQ(text, valid_utf8(t.decode(ids)));
    ASSERT_EQ(valid_utf8(text), text);
  }
}

}  // namespace
}  // namespace phalanx
