#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"
#include "phalanx/tokenizer/bpe_test_models.h"
#include "phalanx/tokenizer/bpe_tokenizer.h"
#include "phalanx/tokenizer/byte_alphabet.h"
#include "phalanx/tokenizer/tokenizer_json_reader.h"
#include "phalanx/tokenizer/tokenizer_json_writer.h"

namespace phalanx {
namespace {

using testing::HasSubstr;
const std::string kFolder = std::string(PHALANX_SOURCE_DIR) + "/tests/fixtures/bpe/";

// A small valid file: the bytes, two merges, one special token.
Json small_file() {
  BpeSpec spec{.model = make_model({{"a", "b"}, {"ab", "c"}}), .splits = {SplitPattern::kGpt2}};
  spec.added = {{.id = 258, .content = "<eos>", .special = true}};
  return parse_json(tokenizer_json(spec), "small");
}

std::string error_of(const std::string& text) {
  try {
    parse_tokenizer_json(text, "t.json");
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kBadInput);
    return e.what();
  }
  return "(no error)";
}

std::string error_after(const std::function<void(Json&)>& change) {
  Json file = small_file();
  change(file);
  return error_of(file.dump());
}

TEST(ByteAlphabet, IsGpt2s) {
  EXPECT_EQ(to_byte_alphabet(std::string("\0\n \x7F\xA0\xAD~!\xFF", 9)), "ĀĊĠġłŃ~!ÿ");
  std::string all;
  for (int b = 0; b < 256; ++b) all += static_cast<char>(b);
  EXPECT_EQ(from_byte_alphabet(to_byte_alphabet(all)), all);
  for (const char* bad : {" ", "\n", "Ń\xC5", "\xC5\x84", "語", "\xFF", "a\xC2"}) {
    EXPECT_EQ(from_byte_alphabet(bad), std::nullopt) << bad;
  }
}

TEST(TokenizerJson, ReadsBothSpellingsOfMerges) {
  Json file = small_file();
  const BpeSpec spec = parse_tokenizer_json(file.dump(), "t.json");
  EXPECT_EQ(file["model"]["merges"], Json({"a b", "ab c"}));
  file["model"]["merges"] = Json::array({Json::array({"a", "b"}), Json::array({"ab", "c"})});
  EXPECT_EQ(parse_tokenizer_json(file.dump(), "t.json"), spec);
  EXPECT_EQ(spec.model.merges, (std::vector<BpeMerge>{{97, 98, 256}, {256, 99, 257}}));
  EXPECT_EQ(spec.model.tokens[32], " ");
}

TEST(TokenizerJson, WritesWhatItReads) {
  const Json base = read_json_file(kFolder + "tokenizer.json");
  int written = 0;
  const Json variants = read_json_file(kFolder + "variants.json");
  for (const auto& [name, fields] : variants.items()) {
    Json file = base;
    file.update(fields);
    if (fields.contains("model")) {
      file["model"] = base["model"];
      file["model"].update(fields["model"]);
    }
    const BpeSpec spec = parse_tokenizer_json(file.dump(), name);
    EXPECT_EQ(parse_tokenizer_json(tokenizer_json(spec), name), spec) << name;
    ++written;
  }
  EXPECT_EQ(written, 10);
  BpeSpec spec = parse_tokenizer_json(small_file().dump(), "small");
  spec.splits = {SplitPattern::kCl100k, SplitPattern::kO200k, SplitPattern::kGpt2};
  spec.digits = 1;
  for (spec.digits_at = 0; spec.digits_at <= 3; ++spec.digits_at) {
    EXPECT_EQ(parse_tokenizer_json(tokenizer_json(spec), "steps"), spec) << spec.digits_at;
  }
  spec = parse_tokenizer_json(small_file().dump(), "small");
  spec.splits = {SplitPattern::kQwen2};
  spec.add_prefix_space = true;
  EXPECT_THROW(tokenizer_json(spec), Error);
}

TEST(TokenizerJson, RefusesComponentsByName) {
  const auto component = [](const char* key, const char* text) {
    return error_after([&](Json& file) { file[key] = Json::parse(text); });
  };
  const auto model = [](const char* key, const char* text) {
    return error_after([&](Json& file) { file["model"][key] = Json::parse(text); });
  };
  EXPECT_EQ(error_after([](Json&) {}), "(no error)");
  EXPECT_THAT(model("type", R"("Unigram")"), HasSubstr("t.json: model.type: got Unigram; needed BPE"));
  EXPECT_THAT(model("dropout", "0.1"), HasSubstr("model.dropout: got 0.1; needed null"));
  EXPECT_EQ(model("dropout", "0.0"), "(no error)");
  EXPECT_THAT(model("byte_fallback", "true"), HasSubstr("model.byte_fallback: got true"));
  EXPECT_THAT(model("continuing_subword_prefix", R"("##")"), HasSubstr("continuing_subword_prefix: got ##"));
  EXPECT_THAT(model("end_of_word_suffix", R"("</w>")"), HasSubstr("end_of_word_suffix: got </w>"));
  EXPECT_THAT(model("lattice", "1"), HasSubstr("model.lattice: got a field that is not known here"));
  EXPECT_THAT(model("ignore_merges", "1"), HasSubstr("model.ignore_merges: got 1; needed true or false"));
  EXPECT_THAT(component("truncation", R"({"max_length":5})"), HasSubstr("t.json: truncation: got {"));
  EXPECT_THAT(component("padding", R"({"strategy":"x"})"), HasSubstr("t.json: padding: got {"));
  EXPECT_THAT(component("extra", "1"), HasSubstr("t.json: extra: got a field that is not known here"));
  EXPECT_THAT(component("normalizer", R"({"type":"Lowercase"})"),
              HasSubstr("normalizer: got Lowercase; needed NFC, or null"));
  EXPECT_THAT(
      component("normalizer", R"({"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"NFKC"}]})"),
      HasSubstr("normalizer.normalizers[1]: got NFKC"));
  EXPECT_THAT(component("decoder", R"({"type":"Metaspace"})"),
              HasSubstr("decoder: got Metaspace; needed ByteLevel"));
  EXPECT_THAT(component("post_processor", R"({"type":"BertProcessing"})"),
              HasSubstr("post_processor: got BertProcessing"));
  EXPECT_THAT(component("pre_tokenizer", "null"), HasSubstr("pre_tokenizer: got no ByteLevel"));
  EXPECT_THAT(component("pre_tokenizer", R"({"type":"Metaspace"})"),
              HasSubstr("pre_tokenizer: got Metaspace"));
  EXPECT_THAT(component("model", "[]"), HasSubstr("model: got []; needed an object"));
}

