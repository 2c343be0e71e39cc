#include "phalanx/tokenizer/sentencepiece_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <random>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"
#include "phalanx/tokenizer/sentencepiece_model.h"
#include "phalanx/tokenizer/stream_decoder.h"

namespace phalanx {
namespace {

using testing::AnyOf;
using testing::HasSubstr;

const std::string kFolder = std::string(PHALANX_SOURCE_DIR) + "/tests/fixtures/sentencepiece/";

const Json& fixture() {
  static const Json json = read_json_file(kFolder + "cases.json");
  return json;
}

std::string stream(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  StreamDecoder decoder(tokenizer);
  std::string text;
  for (const int32_t id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

// Loads bytes as a model: the error, or "" and some use of it. The library must keep quiet in any case.
std::string load_bytes(const std::string& bytes, const std::string& eod = "") {
  const TemporaryDirectory folder;
  std::ofstream(folder.path() + "/tokenizer.model", std::ios::binary) << bytes;
  testing::internal::CaptureStderr();
  std::string error;
  try {
    const std::unique_ptr<Tokenizer> tokenizer = load_sentencepiece(folder.path(), eod);
    for (const char* text : {"", " a ti", "\xEF\xAC\x81ne e\xCC\x81 [sep]", "\xFF\xC3", "\u65E5\u672C\n\n"}) {
      tokenizer->decode(tokenizer->encode(text));
    }
    token_byte_counts(*tokenizer);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kBadInput);
    error = e.what();
    error = error.substr(error.find("tokenizer.model"));
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  return error;
}

// Fields of protobuf, enough of it to write models.
std::string varint(size_t value) {
  std::string out;
  for (; value >= 128; value >>= 7) out += static_cast<char>(value | 128);
  return out + static_cast<char>(value);
}
std::string field(size_t number, const std::string& bytes) {
  return varint(number << 3 | 2) + varint(bytes.size()) + bytes;
}
std::string number(int field, int value) {
  return {static_cast<char>(field << 3), static_cast<char>(value)};
}
std::string piece(const std::string& text, int type, float score = 0) {
  std::string bytes = field(1, text) + '\x15';
  bytes.append(reinterpret_cast<const char*>(&score), 4);
  return field(1, bytes + number(3, type));
}

const std::string kUnknown = piece("<unk>", 2);
const std::string kSmall = kUnknown + piece("</s>", 3) + piece("\u2581", 1, -1) + piece("a", 1, -2) +
                           piece(
                               "\u2581"
                               "a",
                               1, -3);

TEST(SentencePiece, GivesTheIdsOfTheLibraryForPython) {
  for (const std::string name : {"bpe", "unigram"}) {
    const std::unique_ptr<Tokenizer> tokenizer = load_sentencepiece(kFolder + name + ".model", "");
    ASSERT_EQ(tokenizer->vocab_size(), static_cast<int64_t>(fixture()[name]["pieces"].size()));
    EXPECT_EQ(tokenizer->eod(), fixture()[name]["eos"].get<int32_t>());
    EXPECT_EQ(tokenizer->name(), "SentencePieceTokenizer");
    ASSERT_GT(fixture()[name]["cases"].size(), 150u);
    for (const Json& c : fixture()[name]["cases"]) {
      const auto ids = c[1].get<std::vector<int32_t>>();
      ASSERT_EQ(tokenizer->encode(c[0].get<std::string>()), ids) << name << " " << c;
      const auto text = c[2].get<std::string>();
      ASSERT_EQ(tokenizer->decode(ids), text) << name << " " << c;
      ASSERT_EQ(stream(*tokenizer, ids), text) << name << " " << c;
    }
    for (const Json& c : fixture()[name]["decodes"]) {
      const auto ids = c[0].get<std::vector<int32_t>>();
      const auto text = c[1].get<std::string>();
      ASSERT_EQ(tokenizer->decode(ids), text) << name << " " << c;
      ASSERT_EQ(stream(*tokenizer, ids), text) << name << " " << c;
    }
  }
}

TEST(SentencePiece, BytePiecesAreBytes) {
  const std::unique_ptr<Tokenizer> tokenizer = load_sentencepiece(kFolder + "bpe.model", "");
  std::vector<int32_t> bytes;
  for (size_t id = 0; id < fixture()["bpe"]["pieces"].size(); ++id) {
    if (fixture()["bpe"]["pieces"][id][1] == "byte") bytes.push_back(static_cast<int32_t>(id));
  }
  ASSERT_EQ(bytes.size(), 256u);
  for (size_t b = 0; b < 256; ++b) {
    EXPECT_EQ(tokenizer->piece(bytes[b], b % 2 == 0), std::string(1, static_cast<char>(b)));
  }
  // The first byte of a character at the end: exact bytes from decode, U+FFFD from the stream.
  EXPECT_EQ(tokenizer->decode(std::vector<int32_t>{bytes[0xE6], bytes[0x97]}), "\xE6\x97");
  EXPECT_EQ(stream(*tokenizer, {bytes[0xE6], bytes[0x97], bytes[0x41]}),
            "\uFFFD"
            "A");
}

TEST(SentencePiece, SpecialPiecesStayOutOfText) {
  for (const std::string name : {"bpe", "unigram"}) {
    const std::unique_ptr<Tokenizer> tokenizer = load_sentencepiece(kFolder + name + ".model", "");
    const Json& pieces = fixture()[name]["pieces"];
    const std::vector<int64_t> counts = token_byte_counts(*tokenizer);
    int controls = 0;
    for (size_t id = 0; id < pieces.size(); ++id) {
      if (pieces[id][1] != "control") continue;
      ++controls;
      const auto ids = tokenizer->encode("x " + pieces[id][0].get<std::string>() + "y");
      EXPECT_THAT(ids, testing::Not(testing::Contains(static_cast<int32_t>(id)))) << pieces[id];
      EXPECT_EQ(counts[id], 0);
      EXPECT_EQ(tokenizer->piece(static_cast<int32_t>(id), true), "");
    }
    EXPECT_GE(controls, 2);
  }
}

TEST(SentencePiece, EndOfDocument) {
  EXPECT_EQ(load_sentencepiece(kFolder + "unigram.model", "<eod>")->eod(), 4);
  EXPECT_EQ(fixture()["unigram"]["pieces"][4][0], "<eod>");
  const auto error = [](const std::string& eod) {
    try {
      load_sentencepiece(kFolder + "unigram.model", eod);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kBadInput);
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_THAT(
      error("<|endoftext|>"),
      HasSubstr(
          "unigram.model: got end-of-document token '<|endoftext|>', which is no piece of this model; needed "
          "a control piece. Fix: leave it out for the model's end of sentence"));
  EXPECT_THAT(error("[sep]"), HasSubstr("'[sep]', which is a piece of text; needed a control piece"));
  EXPECT_THAT(error("<unk>"), HasSubstr("'<unk>', which is a piece of text"));
}

TEST(SentencePiece, RefusesIdsOutsideOfTheVocabulary) {
  const std::unique_ptr<Tokenizer> tokenizer = load_sentencepiece(kFolder + "unigram.model", "");
  for (const int32_t id : {-1, 360}) {
    try {
      tokenizer->piece(id, false);
      ADD_FAILURE() << id;
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), HasSubstr(std::to_string(id) + "; needed 0 to 359"));
    }
  }
}

TEST(SentencePiece, ModelsWithoutEndOfSentence) {
  const TemporaryDirectory folder;
  write_file_atomic(folder.path() + "/tokenizer.model", kUnknown + piece("a", 1));
  EXPECT_EQ(load_sentencepiece(folder.path(), "")->eod(), std::nullopt);
}

TEST(SentencePiece, RefusesFilesThatAreNoModel) {
  EXPECT_EQ(load_bytes(kSmall), "");
  EXPECT_EQ(load_bytes(""),
            "tokenizer.model: got 0 bytes without a piece; needed a SentencePiece model. Fix: give the "
            ".model file that SentencePiece wrote");
  EXPECT_THAT(load_bytes("{\"version\": \"1.0\"}"), HasSubstr("needed a SentencePiece model"));
  EXPECT_THAT(load_bytes(std::string(1000, '\0')), HasSubstr("got a field without a number at byte 0"));
  EXPECT_THAT(load_bytes(kSmall.substr(0, kSmall.size() - 1)), HasSubstr("at byte "));
  EXPECT_THAT(load_bytes("\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F"
                         "abc"),
              HasSubstr("got a field of 9223372036854775807 bytes where 3 are left at byte 0"));
  EXPECT_THAT(load_bytes('\x0A' + std::string(9, '\xFF') + "\x01"),
              HasSubstr("got a field of 18446744073709551615 bytes where 0 are left at byte 0"));
  EXPECT_THAT(load_bytes(std::string(11, '\xFF')),
              HasSubstr("got a number of more than ten bytes at byte 0"));
  EXPECT_THAT(load_bytes(kSmall + "\x0B"), HasSubstr("got field 1 of wire type 3 at byte "));
  EXPECT_THAT(load_bytes(number(1, 7)), HasSubstr("got field 1 of wire type 0 at byte 0"));
  EXPECT_THAT(load_bytes(kUnknown + piece("\xFF", 1)),
              HasSubstr("got piece 1, which is not UTF-8 without NUL, at byte"));
  EXPECT_THAT(load_bytes(kUnknown + piece(std::string("a\0b", 3), 1)),
              HasSubstr("got piece 1, which is not UTF-8"));
  EXPECT_THAT(load_bytes(kUnknown + piece("a", 1, NAN)),
              HasSubstr("got a score that is no number for piece 1 at byte"));
  EXPECT_THAT(load_bytes(kUnknown + piece("a", 9)), HasSubstr("got type 9 of piece 1 at byte"));
  EXPECT_THAT(load_bytes(kSmall + field(2, field(44, "\xFF"))),
              HasSubstr("got a text for unknown pieces that is not UTF-8"));
  EXPECT_THAT(load_bytes(kSmall + field(5, field(2, "x"))),
              HasSubstr("got a denormalizer, which is not supported, at byte"));
}

TEST(SentencePiece, SaysWhatTheLibraryRefuses) {
  const std::string start = "tokenizer.model: got a model that SentencePiece refuses: ";
  EXPECT_THAT(load_bytes(kSmall + piece("a", 1)), HasSubstr(start + "a is already defined"));
  EXPECT_THAT(load_bytes(piece("a", 1)), HasSubstr(start + "unk is not defined"));
  EXPECT_THAT(load_bytes(kSmall + piece("<0x41>", 6)), HasSubstr(start + "byte piece <0x41> is found"));
  EXPECT_THAT(load_bytes(kSmall + piece("", 1)), HasSubstr(start + "piece must not be empty"));
}

// A normalization table of one block of units, changed at some places, and its texts.
std::string table(const std::vector<std::pair<uint32_t, uint32_t>>& units, const std::string& texts) {
  std::vector<uint32_t> trie(256, 1u << 31);  // units that no byte leads to
  for (const auto& [at, unit] : units) trie[at] = unit;
  std::string bytes(4 + 1024, '\0');
  const uint32_t size = 1024;
  std::memcpy(bytes.data(), &size, 4);
  std::memcpy(bytes.data() + 4, trie.data(), 1024);
  return field(3, field(2, bytes + texts));
}
constexpr uint32_t unit(uint32_t offset, uint32_t label, bool leaf) {
  return offset << 10 | (leaf ? 256u : 0) | label;
}

TEST(SentencePiece, RefusesTablesThatLeadOutOfTheirMemory) {
  const std::string texts("b\0", 2);
  const auto problem = [&](const std::vector<std::pair<uint32_t, uint32_t>>& units) {
    return load_bytes(kSmall + table(units, texts));
  };
  // Root 0 steps to base 1; byte 'a' leads to unit 1 ^ 'a' whose base holds the value.
  const uint32_t a = 1 ^ 'a';
  const std::pair<uint32_t, uint32_t> root{0, unit(1, 0, false)};
  EXPECT_EQ(problem({root, {a, unit(a ^ 2, 'a', true)}, {2, 1u << 31 | 0}}), "");
  EXPECT_THAT(problem({{0, unit(1 << 15, 0, false)}}),
              HasSubstr("got a normalization table with a step out of its array"));
  EXPECT_THAT(problem({root, {a, unit(a ^ 256, 'a', false)}}), HasSubstr("with a step out of its array"));
  EXPECT_THAT(problem({root, {a, unit(a ^ 2, 'a', true)}, {2, 1u << 31 | 2}}),
              HasSubstr("with a value outside of its texts"));
  EXPECT_THAT(problem({root, {a, unit(a ^ 1, 'a', false)}}), HasSubstr("with a path that runs in a circle"));
  EXPECT_THAT(load_bytes(kSmall + field(3, field(2, "abc"))), HasSubstr("with no size"));
  EXPECT_THAT(load_bytes(kSmall + field(3, field(2, "\xFF\xFF\xFF\xFFtext"))),
              HasSubstr("with a trie of 4294967295 bytes"));
  EXPECT_THAT(load_bytes(kSmall + table({root}, "no end")), HasSubstr("with texts that do not end"));
  EXPECT_THAT(load_bytes(kSmall + table({root}, "")), HasSubstr("with texts that do not end"));
  EXPECT_THAT(load_bytes(kSmall + table({root, {a, unit(a ^ 2, 'a', true)}, {2, 1u << 31}},
                                        std::string(5000, 'x') + '\0')),
              HasSubstr("with a text of more than 4096 bytes"));
  std::vector<std::pair<uint32_t, uint32_t>> chain{{0, unit(1, 0, false)}};
  for (uint32_t at = 1, depth = 0; depth < 40; ++depth) {  // base of step `depth` is depth + 1
    const uint32_t label = 200 ^ at ^ depth, child = at ^ label;
    chain.emplace_back(child, unit(child ^ (at + 1), label, true));
    ++at;
  }
  EXPECT_THAT(problem(chain), HasSubstr("with more keys on one path than the library has room for"));
}

TEST(SentencePieceFuzz, DamagedModelsAreErrorsOrWork) {
  std::mt19937 rng(1);
  int refused = 0;
  for (const std::string name : {"bpe", "unigram"}) {
    const std::string whole = read_file(kFolder + name + ".model");
    for (int round = 0; round < 500; ++round) {
      std::string bytes = whole;
      if (round % 5 == 0) bytes.resize(rng() % bytes.size());
      for (int k = 0; k < 1 + round % 7 && !bytes.empty(); ++k) {
        const size_t near = round % 2 ? rng() % bytes.size()
                                      : bytes.size() - 1 - rng() % std::min<size_t>(bytes.size(), 9000);
        bytes[near] = round % 3 ? static_cast<char>(rng()) : static_cast<char>(bytes[near] ^ 1 << rng() % 8);
      }
      refused += load_bytes(bytes).empty() ? 0 : 1;
    }
  }
  EXPECT_GT(refused, 100);
}

}  // namespace
}  // namespace phalanx
