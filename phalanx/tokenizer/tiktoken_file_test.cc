#include "phalanx/tokenizer/tiktoken_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"
#include "phalanx/tokenizer/bpe_tokenizer.h"
#include "phalanx/tokenizer/gpt2_files.h"
#include "phalanx/tokenizer/make_tokenizer.h"
#include "phalanx/tokenizer/tokenizer_json_reader.h"
#include "phalanx/tokenizer/tokenizer_json_writer.h"

namespace phalanx {
namespace {

using Ids = std::vector<int32_t>;
using testing::HasSubstr;
const std::string kFixtures = std::string(PHALANX_SOURCE_DIR) + "/tests/fixtures/bpe/";

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

TiktokenRanks bytes_and(const std::vector<std::string>& more) {
  TiktokenRanks ranks;
  for (int b = 0; b < 256; ++b) ranks.tokens.push_back(std::string(1, static_cast<char>(b)));
  ranks.tokens.insert(ranks.tokens.end(), more.begin(), more.end());
  return ranks;
}

class TokenizerFiles : public testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) {
    const std::string path = folder_.path() + "/" + name;
    write_file_atomic(path, text);
    return path;
  }
  TemporaryDirectory folder_;
};

// The rules that are easy to get wrong, with tiktoken 0.14's answers.
TEST(TiktokenSpec, MergesByRankOfTheResult) {
  // "abc" is reached through "bc", which comes first; "ab" and "c" never stand beside each other.
  const BpeSpec spec = tiktoken_spec(bytes_and({"bc", "ab", "abc"}), SplitPattern::kWholeText, {}, "t");
  EXPECT_EQ(spec.model.merges, (std::vector<BpeMerge>{{'b', 'c', 256}, {'a', 'b', 257}, {'a', 256, 258}}));
  const BpeTokenizer t(spec, "t", std::nullopt);
  EXPECT_EQ(t.encode("xabc"), (Ids{'x', 258}));
  // "wxyz" cannot be reached by merging, but a whole piece that is a token is that token.
  const BpeTokenizer unreachable(tiktoken_spec(bytes_and({"xy", "wxyz"}), SplitPattern::kWholeText, {}, "t"),
                                 "t", std::nullopt);
  EXPECT_EQ(unreachable.encode("wxyz"), (Ids{257}));
  EXPECT_EQ(unreachable.encode("wxyzz"), (Ids{'w', 256, 'z', 'z'}));
  // A part of higher rank than the whole.
  const BpeSpec late = tiktoken_spec(bytes_and({"abcd", "ab", "cd"}), SplitPattern::kWholeText, {}, "t");
  EXPECT_EQ(BpeTokenizer(late, "t", std::nullopt).encode("abcdx"), (Ids{256, 'x'}));
}

TEST(TiktokenSpec, SpecialTokensComeFirst) {
  const std::vector<std::string> special = megatron_special_tokens(9);
  EXPECT_THAT(special, testing::ElementsAre("<unk>", "<s>", "</s>", "<mask>", "<pad>", "<cls>", "<sep>",
                                            "<SPECIAL_7>", "<SPECIAL_8>"));
  const BpeTokenizer t(tiktoken_spec(bytes_and({"ab"}), SplitPattern::kWholeText, special, "t"), "t", 2);
  EXPECT_EQ(t.encode("ab"), (Ids{265}));
  EXPECT_EQ(t.encode("a"), (Ids{106}));
  EXPECT_EQ(t.encode_with("</s>", {.special = true}), (Ids{2}));
  EXPECT_EQ(t.decode(Ids{2, 265, 7}), "ab");
}

