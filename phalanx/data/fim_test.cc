#include "phalanx/data/fim.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;

constexpr int64_t kPrefix = 1000, kMiddle = 1001, kSuffix = 1002, kPad = 1003, kEod = 1004, kSplit = 1005;

// Bytes, and special tokens above them that decode to nothing, as the interface asks.
class TestTokenizer : public Tokenizer {
 public:
  std::string name() const override { return "TestTokenizer"; }
  int64_t vocab_size() const override { return 1010; }
  std::optional<int32_t> eod() const override { return static_cast<int32_t>(kEod); }
  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(static_cast<uint8_t>(c));
    return ids;
  }
  std::vector<int32_t> encode_with(std::string_view text, const EncodeOptions& options) const override {
    if (options.special && text == "<fim_prefix>") return {static_cast<int32_t>(kPrefix)};
    return encode(text);
  }
  std::string piece(int32_t id, bool) const override {
    return id < 256 ? std::string(1, static_cast<char>(id)) : "";
  }
};

std::vector<int64_t> tokens_of(const std::string& text) {
  std::vector<int64_t> tokens;
  for (const char c : text) {
    tokens.push_back(c == '|' ? kEod : c == '/' ? kSplit : static_cast<uint8_t>(c));
  }
  return tokens;
}

std::string text_of(std::span<const int64_t> tokens) {
  std::string text;
  for (const int64_t t : tokens) {
    const std::string special = "PMS_|/";
    text += t >= 1000 ? special[static_cast<size_t>(t - 1000)] : static_cast<char>(t);
  }
  return text;
}

struct Made {
  std::string text;
  std::vector<uint8_t> mask;
};

class FimTest : public testing::Test {
 protected:
  // With `room` more places for the tokens that turning adds.
  Made make(std::string text, int64_t sample, size_t room = 0) const {
    std::vector<int64_t> tokens = tokens_of(text);
    const FillInTheMiddle fim(tokenizer_, options_);
    // Fill stands where the added tokens go: an empty document of end tokens does not move.
    for (size_t i = 0; i < room; ++i) tokens.push_back(kEod);
    std::vector<uint8_t> mask(tokens.size() - 1, 1);
    fim.apply(sample, tokens, mask);
    return {text_of(tokens), mask};
  }

  TestTokenizer tokenizer_;
  FimOptions options_{.rate = 1.0,
                      .spm_rate = 0.0,
                      .prefix = kPrefix,
                      .middle = kMiddle,
                      .suffix = kSuffix,
                      .pad = kPad,
                      .eod = kEod,
                      .seed = 7};
};

// The text that a turned piece was: prefix, middle, suffix put back.
std::string put_back(const std::string& turned, bool suffix_first) {
  const size_t s = turned.find('S'), m = turned.find('M');
  EXPECT_EQ(turned.find('P'), 0u);
  EXPECT_NE(s, std::string::npos);
  EXPECT_NE(m, std::string::npos);
  if (suffix_first) {
    EXPECT_EQ(s, 1u);
    return turned.substr(m + 1) + turned.substr(2, m - 2);
  }
  return turned.substr(1, s - 1) + turned.substr(m + 1) + turned.substr(s + 1, m - s - 1);
}

TEST_F(FimTest, EveryPieceComesBack) {
  const std::string text = "the quick brown fox";
  for (const bool suffix_first : {false, true}) {
    options_.spm_rate = suffix_first ? 1.0 : 0.0;
    std::vector<size_t> middles;
    for (int64_t sample = 0; sample < 300; ++sample) {
      const std::string turned = make(text, sample, 3).text.substr(0, text.size() + 3);
      ASSERT_EQ(put_back(turned, suffix_first), text);
      if (!suffix_first) middles.push_back(turned.size() - 1 - turned.find('M'));
    }
    if (suffix_first) continue;
    // Two uniform cuts of n + 1 places lie a third of the text apart on average.
    const double mean =
        static_cast<double>(std::accumulate(middles.begin(), middles.end(), size_t{0})) / 300.0;
    EXPECT_NEAR(mean, 20.0 / 3, 1.0);
    EXPECT_EQ(std::count(middles.begin(), middles.end(), text.size()) > 0, true) << "the ends are places too";
  }
}

