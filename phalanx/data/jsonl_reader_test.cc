#include "phalanx/data/jsonl_reader.h"

#include <gmock/gmock.h>

#include <random>

#include "phalanx/base/json.h"
#include "phalanx/data/test_files.h"
#include "phalanx/tokenizer/stream_decoder.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::optional<Rejection> read(JsonlReader& reader, const std::string& line) {
  // Behind the line stands something that must not matter.
  static const std::string kBehind(JsonlReader::kPadding, '"');
  const std::string padded = line + kBehind;
  return reader.read(std::string_view(padded).substr(0, line.size()));
}

// The text under "text", "!reason: detail" for a rejected line, with "~" in front of a repaired one.
std::string text_of(const std::string& line) {
  JsonlReader reader({"text"});
  const std::string padded = line + std::string(JsonlReader::kPadding, '}');
  if (const auto rejection = reader.read(std::string_view(padded).substr(0, line.size())))
    return "!" + std::string(reject_name(rejection->reason)) + ": " + rejection->detail;
  std::string out = reader.repaired() ? "~" : "";
  for (size_t i = 0; i < reader.texts(0).size(); ++i)
    out += (i > 0 ? "|" : "") + std::string(reader.texts(0)[i]);
  return out;
}

TEST(JsonlReader, TextsOfGoodLines) {
  EXPECT_EQ(text_of(R"({"text": "a"})"), "a");
  EXPECT_EQ(text_of("  {\"id\": [1, {\"text\": 2}], \"text\" : \"a\", \"z\": null }\t\r"), "a");
  EXPECT_EQ(text_of(R"({"text": ""})"), "");
  EXPECT_EQ(text_of(R"({"text": "\"\\\/\b\f\n\r\t\u00e9\u4f60\ud83d\ude00"})"),
            "\"\\/\b\f\n\r\t\u00e9\u4f60\U0001F600");
  EXPECT_EQ(text_of("{\"text\": \"\u00e9\U0001F600\"}"), "\u00e9\U0001F600");
  EXPECT_EQ(text_of(R"({"te\u0078t": "a"})"), "a");
  EXPECT_EQ(text_of(R"({"text": "first", "text": "last"})"), "last") << "as in Python";
  EXPECT_EQ(text_of(R"({"text": ["a", "", "b"]})"), "a||b");
  EXPECT_EQ(text_of(R"({"text": "a\u0000b"})"), std::string("a\0b", 3)) << "an escaped NUL is text";
}

TEST(JsonlReader, NumbersOfAnySizeAreNoMatter) {
  EXPECT_EQ(text_of(R"({"id": 123456789012345678901234567890, "text": "a1e999", "x": -1.5e+999})"), "a1e999");
  EXPECT_EQ(text_of(R"({"x": [1e400, "\"1e400"], "text": "12345678901234567890123"})"),
            "12345678901234567890123");
  for (const char* number : {"01", "1.", ".5", "-", "1e", "+1", "1e400x", "NaN", "Infinity", "0x10"}) {
    EXPECT_THAT(text_of(std::string(R"({"text": "a", "y": 1e400, "x": )") + number + "}"),
                HasSubstr("!broken_json"))
        << number;
  }
}

TEST(JsonlReader, WhatIsNoUnicodeIsReplacedAndToldOf) {
  EXPECT_EQ(text_of("{\"text\": \"a\xFFz\"}"), "~a\uFFFDz");
  EXPECT_EQ(text_of("{\"text\": \"\xE2\x82\"}"), "~\uFFFD") << "the quote is no part of the character";
  EXPECT_EQ(text_of("{\"text\": \"\xED\xA0\x80\"}"), "~\uFFFD\uFFFD\uFFFD") << "a surrogate in UTF-8";
  EXPECT_EQ(text_of(R"({"text": "a\ud800z"})"), "~a\uFFFDz");
  EXPECT_EQ(text_of(R"({"text": "a\udc00"})"), "~a\uFFFD");
  EXPECT_EQ(text_of(R"({"text": "\ud83d\ud83d\ude00"})"), "~\uFFFD\U0001F600");
  EXPECT_EQ(text_of(R"({"text": "\\ud800\ud800\\"})"), "~\\ud800\uFFFD\\") << "an escaped backslash";
  EXPECT_EQ(text_of("{\"text\": \"\xFF\\uD800\", \"x\": 1e999}"), "~\uFFFD\uFFFD") << "all at once";
}