TEST(TokenizerJson, RefusesPreTokenizersItCannotObey) {
  const auto steps = [](const std::string& list) {
    return error_after([&](Json& file) {
      file["pre_tokenizer"] = Json::parse(R"({"type":"Sequence","pretokenizers":[)" + list + "]}");
    });
  };
  const std::string level =
      R"({"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false})";
  const auto split = [](const std::string& pattern, const std::string& behavior, const char* invert) {
    return R"({"type":"Split","pattern":)" + pattern + R"(,"behavior":")" + behavior + R"(","invert":)" +
           invert + "}";
  };
  const std::string gpt2 = Json{{"Regex", std::string(pattern_regex(SplitPattern::kGpt2))}}.dump();
  EXPECT_EQ(steps(split(gpt2, "Isolated", "false") + "," + level), "(no error)");
  EXPECT_EQ(steps(split(gpt2, "Removed", "true") + "," + level), "(no error)");
  EXPECT_THAT(steps(split(gpt2, "Removed", "false") + "," + level),
              HasSubstr("pretokenizers[0].behavior: got Removed with invert false"));
  EXPECT_THAT(steps(split(gpt2, "MergedWithNext", "false") + "," + level), HasSubstr("got MergedWithNext"));
  EXPECT_THAT(steps(split(R"({"Regex":"\\d+"})", "Isolated", "false") + "," + level),
              HasSubstr("pretokenizers[0].pattern.Regex: got '\\d+'; needed the pattern of GPT-2"));
  EXPECT_THAT(steps(split(R"({"String":" "})", "Isolated", "false") + "," + level),
              HasSubstr("pattern.String"));
  EXPECT_THAT(steps(level + "," + split(gpt2, "Isolated", "false")), HasSubstr("got Split after ByteLevel"));
  EXPECT_THAT(steps(""), HasSubstr("pre_tokenizer: got no ByteLevel"));
  const std::string digits = R"({"type":"Digits","individual_digits":true})";
  EXPECT_THAT(steps(digits + "," + digits + "," + level), HasSubstr("pretokenizers[1]: got a second Digits"));
  EXPECT_THAT(steps(digits + R"(,{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true})"),
              HasSubstr("add_prefix_space: got true after another step"));
  EXPECT_THAT(steps(R"({"type":"ByteLevel"})"), HasSubstr("add_prefix_space: got no such field"));
}