TEST_F(FimTest, RatesAreShares) {
  options_.rate = 0.3;
  options_.spm_rate = 0.25;
  int turned = 0, suffix_first = 0;
  for (int64_t sample = 0; sample < 4000; ++sample) {
    const std::string text = make("abcdefgh", sample, 3).text;
    if (text[0] != 'P') {
      ASSERT_EQ(text, "abcdefgh|||");
      continue;
    }
    ++turned;
    // A prefix of nothing looks the same in both orders: P S suffix M middle.
    suffix_first += text[1] == 'S' ? 1 : 0;
  }
  EXPECT_NEAR(turned, 1200, 90);
  // 1/4 of them, and the share of the others whose first cut is 0: 17 of 81 pairs.
  EXPECT_NEAR(suffix_first, turned * (0.25 + 0.75 * 17 / 81), 60);
  options_.rate = 0;
  EXPECT_EQ(make("abcdefgh", 5).text, "abcdefgh");
}

TEST_F(FimTest, ASampleIsAFunctionOfItsNumber) {
  const Made once = make("some text in a sample|and more", 41, 6);
  for (int64_t sample = 0; sample < 41; ++sample) make("something else", sample);
  EXPECT_EQ(make("some text in a sample|and more", 41, 6).text, once.text);
  EXPECT_NE(make("some text in a sample|and more", 42, 6).text, once.text);
  options_.part = 1;
  EXPECT_NE(make("some text in a sample|and more", 41, 6).text, once.text);
  options_.part = 0;
  options_.seed = 8;
  EXPECT_NE(make("some text in a sample|and more", 41, 6).text, once.text);
}

// Frozen: a resume of a run made earlier reads these.
TEST_F(FimTest, KnownSample) {
  options_.rate = 0.5;
  options_.spm_rate = 0.5;
  std::vector<std::string> made;
  for (int64_t sample = 0; sample < 6; ++sample) made.push_back(make("abcdefghij|klm", sample, 6).text);
  EXPECT_THAT(made, ElementsAre("abcdefghij|klm||||||", "abcdefghij|PklmSM|||", "PabShijMcdefg|PSlmMk",
                                "abcdefghij|PSlmMk|||", "abcdefghij|PSMklm|||", "PabcSghijMdef|PSlmMk"));
}

TEST_F(FimTest, DocumentsAreTurnedApartAndEmptyOnesStay) {
  const std::string made = make("|abc||defgh|", 3, 6).text;
  ASSERT_EQ(made.size(), 18u);
  EXPECT_EQ(made[0], '|');
  EXPECT_EQ(put_back(made.substr(1, 6), false), "abc");
  EXPECT_EQ(made.substr(7, 2), "||");
  EXPECT_EQ(put_back(made.substr(9, 8), false), "defgh");
  EXPECT_EQ(made[17], '|');
}

TEST_F(FimTest, TheSampleKeepsItsLength) {
  EXPECT_EQ(make("abcdefgh", 1).text.size(), 8u);
  EXPECT_THAT(make("abcdefgh", 1).mask, ElementsAre(1, 1, 1, 1, 1, 1, 1));
}

// Decoding drops special tokens, so that a piece can become shorter: the rest is fill, which does not count.
TEST_F(FimTest, FillIsMasked) {
  const std::vector<int64_t> piece = {97, 1006, 1006, 1006, 1006, 1006, 98};
  std::vector<int64_t> tokens = piece;
  std::vector<uint8_t> mask(6, 1);
  FillInTheMiddle(tokenizer_, options_).apply(2, tokens, mask);
  EXPECT_EQ(put_back(text_of(std::span(tokens).first(5)), false), "ab");
  EXPECT_EQ(text_of(std::span(tokens).subspan(5)), "__");
  EXPECT_THAT(mask, ElementsAre(1, 1, 1, 1, 0, 0));
}

