#include "phalanx/tokenizer/pretokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>

#include "phalanx/base/json.h"
#include "phalanx/tokenizer/scan.h"
#include "phalanx/tokenizer/test_regex.h"

namespace phalanx {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Ends = std::vector<uint32_t>;

constexpr size_t kAll = ~size_t{0};
const std::map<std::string, SplitPattern> kNames{{"gpt2", SplitPattern::kGpt2},
                                                 {"cl100k", SplitPattern::kCl100k},
                                                 {"o200k", SplitPattern::kO200k},
                                                 {"llama3", SplitPattern::kLlama3},
                                                 {"qwen2", SplitPattern::kQwen2}};

Ends split(SplitPattern pattern, std::string_view text, size_t limit = kAll) {
  Ends ends;
  for (size_t at = 0; at < text.size();) {
    const size_t had = ends.size();
    const size_t next = split_pieces(pattern, text, at, limit, ends);
    EXPECT_GT(next, at);
    EXPECT_EQ(next, ends.back());
    EXPECT_LE(ends.size() - had, limit);
    if (next <= at) break;
    at = next;
  }
  return ends;
}

Ends split_by(decltype(scan::split_plain)& way, SplitPattern pattern, std::string_view text) {
  Ends ends;
  EXPECT_EQ(way(pattern, text, 0, kAll, ends), text.size());
  return ends;
}

std::vector<std::string> pieces(SplitPattern pattern, std::string_view text) {
  std::vector<std::string> all;
  uint32_t begin = 0;
  for (const uint32_t end : split(pattern, text)) {
    all.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  return all;
}

void append_utf8(std::string& out, char32_t c) {
  const auto tail = [&](int shift) { out += static_cast<char>(0x80 | ((c >> shift) & 0x3F)); };
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | (c >> 6));
    tail(0);
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | (c >> 12));
    tail(6);
    tail(0);
  } else {
    out += static_cast<char>(0xF0 | (c >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

std::string utf8(std::u32string_view text) {
  std::string out;
  for (const char32_t c : text) append_utf8(out, c);
  return out;
}

TEST(Pretokenizer, Gpt2) {
  const auto p = [](std::string_view text) { return pieces(SplitPattern::kGpt2, text); };
  EXPECT_THAT(p("Hello world, it's  2024!"),
              ElementsAre("Hello", " world", ",", " it", "'s", " ", " 2024", "!"));
  EXPECT_THAT(p("''s 'tis '"), ElementsAre("''", "s", " '", "tis", " '"));
  EXPECT_THAT(p("we'll'LL"), ElementsAre("we", "'ll", "'", "LL"));
  EXPECT_THAT(p("'sabc"), ElementsAre("'s", "abc"));
  EXPECT_THAT(p("a\n\nb \t c\t"), ElementsAre("a", "\n", "\n", "b", " \t", " c", "\t"));
  EXPECT_THAT(p("e\u0301t\u00E9\u00A0x"), ElementsAre("e", "\u0301", "t\u00E9", "\u00A0", "x"));
}

TEST(Pretokenizer, LaterPatterns) {
  EXPECT_THAT(pieces(SplitPattern::kLlama3, "12345 (a)\n\n  b\tc IT'S it'\u017Fs\n "),
              ElementsAre("123", "45", " (", "a", ")\n\n", " ", " b", "\tc", " IT", "'S", " it", "'\u017F",
                          "s", "\n", " "));
  EXPECT_THAT(pieces(SplitPattern::kQwen2, "12 (x)"), ElementsAre("1", "2", " (", "x", ")"));
  EXPECT_THAT(pieces(SplitPattern::kCl100k, "a\n b\n "), ElementsAre("a", "\n", " b", "\n "));
  EXPECT_THAT(pieces(SplitPattern::kO200k, "camelCase HTMLElement it's's;\n// x"),
              ElementsAre("camel", "Case", " HTMLElement", " it's", "'s", ";\n//", " x"));
  EXPECT_THAT(pieces(SplitPattern::kO200k, "\u4F60AB \u0301A \u0301's"),
              ElementsAre("\u4F60", "AB", " \u0301", "A", " \u0301's"));
}

TEST(Pretokenizer, TheWholeTextIsOnePiece) {
  EXPECT_THAT(split(SplitPattern::kWholeText, "a b c"), ElementsAre(5));
  EXPECT_THAT(split(SplitPattern::kWholeText, "a b c", 1), ElementsAre(5));
}

TEST(Pretokenizer, NothingToDo) {
  for (const SplitPattern pattern : {SplitPattern::kWholeText, SplitPattern::kGpt2, SplitPattern::kO200k}) {
    Ends ends;
    EXPECT_EQ(split_pieces(pattern, "", 0, kAll, ends), 0U);
    EXPECT_EQ(split_pieces(pattern, "ab c", 4, kAll, ends), 4U);
    EXPECT_EQ(split_pieces(pattern, "ab c", 1, 0, ends), 1U);
    EXPECT_THAT(ends, IsEmpty());
    EXPECT_EQ(split_pieces(pattern, "ab c", 2, kAll, ends), 4U);
    EXPECT_THAT(ends, ElementsAre(4));
  }
}

TEST(Pretokenizer, FindsPatternsAsOthersSpellThem) {
  const Json cases = read_json_file(PHALANX_SOURCE_DIR "/tests/fixtures/pretokenizer/cases.json");
  ASSERT_GE(cases["spellings"].size(), 8U);
  for (const Json& spelling : cases["spellings"]) {
    const SplitPattern pattern = kNames.at(spelling[0].get<std::string>());
    const auto regex = spelling[2].get<std::string>();
    EXPECT_EQ(find_pattern(regex, RegexReader::kTiktoken), pattern) << regex;
    const bool both = spelling[1] == "both";
    EXPECT_EQ(find_pattern(regex), both ? std::optional(pattern) : std::nullopt) << regex;
    EXPECT_EQ(find_pattern(regex + "|x"), std::nullopt);
  }
  EXPECT_EQ(find_pattern(""), std::nullopt);
}

TEST(Pretokenizer, PatternRegexIsFoundAgain) {
  for (const auto& [name, pattern] : kNames) {
    EXPECT_EQ(find_pattern(pattern_regex(pattern)), pattern) << name;
    EXPECT_EQ(find_pattern(pattern_regex(pattern), RegexReader::kTiktoken), pattern) << name;
  }
  EXPECT_EQ(pattern_regex(SplitPattern::kWholeText), "");
}

TEST(Pretokenizer, CutsAsHuggingFaceAndTiktoken) {
  const Json cases = read_json_file(PHALANX_SOURCE_DIR "/tests/fixtures/pretokenizer/cases.json");
  const Json& strings = cases["strings"];
  ASSERT_GT(strings.size(), 1000U);
  for (const auto& [name, pattern] : kNames) {
    const Json& sizes = cases["sizes"][name];
    ASSERT_EQ(sizes.size(), strings.size());
    for (size_t i = 0; i < strings.size(); ++i) {
      const auto text = strings[i].get<std::string>();
      Ends expected;
      for (const Json& size : sizes[i]) {
        expected.push_back((expected.empty() ? 0 : expected.back()) + size.get<uint32_t>());
      }
      ASSERT_EQ(split_by(scan::split_plain, pattern, text), expected) << name << ": " << text;
      for (const size_t limit : {kAll, size_t{1}, size_t{2}, size_t{7}}) {
        ASSERT_EQ(split(pattern, text, limit), expected) << name << ", " << limit << " at a time: " << text;
      }
    }
  }
}

// What two neighbours decide, at every place of a 64-byte block and with every text around it.
TEST(Pretokenizer, BlocksCutAsThePlainScannerWhereverTheyEnd) {
  if (!scan::have_avx2()) GTEST_SKIP() << "this processor has no AVX2";
  const std::vector<std::string> middles{"don't",       "it's's's",       "we'LL go",    "'",
                                         "''s",         "\n   x",         " \n \n  y",   ")\n/(",
                                         ")\n\n/\n/ab", "12345678",       " (a ((b",     "aBcDE",
                                         "\r\n\tz",     "we'lLx",         "x'r",         "\xC3\xA9t\xC3\xA9",
                                         "it'\xC5\xBF", " \xE2\x80\xA8 ", "\n \xC2\xA0x"};
  for (const std::string around : {"a", " ", "\n", "1", "(", "'", "A", "aB ", "\n  "}) {
    for (const std::string& middle : middles) {
      for (size_t before = 0; before < 70; ++before) {
        std::string text;
        while (text.size() < before) text += around;
        text.resize(before);
        text += middle;
        while (text.size() < before + 140) text += around;
        for (const auto& [name, pattern] : kNames) {
          ASSERT_EQ(split_by(scan::split_avx2, pattern, text), split_by(scan::split_plain, pattern, text))
              << name << " after " << before << " bytes: " << text;
        }
      }
    }
  }
}

// A quadratic scanner would need many minutes.
TEST(Pretokenizer, LongRunsTakeLinearTime) {
  const auto begin = std::chrono::steady_clock::now();
  for (const std::string unit :
       {"a", "A", "1", " ", "\n", "\t", " \n", "(", "'", "'s", ")\n", "/\n", "\u4F60A", "\u0301", "\u0301A",
        "A\u0301", "\u00A0", "\xE2\x80\xA8 ", "\U0001F600"}) {
    std::string text;
    while (text.size() < 300000) text += unit;
    for (const auto& [name, pattern] : kNames) {
      const Ends whole = split(pattern, text);
      ASSERT_EQ(whole.back(), text.size());
      ASSERT_EQ(split(pattern, text, 1), whole) << name << ": " << unit;
      ASSERT_EQ(split_by(scan::split_plain, pattern, text), whole) << name << ": " << unit;
    }
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(60));
}

// The shapes of text that patterns tell apart; from any of them to any other.
std::u32string random_text(std::mt19937_64& random) {
  static const std::vector<std::u32string> kPools{
      U" \n\r\t\v\f\x85\xA0\u1680\u2003\u2028\u3000\u180E\uFEFF\u200B\x1C\x1F",
      U"      \n\n",
      U"abcdefghijklmnopqrstuvwxyz",
      U"'''srtvemld",
      U"ABCDELMSTRV",
      U"0123456789\u0663\u216B\u00BD",
      U"!\"#()*+,-./:;<=>?@[]^_{}~\u2014\u2019",
      U"\u00E9\u00C9\u00DF\u0436\u0416\u01C5\u0131\u0130\u017F\u212A",
      U"\u4F60\u597D\u30AB\uD55C\u02B0\u00AA",
      U"\u0301\u0308\u20DD\u093E\uFE0F\u200D\u0897",
      U"\U0001F600\U0001F1E9\U0001F469\U0001D7D8\U00013460\U000E0067",
      U"/\n\r'"};
  const auto pick = [&](size_t n) { return static_cast<size_t>(random() % n); };
  std::u32string text;
  const size_t runs = 1 + pick(40);
  const size_t pools = pick(4) == 0 ? 2 : kPools.size();  // some texts are of two kinds only
  const size_t shift = pick(kPools.size());
  for (size_t i = 0; i < runs; ++i) {
    const std::u32string& pool = kPools[(shift + pick(pools)) % kPools.size()];
    const size_t length = pick(30) == 0 ? 60 + pick(10) : 1 + pick(4);
    for (size_t k = 0; k < length; ++k) text += pool[pick(pool.size())];
    if (pick(200) == 0) text += static_cast<char32_t>(0xE000 + pick(0x110000 - 0xE000));
  }
  return text;
}

TEST(PretokenizerFuzz, CutsAsTheRegexDoes) {
  std::mt19937_64 random(4);
  for (const auto& [name, pattern] : kNames) {
    const test::SlowRegex regex(pattern_regex(pattern));
    for (int round = 0; round < 4000; ++round) {
      const std::u32string wide = random_text(random);
      const std::string text = utf8(wide);
      Ends expected;
      for (size_t at = 0; at < wide.size();) {
        const std::optional<size_t> end = regex.match(wide, at);
        ASSERT_TRUE(end && *end > at) << name << ": " << text;
        const auto size = static_cast<uint32_t>(utf8(std::u32string_view(wide).substr(at, *end - at)).size());
        expected.push_back((expected.empty() ? 0 : expected.back()) + size);
        at = *end;
      }
      ASSERT_EQ(split_by(scan::split_plain, pattern, text), expected) << name << ": " << text;
      ASSERT_EQ(split(pattern, text), expected) << name << ": " << text;
      ASSERT_EQ(split(pattern, text, 1 + random() % 9), expected) << name << ": " << text;
    }
  }
}

// The contract asks for UTF-8; what breaks it is cut anyhow, within bounds and alike on every processor.
TEST(PretokenizerFuzz, BytesThatAreNoUtf8StayInBounds) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 20000; ++round) {
    const size_t size = 1 + random() % 200;
    const unsigned high = random() % 16;               // so many of sixteen bytes are not ASCII
    const auto text = std::make_unique<char[]>(size);  // so that a sanitizer sees a read past the end
    for (size_t i = 0; i < size; ++i) {
      text[i] = static_cast<char>(random() % 16 < high ? 0x80 | random() : "a B1'\n(s"[random() % 8]);
    }
    const std::string_view view(text.get(), size);
    for (const auto& [name, pattern] : kNames) {
      const Ends ends = split(pattern, view);
      ASSERT_EQ(ends, split_by(scan::split_plain, pattern, view)) << name;
      ASSERT_EQ(std::adjacent_find(ends.begin(), ends.end(), std::greater_equal<>()), ends.end()) << name;
      ASSERT_EQ(ends.back(), size) << name;
    }
  }
}

}  // namespace
}  // namespace phalanx
