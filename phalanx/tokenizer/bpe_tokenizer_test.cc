// The whole tokenizer against Hugging Face tokenizers and tiktoken: tests/fixtures/make_bpe_cases.py.
#include "phalanx/tokenizer/bpe_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"
#include "phalanx/tokenizer/bpe_test_models.h"
#include "phalanx/tokenizer/encode_speed.h"
#include "phalanx/tokenizer/stream_decoder.h"
#include "phalanx/tokenizer/tiktoken_file.h"
#include "phalanx/tokenizer/tokenizer_json_reader.h"
#include "phalanx/tokenizer/tokenizer_json_writer.h"

namespace phalanx {
namespace {

using Ids = std::vector<int32_t>;
const std::string kFolder = std::string(PHALANX_SOURCE_DIR) + "/tests/fixtures/bpe/";

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

std::map<std::string, BpeSpec> read_variants() {
  const Json base = read_json_file(kFolder + "tokenizer.json");
  std::map<std::string, BpeSpec> specs;
  const Json variants = read_json_file(kFolder + "variants.json");
  for (const auto& [name, fields] : variants.items()) {
    Json file = base;
    for (const auto& [key, value] : fields.items()) {
      if (key != "model") file[key] = value;
    }
    if (fields.contains("model")) file["model"].update(fields["model"]);
    specs[name] = parse_tokenizer_json(file.dump(), name);
  }
  return specs;
}

TEST(BpeTokenizer, EqualsHuggingFace) {
  const Json cases = read_json_file(kFolder + "cases.json");
  int compared = 0;
  for (const auto& [name, spec] : read_variants()) {
    const BpeTokenizer t(spec, "HuggingFaceTokenizer", std::nullopt);
    const auto encoder = t.make_encoder();
    for (const Json& entry : cases) {
      const std::string text = from_hex(entry["hex"]);
      const Ids expected = entry["ids"].value(name, entry["ids"]["gpt2"].get<Ids>());
      ASSERT_EQ(t.encode(text), expected) << name << " " << entry["hex"];
      Ids ids = {-7};
      encoder->encode(text, ids);
      ids.erase(ids.begin());
      ASSERT_EQ(ids, expected) << name << " " << entry["hex"];
      ++compared;
      if (!name.starts_with("added")) continue;
      ASSERT_EQ(t.encode_with(text, {.special = true, .add_template = true}),
                entry["special"][name].get<Ids>())
          << name << " " << entry["hex"];
      ++compared;
    }
  }
  EXPECT_EQ(compared, 12 * 483);
}

TEST(BpeTokenizer, EqualsTiktoken) {
  const Json cases = read_json_file(kFolder + "cases.json");
  const TiktokenRanks ranks = read_tiktoken_ranks(kFolder + "ranks.tiktoken");
  const std::map<std::string, SplitPattern> patterns = {
      {"gpt2", SplitPattern::kGpt2}, {"cl100k", SplitPattern::kCl100k}, {"llama3", SplitPattern::kLlama3}};
  for (const auto& [name, pattern] : patterns) {
    const BpeTokenizer t(tiktoken_spec(ranks, pattern, {}, "ranks"), "TikTokenizer", std::nullopt);
    for (const Json& entry : cases) {
      Ids expected = entry["ids"]["gpt2"].get<Ids>();
      for (int32_t& id : expected) --id;
      expected = entry["tiktoken"].value(name, expected);
      ASSERT_EQ(t.encode(from_hex(entry["hex"])), expected) << name << " " << entry["hex"];
    }
  }
}

TEST(BpeTokenizer, DecodesWhatItEncoded) {
  const auto specs = read_variants();
  const BpeTokenizer t(specs.at("gpt2"), "HuggingFaceTokenizer", 0);
  const BpeTokenizer added(specs.at("added"), "HuggingFaceTokenizer", 0);
  const Json cases = read_json_file(kFolder + "cases.json");
  for (const Json& entry : cases) {
    const std::string text = valid_utf8(from_hex(entry["hex"]));
    ASSERT_EQ(t.decode(t.encode(text)), text);
    StreamDecoder stream(t);
    std::string streamed;
    for (const int32_t id : t.encode(text)) streamed += stream.push(id);
    ASSERT_EQ(streamed + stream.finish(), text);
    for (const int32_t id : added.encode(text))
      ASSERT_TRUE(id != 0 && id != 1400 && id != 1401) << entry["hex"];
  }
  EXPECT_EQ(t.vocab_size(), 1400);
  EXPECT_EQ(t.eod(), 0);
  EXPECT_EQ(t.piece(0, true), "");
  EXPECT_THROW(t.piece(1400, true), Error);
  EXPECT_EQ(token_byte_counts(t)[0], 0);
}

TEST(BpeTokenizer, SpecialTokensOnlyWhereAsked) {
  const auto specs = read_variants();
  const BpeTokenizer t(specs.at("added"), "HuggingFaceTokenizer", 0);
  const std::string text = "a<|endoftext|>b <s>c";
  const Ids plain = t.encode(text);
  EXPECT_EQ(std::count(plain.begin(), plain.end(), 0), 0);
  EXPECT_EQ(t.decode(plain), text);
  const Ids asked = t.encode_with(text, {.special = true});
  EXPECT_EQ(std::count(asked.begin(), asked.end(), 0), 1);
  EXPECT_EQ(t.decode(asked), "abc");  // <s> has lstrip
  const Ids around = t.encode_with("", {.add_template = true});
  EXPECT_EQ(around, (Ids{1400, 1401}));
}

// A token that the file holds among the ordinary ones and that ends documents.
TEST(BpeTokenizer, EndOfDocumentBecomesSpecial) {
  BpeSpec spec{.model = make_model({{"a", "b"}}), .splits = {SplitPattern::kGpt2}};
  spec.model.tokens.push_back("<end>");
  spec.model.ignore_merges = true;
  const auto eod = find_token(spec, "<end>");
  ASSERT_EQ(eod, 257);
  spec.splits = {};
  EXPECT_EQ(BpeTokenizer(spec, "t", std::nullopt).encode("<end>"), (Ids{257}));
  const BpeTokenizer t(spec, "t", eod);
  EXPECT_EQ(t.encode("<end>"), (Ids{'<', 'e', 'n', 'd', '>'}));
  EXPECT_EQ(t.encode_with("ab<end>", {.special = true}), (Ids{256, 257}));
  EXPECT_EQ(t.piece(257, true), "");
  EXPECT_THAT([&] { BpeTokenizer(spec, "t", 256); },
              testing::Throws<Error>(testing::Property(
                  &Error::what, testing::HasSubstr("special token 'ab', which ordinary text makes, too"))));
}

TEST(TokenizerBench, CountsWhatEncodeGives) {
  const TokenizerOptions options = {.type = "HuggingFaceTokenizer", .model = kFolder + "tokenizer.json"};
  const std::vector<std::string> texts = {"Hello, tokens!", "", " and more"};
  const TokenizerBenchResult result = bench_encode(options, texts);
  uint64_t checksum = 0;
  uint64_t place = 0;
  for (const std::string& text : texts) {
    for (const int32_t id : make_tokenizer(options)->encode(text))
      checksum += ++place * static_cast<uint64_t>(id);
  }
  EXPECT_EQ(result.checksum, checksum);
  EXPECT_EQ(result.tokens, static_cast<int64_t>(place));
  EXPECT_EQ(result.bytes, 23);
  EXPECT_EQ(result.texts, 3);
  EXPECT_GT(result.bytes_per_second(), 0);
}

TEST(BpeTokenizer, LargeAndSmallTextsAgree) {
  const BpeTokenizer t(read_variants().at("llama3"), "HuggingFaceTokenizer", std::nullopt);
  std::string text;
  for (int i = 0; i < 3000; ++i)
    text += "The " + std::to_string(i * 7919) + " quick\n\n brown foxes' naïve  tokens ";
  Ids pieces;
  const auto encoder = t.make_encoder();
  encoder->encode(text, pieces);
  EXPECT_EQ(pieces, t.encode(text));
  EXPECT_EQ(t.decode(pieces), text);
}

}  // namespace
}  // namespace phalanx