TEST_F(FimTest, FragmentsOfADocument) {
  options_.split_token = kSplit;
  options_.fragment_rate = 1.0;
  const std::string made = make("abcd/efg//|xyz", 9, 9).text;
  EXPECT_EQ(put_back(made.substr(0, 7), false), "abcd");
  EXPECT_EQ(made[7], '/');
  EXPECT_EQ(put_back(made.substr(8, 6), false), "efg");
  EXPECT_EQ(made.substr(14, 3), "//|");
  EXPECT_EQ(put_back(made.substr(17, 6), false), "xyz")
      << "a document without the split token is turned whole";
  options_.fragment_rate = 0.0;
  EXPECT_EQ(make("abcd/efg", 9).text, "abcd/efg");
  options_.fragment_rate = 1.0;
  options_.rate = 0.0;
  EXPECT_EQ(make("abcd/efg", 9).text, "abcd/efg") << "the document is drawn first";
}

TEST_F(FimTest, WhatStartsWithNoPrefixStays) {
  options_.no_prefix = "#!";
  EXPECT_EQ(make("#!script", 4).text, "#!script");
  EXPECT_EQ(make("script", 4, 3).text[0], 'P');
}

TEST_F(FimTest, CutsFallBetweenCharacters) {
  const std::string text = "aé漢😀ü";
  for (int64_t sample = 0; sample < 200; ++sample) {
    const std::string made = make(text, sample, 3).text.substr(0, text.size() + 3);
    for (size_t i = 0; i + 1 < made.size(); ++i) {
      const bool mark = made[i] == 'P' || made[i] == 'S' || made[i] == 'M';
      if (mark) {
        ASSERT_NE(static_cast<uint8_t>(made[i + 1]) & 0xc0, 0x80) << made;
      }
    }
    ASSERT_EQ(put_back(made, false), text);
  }
}

TEST_F(FimTest, Options) {
  DataConfig config;
  const auto error_of = [&](const std::function<void(DataConfig&)>& change) -> std::string {
    DataConfig changed = config;
    changed.fim_middle_token = "1001";
    changed.fim_suffix_token = "1002";
    changed.fim_pad_token = "1003";
    changed.fim_eod_token = "1004";
    change(changed);
    try {
      const FimOptions o = fim_options(changed, tokenizer_, 5, 2);
      EXPECT_EQ(o.prefix, kPrefix);
      EXPECT_EQ(o.middle, kMiddle);
      EXPECT_EQ(o.suffix, kSuffix);
      EXPECT_EQ(o.pad, kPad);
      EXPECT_EQ(o.eod, kEod);
      EXPECT_EQ(o.seed, 5u);
      EXPECT_EQ(o.part, 2);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kBadInput);
      return e.what();
    }
    return "(no error)";
  };
  EXPECT_EQ(error_of([](DataConfig&) {}), "(no error)");
  EXPECT_THAT(error_of([](DataConfig& c) { c.fim_rate = 1.5; }),
              HasSubstr("data.fim_rate: got 1.5; needed a share in [0, 1]"));
  EXPECT_THAT(error_of([](DataConfig& c) { c.fim_spm_rate = std::nan(""); }),
              HasSubstr("data.fim_spm_rate: got nan"));
  EXPECT_THAT(error_of([](DataConfig& c) { c.fim_split_sample = "1005"; }),
              HasSubstr("data.fim_split_sample: got no data.fim_fragment_rate"));
  EXPECT_THAT(error_of([](DataConfig& c) {
                c.fim_split_sample = "1005";
                c.fim_fragment_rate = -1;
              }),
              HasSubstr("data.fim_fragment_rate: got -1"));
  EXPECT_THAT(
      error_of([](DataConfig& c) { c.fim_middle_token = "<fim_middle>"; }),
      HasSubstr("data.fim_middle_token: got '<fim_middle>', which is 12 tokens of TestTokenizer; needed one "
                "token"));
  EXPECT_THAT(error_of([](DataConfig& c) { c.fim_pad_token = "1010"; }),
              HasSubstr("data.fim_pad_token: got token id 1010; needed an id below 1010"));
  EXPECT_THAT(error_of([](DataConfig& c) { c.fim_eod_token = ""; }), HasSubstr("data.fim_eod_token: got ''"));
}

}  // namespace
}  // namespace phalanx