TEST(JsonlReader, BadLinesHaveAReason) {
  for (const char* line :
       {"{", "{\"text\": \"a\"", "{\"text\": \"a}", "{\"text\" \"a\"}", "{\"text\": \"a\",}", "}",
        "{\"text\": \"a\"} x", "{\"text\": \"a\"}{\"text\": \"b\"}", "{'text': 'a'}", "text",
        "{\"text\": \"a\", \"b\": tru}", "{\"text\": \"\\x\"}", "{\"text\": \"\\u12\"}",
        "{\"text\": \"a\tb\"}", "{\"text\": \"a\x01\"}"}) {
    EXPECT_THAT(text_of(line), HasSubstr("!broken_json: broken JSON (")) << line;
  }
  EXPECT_THAT(text_of("[\"text\"]"), HasSubstr("!not_an_object"));
  EXPECT_THAT(text_of("\"text\""), HasSubstr("!not_an_object"));
  EXPECT_THAT(text_of("12"), HasSubstr("!not_an_object"));
  EXPECT_EQ(text_of("{\"Text\": \"a\"}"), "!missing_key: no key 'text'");
  EXPECT_EQ(text_of("{}"), "!missing_key: no key 'text'");
  for (const char* value : {"1", "null", "true", "{}", "[1]", "[\"a\", null]", "[[\"a\"]]"}) {
    EXPECT_EQ(text_of(std::string("{\"text\": ") + value + "}"),
              "!not_text: the value of 'text' is no string")
        << value;
  }
  EXPECT_EQ(text_of(std::string("{\"text\": \"a\0b\"}", 15)), "!nul_byte: a NUL byte at column 12");
  EXPECT_EQ(text_of(std::string("{\"text\": \"a\"}\0", 14)), "!nul_byte: a NUL byte at column 14");
  const std::string deep(3000, '[');
  EXPECT_THAT(text_of("{\"text\": \"a\", \"b\": " + deep + std::string(3000, ']') + "}"),
              HasSubstr("!broken_json"));
}

TEST(JsonlReader, EveryKeyMustBeThere) {
  JsonlReader reader({"title", "body"});
  EXPECT_FALSE(read(reader, R"({"body": "b", "title": "t"})"));
  EXPECT_THAT(reader.texts(0), ElementsAre("t"));
  EXPECT_THAT(reader.texts(1), ElementsAre("b"));
  EXPECT_EQ(read(reader, R"({"title": "t"})")->detail, "no key 'body'");
  EXPECT_FALSE(read(reader, R"({"title": [], "body": ["x", "y"]})"));
  EXPECT_THAT(reader.texts(0), ElementsAre());
  EXPECT_THAT(reader.texts(1), ElementsAre("x", "y"));
}

// A long line must not make the reader slow or large for the short ones after it.
TEST(JsonlReader, LongLinesBetweenShortOnes) {
  JsonlReader reader({"text"});
  const std::string word(20 << 20, 'x');
  for (int round = 0; round < 2; ++round) {
    EXPECT_FALSE(read(reader, "{\"text\": \"" + word + "\"}"));
    EXPECT_EQ(reader.texts(0)[0].size(), word.size());
    EXPECT_FALSE(read(reader, R"({"text": "short"})"));
    EXPECT_THAT(reader.texts(0), ElementsAre("short"));
  }
}

// Against another JSON library: what that one reads, this one reads alike; what only this one refuses, it must not.
TEST(JsonlReaderFuzz, MutatedLinesAgreeWithAnotherParser) {
  std::mt19937 random(11);
  const std::vector<std::string> seeds = {
      R"({"text": "plain words", "id": 17})",
      R"({"id": [1, 2.5e3, -0.1], "text": "a\n\u00e9\ud83d\ude00\\"})",
      R"({"text": ["one", "two"], "meta": {"a": null, "b": [true, false, {}]}})",
      "{\"text\": \"\u00e9\U0001F600\u4f60\u597d\", \"url\": \"http://x.y/z\"}"};
  const std::string marks = "{}[]\",:\\/0123456789eE+-.ntfu \t\x01\x7f\xc3\xa9\xed\xa0\x80\xff";
  int good = 0;
  int bad = 0;
  for (int round = 0; round < 200'000; ++round) {
    std::string line = seeds[random() % seeds.size()];
    for (int change = static_cast<int>(random() % 4); change >= 0; --change) {
      const size_t at = random() % line.size();
      const char mark = marks[random() % marks.size()];
      switch (random() % 3) {
        case 0:
          line[at] = mark;
          break;
        case 1:
          line.insert(at, 1, mark);
          break;
        default:
          line.erase(at, 1);
      }
      if (line.empty()) line = "{";
    }
    // As a string of its own, so that a sanitizer sees a read too far.
    const std::string mine = text_of(line);
    const Json json = Json::parse(valid_utf8(line), nullptr, false);
    const bool is_object = !json.is_discarded() && json.is_object();
    if (mine[0] != '!' || mine.starts_with("!missing") || mine.starts_with("!not_text")) ++good;
    if (mine.starts_with("!broken")) ++bad;
    if (is_object) {
      EXPECT_FALSE(mine.starts_with("!broken") || mine.starts_with("!not_an")) << line << "\n" << mine;
      if (json.contains("text") && json["text"].is_string() && mine[0] != '~') {
        EXPECT_EQ(mine, json["text"].get<std::string>()) << line;
      }
    }
  }
  EXPECT_GT(good, 20'000);
  EXPECT_GT(bad, 20'000);
}

}  // namespace
}  // namespace phalanx