TEST(TokenizerJson, ChecksVocabAndMerges) {
  const auto model = [](const std::function<void(Json&)>& change) {
    return error_after([&](Json& file) { change(file["model"]); });
  };
  EXPECT_THAT(model([](Json& m) { m["vocab"]["x y"] = 259; }),
              HasSubstr("vocab['x y']: got a token outside the alph"));
  EXPECT_THAT(model([](Json& m) { m["vocab"]["xy"] = 5; }),
              HasSubstr("vocab['xy']: got id 5, which another token has"));
  EXPECT_THAT(model([](Json& m) { m["vocab"]["xy"] = 300; }), HasSubstr("needed ids without holes"));
  EXPECT_THAT(model([](Json& m) { m["vocab"]["xy"] = -1; }),
              HasSubstr("model.vocab['xy']: got -1; needed an id from 0"));
  EXPECT_THAT(model([](Json& m) { m["vocab"]["xy"] = 99999999999; }),
              HasSubstr("vocab['xy']: got 99999999999"));
  EXPECT_THAT(model([](Json& m) { m["vocab"]["xy"] = 1.5; }),
              HasSubstr("vocab['xy']: got 1.5; needed an id"));
  EXPECT_THAT(model([](Json& m) { m["vocab"]["xy"] = Json::object(); }), HasSubstr("vocab['xy']: got {}"));
  EXPECT_THAT(model([](Json& m) { m["vocab"]["xy"] = nullptr; }), HasSubstr("vocab['xy']: got null"));
  EXPECT_THAT(model([](Json& m) { m["vocab"].erase("ab"); }),
              HasSubstr("merges[0]: got 'ab'; needed tokens of"));
  EXPECT_THAT(model([](Json& m) { m["vocab"].erase("ab"), m["merges"] = Json::array(); }),
              HasSubstr("got no token with id 256 of 259; needed ids without holes"));
  EXPECT_THAT(model([](Json& m) { m["vocab"]["q~"] = m["vocab"]["~"], m["vocab"].erase("~"); }),
              HasSubstr("got no token for byte 0x7E ('~')"));
  EXPECT_THAT(model([](Json& m) { m.erase("vocab"); }), HasSubstr("model.vocab: got no such field"));
  EXPECT_THAT(model([](Json& m) { m.erase("merges"); }), HasSubstr("model.merges: got no such field"));
  EXPECT_THAT(model([](Json& m) { m["merges"] = "a b"; }), HasSubstr("model.merges"));
  EXPECT_THAT(model([](Json& m) { m["merges"].push_back("a bb"); }),
              HasSubstr("merges[2]: got 'bb'; needed tokens of"));
  EXPECT_THAT(model([](Json& m) { m["merges"].push_back("b c"); }), HasSubstr("merges[2]: got 'bc'"));
  EXPECT_THAT(model([](Json& m) { m["merges"].push_back("a b"); }),
              HasSubstr("merges[2]: got 'a b' a second time"));
  EXPECT_THAT(model([](Json& m) { m["merges"].push_back("abc"); }),
              HasSubstr("merges[2]: got 'abc'; needed two tokens"));
  EXPECT_THAT(model([](Json& m) { m["merges"].push_back("a b c"); }), HasSubstr("needed two tokens"));
  EXPECT_THAT(model([](Json& m) { m["merges"].push_back(Json{"a"}); }), HasSubstr("merges[2]: got 1 tokens"));
  EXPECT_THAT(model([](Json& m) { m["merges"].push_back(7); }),
              HasSubstr("merges[2]: got 7; needed two tokens"));
}