TEST_F(TokenizerFiles, TiktokenErrors) {
  const auto error = [&](const std::string& text) {
    const std::string path = write("r.tiktoken", text);
    return error_of([&] { tiktoken_spec(read_tiktoken_ranks(path), SplitPattern::kGpt2, {}, path); });
  };
  EXPECT_THAT(error(""), HasSubstr("r.tiktoken: got no tokens; needed at least the 256 bytes"));
  EXPECT_THAT(error("IQ== 0\nIg==\n"),
              HasSubstr("r.tiktoken: line 2: got 'Ig=='; needed base64 token, space, rank"));
  EXPECT_THAT(error("IQ== x\n"), HasSubstr("line 1: got 'IQ== x'"));
  EXPECT_THAT(error("I!== 0\n"), HasSubstr("line 1: got 'I!=='; needed base64"));
  EXPECT_THAT(error("IQ= 0\n"), HasSubstr("line 1: got 'IQ='; needed base64"));
  EXPECT_THAT(error(" 0\n"), HasSubstr("needed base64"));
  EXPECT_THAT(error("IQ== 0\nIg== 0\n"), HasSubstr("line 2: got rank 0 a second time"));
  EXPECT_THAT(error("IQ== 0\nIg== 99999999999\n"),
              HasSubstr("line 2: got rank 99999999999; needed less than"));
  EXPECT_THAT(error("IQ== 0\nIg== 2\n"), HasSubstr("got no token of rank 1"));
  EXPECT_THAT(error("IQ== 0\nIQ== 1\n"), HasSubstr("got ranks 0 and 1 for one token"));
  EXPECT_THAT(error("IQ== 0\n"), HasSubstr("no token for byte 0x00"));
  EXPECT_THAT(error(std::string(1400, 'A') + " 0\n"),
              HasSubstr("got a token of 1050 bytes; needed at most 1024"));
  EXPECT_THAT(error("[{\"rank\":0}]"), HasSubstr("[0]: field 'token_bytes'"));
  EXPECT_THAT(error("[5]"), HasSubstr("[0]: got 5; needed an object"));
  EXPECT_THAT(error("[{\"rank\":3,\"token_bytes\":\"IQ==\"}]"),
              HasSubstr("[0]: got rank 3; needed less than 1"));
  EXPECT_THAT(error("[{"), HasSubstr("needed valid JSON"));
  EXPECT_THAT(
      error_of([&] { make_tokenizer({.type = "TikTokenizer", .model = kFixtures + "ranks.tiktoken"}); }),
      HasSubstr("tiktoken_pattern: got none; needed v1, v2, gpt2"));
  EXPECT_THAT(error_of([&] {
                make_tokenizer(
                    {.type = "TikTokenizer", .model = kFixtures + "ranks.tiktoken", .tiktoken_pattern = "p"});
              }),
              HasSubstr("tiktoken_pattern: got 'p'"));
  EXPECT_THAT(error_of([&] {
                make_tokenizer({.type = "TikTokenizer",
                                .model = kFixtures + "ranks.tiktoken",
                                .tiktoken_pattern = "gpt2",
                                .tiktoken_num_special_tokens = 3});
              }),
              HasSubstr("tiktoken_num_special_tokens: got 3; needed 0, or 7 to 100000"));
}

TEST_F(TokenizerFiles, TikTokenizer) {
  const std::string ranks = kFixtures + "ranks.tiktoken";
  const auto t = make_tokenizer({.type = "TikTokenizer", .model = ranks, .tiktoken_pattern = "gpt2"});
  EXPECT_EQ(t->vocab_size(), 1400);  // 1399 ranks and <|endoftext|>
  EXPECT_EQ(t->eod(), 1399);
  EXPECT_EQ(t->decode(t->encode("Hello, tokens!")), "Hello, tokens!");
  Json list = Json::array();
  const TiktokenRanks read = read_tiktoken_ranks(ranks);
  std::string line;
  const std::string text = read_file(ranks);
  for (size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) {
    line = text.substr(at, text.find(' ', at) - at);
    list.push_back({{"rank", list.size()}, {"token_bytes", line}, {"token_str", ""}});
  }
  const std::string path = write("vocab.json", list.dump());
  EXPECT_EQ(read_tiktoken_ranks(path).tokens, read.tokens);
  const auto m = make_tokenizer({.type = "TikTokenizer", .model = path, .tiktoken_pattern = "gpt2"});
  EXPECT_EQ(m->vocab_size(), 2399);
  EXPECT_EQ(m->eod(), 2);
  Ids shifted = t->encode("Hello, tokens!");
  for (int32_t& id : shifted) id += 1000;
  EXPECT_EQ(m->encode("Hello, tokens!"), shifted);
  const auto cut =
      make_tokenizer({.type = "TikTokenizer", .model = path, .vocab_size = 2000, .tiktoken_pattern = "gpt2"});
  EXPECT_EQ(cut->vocab_size(), 2000);
  EXPECT_THAT(error_of([&] {
                make_tokenizer(
                    {.type = "TikTokenizer", .model = path, .vocab_size = 1100, .tiktoken_pattern = "gpt2"});
              }),
              HasSubstr("no token for byte"));
}