TEST(TokenizerJson, ChecksAddedTokens) {
  const auto token = [](const char* text) {
    return error_after([&](Json& file) { file["added_tokens"].push_back(Json::parse(text)); });
  };
  EXPECT_EQ(token(R"({"id":259,"content":"x y"})"), "(no error)");
  EXPECT_THAT(token(R"({"id":260,"content":"x"})"), HasSubstr("added_tokens"));
  EXPECT_THAT(token(R"({"id":258,"content":"x y"})"),
              HasSubstr("added_tokens[1]: got id 258, which added_tokens[0]"));
  EXPECT_THAT(token(R"({"id":259,"content":"<eos>"})"), HasSubstr("content '<eos>' a second time"));
  EXPECT_THAT(token(R"({"id":259,"content":""})"), HasSubstr("got an empty content"));
  EXPECT_THAT(token(R"({"id":-3,"content":"q"})"), HasSubstr("added_tokens[1].id: got -3"));
  EXPECT_THAT(token(R"({"id":"3","content":"q"})"), HasSubstr("added_tokens[1].id: got \"3\""));
  EXPECT_THAT(token(R"({"content":"q"})"), HasSubstr("added_tokens[1].id: got no such field"));
  EXPECT_THAT(token(R"({"id":261,"content":"q q"})"), HasSubstr("got no token with id 259 of 262"));
  EXPECT_THAT(token(R"({"id":3,"content":"ab"})"),
              HasSubstr("vocab['ab']: got id 256; needed 3, as in added_tokens"));
  EXPECT_THAT(token(R"({"id":256,"content":"ab","special":true})"),
              HasSubstr("special token 'ab', which ordinary text makes, too"));
  EXPECT_THAT(token(R"({"id":259,"content":"x y","color":1})"),
              HasSubstr("added_tokens[1].color: got a field"));
}

TEST(TokenizerJson, ChecksTemplates) {
  const auto processor = [](const char* single) {
    return error_after([&](Json& file) {
      file["post_processor"] = {{"type", "TemplateProcessing"},
                                {"single", Json::parse(single)},
                                {"pair", Json::array()},
                                {"special_tokens",
                                 {{"<eos>", {{"id", "<eos>"}, {"ids", {258}}, {"tokens", {"<eos>"}}}},
                                  {"far", {{"id", "far"}, {"ids", {999}}, {"tokens", {"far"}}}}}}};
    });
  };
  const std::string a = R"({"Sequence":{"id":"A","type_id":0}})";
  EXPECT_EQ(processor(("[" + a + R"(,{"SpecialToken":{"id":"<eos>","type_id":0}}])").c_str()), "(no error)");
  EXPECT_THAT(processor(("[" + a + R"(,{"SpecialToken":{"id":"far","type_id":0}}])").c_str()),
              HasSubstr("post_processor: got token id 999; needed 0 to 258"));
  EXPECT_THAT(processor(("[" + a + R"(,{"SpecialToken":{"id":"who","type_id":0}}])").c_str()),
              HasSubstr("special_tokens.who: got no such field"));
  EXPECT_THAT(processor(("[" + a + "," + a + "]").c_str()),
              HasSubstr("single[1]: got the text a second time"));
  EXPECT_THAT(processor("[]"), HasSubstr("single: got no Sequence"));
  EXPECT_THAT(processor("5"), HasSubstr("single: got 5; needed a list"));
}

TEST(TokenizerJson, HostileText) {
  const std::string good = small_file().dump();
  EXPECT_THAT(error_of(""), HasSubstr("t.json: got"));
  EXPECT_THAT(error_of("[1]"), HasSubstr("got a JSON array; needed a JSON object"));
  EXPECT_THAT(error_of("{}"), HasSubstr("t.json.model: got no such field"));
  EXPECT_THAT(error_of(good + "x"), HasSubstr("needed valid JSON"));
  EXPECT_THAT(error_of("{\"a\":\"\xFF\"}"), HasSubstr("invalid"));
  EXPECT_THAT(error_of(R"({"model":{"vocab":{},"vocab":{}}})"),
              HasSubstr("model.vocab: got the field a second time"));
  EXPECT_THAT(error_of(R"({"model":{"vocab":{"a":0,"a":1},"merges":[]},"pre_tokenizer":{"type":"ByteLevel",)"
                       R"("add_prefix_space":false}})"),
              HasSubstr("vocab['a']: got the token a second time"));
  EXPECT_THAT(error_of(R"({"version":1,"version":2})"), HasSubstr("version: got the field a second time"));
  EXPECT_THAT(error_of(std::string(100'000'000, '[')), HasSubstr("nesting deeper than 64"));
  std::string wide = "{";
  for (int i = 0; i < 100000; ++i) wide += "\"k" + std::to_string(i) + "\":1,";
  EXPECT_THAT(error_of(wide + "\"z\":1}"), HasSubstr("an object of more than 4096 fields"));
  for (size_t cut = 0; cut < good.size(); cut += 7)
    EXPECT_NE(error_of(good.substr(0, cut)), "(no error)") << cut;
  EXPECT_THROW(read_tokenizer_json(kFolder + "none.json"), Error);
}

// Any change of a file is read, or refused as the user's mistake; what is read encodes.
TEST(TokenizerJsonFuzz, MutationsNeverCrash) {
  std::string good = small_file().dump();
  std::mt19937 random(11);
  const std::vector<std::string> parts = {"null",
                                          "-1",
                                          "[",
                                          "]",
                                          "{",
                                          "}",
                                          "\"",
                                          ":",
                                          ",",
                                          "1e9",
                                          "258",
                                          "true",
                                          "\\u0000",
                                          "\xC3",
                                          "Ġ",
                                          "\"type\"",
                                          "\"Sequence\"",
                                          "\"ids\"",
                                          "[[\"a\",\"b\"]]"};
  int read = 0;
  int refused = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text = good;
    for (size_t change = 1 + random() % 3; change > 0; --change) {
      // Half of the changes go to the settings, which are the smaller part of the file.
      const size_t range = random() % 2 == 0 ? text.size() : std::min<size_t>(text.size(), 900);
      const size_t at = random() % range;
      const size_t length = std::min<size_t>(text.size() - at, random() % 6);
      const std::string& part = parts[random() % parts.size()];
      text.replace(at, length, random() % 3 == 0 ? std::string(1, static_cast<char>(random() % 256)) : part);
    }
    try {
      const BpeTokenizer t(parse_tokenizer_json(text, "fuzz"), "fuzz", std::nullopt);
      t.decode(t.encode_with("abc <eos> 12\xFF", {.special = true, .add_template = true}));
      ++read;
    } catch (const Error& e) {
      ASSERT_EQ(e.kind(), ErrorKind::kBadInput);
      ++refused;
    }
  }
  EXPECT_GT(read, 20);
  EXPECT_GT(refused, 10000);
}

}  // namespace
}  // namespace phalanx