TEST_F(TokenizerFiles, Gpt2) {
  const Json file = read_json_file(kFixtures + "tokenizer.json");
  const std::string vocab = write("vocab.json", file["model"]["vocab"].dump());
  std::string merges = "#version: 0.2\n";
  for (const Json& pair : file["model"]["merges"]) {
    merges += pair[0].get<std::string>() + " " + pair[1].get<std::string>() + "\n";
  }
  const std::string merge_file = write("merges.txt", merges);
  const auto t = make_tokenizer({.type = "GPT2BPETokenizer", .vocab_file = vocab, .merge_file = merge_file});
  const auto same = make_tokenizer({.type = "HuggingFaceTokenizer", .model = kFixtures + "tokenizer.json"});
  EXPECT_EQ(t->name(), "GPT2BPETokenizer");
  EXPECT_EQ(t->eod(), 0);
  EXPECT_EQ(t->vocab_size(), 1400);
  const std::string text = "It's naïve,  tokenizer\n\n<|endoftext|>";
  EXPECT_EQ(t->encode(text), same->encode(text));
  EXPECT_EQ(t->decode(t->encode(text)), text);
  const auto error = [&](const std::string& bad) {
    const std::string path = write("bad.txt", bad);
    return error_of([&] { read_gpt2_files(vocab, path); });
  };
  EXPECT_EQ(error("#version: 0.2\r\ni n\r\n"), "(no error)");
  EXPECT_THAT(error("i n\nfoo\n"), HasSubstr("bad.txt: line 2: got 'foo'; needed two tokens"));
  EXPECT_THAT(error("i n x\n"), HasSubstr("line 1: got 'i n x'"));
  EXPECT_THAT(error(" n\n"), HasSubstr("line 1: got ' n'"));
  EXPECT_THAT(error("i qqq\n"), HasSubstr("merges[0]: got 'qqq'; needed tokens of the vocab"));
  EXPECT_THAT(error_of([&] { read_gpt2_files(merge_file, merge_file); }), HasSubstr("merges.txt"));
  EXPECT_THAT(error_of([&] { read_gpt2_files(write("v.json", "[1]"), merge_file); }),
              HasSubstr("v.json: got a JSON array; needed an object of tokens and ids"));
}

TEST_F(TokenizerFiles, HuggingFaceEndOfDocument) {
  BpeSpec spec = read_tokenizer_json(kFixtures + "tokenizer.json");
  const auto make = [&](const std::string& eod = "") {
    return make_tokenizer({.type = "HuggingFaceTokenizer", .model = folder_.path(), .eod_token = eod});
  };
  EXPECT_THAT(error_of([&] { make(); }),
              HasSubstr("got a folder without tokenizer.json; needed tokenizer.json"));
  spec.added.push_back({.id = 1400, .content = "</s>", .special = true});
  write("tokenizer.json", tokenizer_json(spec));
  EXPECT_EQ(make()->eod(), 0);
  EXPECT_EQ(make("</s>")->eod(), 1400);
  write("tokenizer_config.json", R"({"eos_token":"</s>"})");
  EXPECT_EQ(make()->eod(), 1400);
  EXPECT_EQ(make("<|endoftext|>")->eod(), 0);
  EXPECT_EQ(
      make_tokenizer({.type = "HuggingFaceTokenizer", .model = folder_.path() + "/tokenizer.json"})->eod(),
      1400);
  write("tokenizer_config.json", R"({"eos_token":{"__type":"AddedToken","content":"</s>"}})");
  EXPECT_EQ(make()->eod(), 1400);
  write("tokenizer_config.json", R"({"eos_token":null})");
  EXPECT_EQ(make()->eod(), 0);
  write("tokenizer_config.json", R"({"eos_token":7})");
  EXPECT_THAT(error_of([&] { make(); }), HasSubstr("field 'eos_token'"));
  write("tokenizer_config.json", R"([])");
  EXPECT_THAT(error_of([&] { make(); }), HasSubstr("needed a JSON object"));
  write("tokenizer_config.json", R"({"eos_token":"<nobody>"})");
  EXPECT_THAT(error_of([&] { make(); }), HasSubstr("got no token '<nobody>', which"));
  EXPECT_THAT(error_of([&] { make("<none>"); }), HasSubstr("got no token '<none>', which --eod-token names"));
  spec.added.clear();
  spec.model.tokens[0] = "<spare>";
  write("tokenizer.json", tokenizer_json(spec));
  write("tokenizer_config.json", "{}");
  EXPECT_THAT(error_of([&] { make(); }),
              HasSubstr("no token '<|endoftext|>', which the default (no eos_token in"));
}

}  // namespace
}  // namespace phalanx
