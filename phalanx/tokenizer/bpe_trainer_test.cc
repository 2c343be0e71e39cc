#include "phalanx/tokenizer/bpe_trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "phalanx/base/error.h"
#include "phalanx/base/json.h"
#include "phalanx/tokenizer/byte_alphabet.h"

namespace phalanx {
namespace {

using testing::ElementsAre;
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

BpeSpec train(const std::vector<std::string>& texts, const BpeTrainerOptions& options, int threads = 1) {
  const std::vector<std::string_view> documents(texts.begin(), texts.end());
  return train_bpe(count_words(documents, options.pattern, options.add_prefix_space, threads).words(),
                   options);
}

std::vector<std::string> tokens_after_bytes(const BpeSpec& spec) {
  const auto first = static_cast<int64_t>(spec.added.size()) + 256;
  return {spec.model.tokens.begin() + first, spec.model.tokens.end()};
}

std::map<std::string, int64_t> as_map(const WordCounter& counter) {
  std::map<std::string, int64_t> words;
  for (const WordCount& word : counter.words()) words[std::string(word.bytes)] += word.count;
  EXPECT_EQ(words.size(), static_cast<size_t>(counter.distinct()));
  return words;
}

// The rule in its plainest form: count all pairs anew before each merge.
std::vector<BpeMerge> naive_merges(std::span<const WordCount> words, const BpeSpec& spec, int64_t merges) {
  std::map<std::string, int32_t> ids;
  for (size_t id = 0; id < 256; ++id) ids[spec.model.tokens[id]] = static_cast<int32_t>(id);
  std::vector<std::vector<int32_t>> rows;
  for (const WordCount& word : words) {
    rows.emplace_back();
    for (const char byte : word.bytes) rows.back().push_back(ids.at(std::string(1, byte)));
  }
  std::vector<BpeMerge> result;
  for (int32_t next = 256; next < 256 + merges; ++next) {
    std::map<std::pair<int32_t, int32_t>, int64_t> counts;
    for (size_t w = 0; w < rows.size(); ++w) {
      for (size_t i = 0; i + 1 < rows[w].size(); ++i) counts[{rows[w][i], rows[w][i + 1]}] += words[w].count;
    }
    if (counts.empty()) break;
    const auto best = std::max_element(counts.begin(), counts.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    const auto [a, b] = best->first;
    result.push_back({a, b, next});
    for (std::vector<int32_t>& row : rows) {
      std::vector<int32_t> merged;
      for (size_t i = 0; i < row.size(); ++i) {
        const bool pair = i + 1 < row.size() && row[i] == a && row[i + 1] == b;
        merged.push_back(pair ? next : row[i]);
        i += pair ? 1 : 0;
      }
      row = merged;
    }
  }
  return result;
}

const Json& fixture() {
  static const Json json =
      read_json_file(std::string(PHALANX_SOURCE_DIR) + "/tests/fixtures/bpe_trainer.json");
  return json;
}

TEST(BpeTrainer, MakesTheTokensOfHuggingFace) {
  const std::map<std::string, SplitPattern> patterns{
      {"gpt2", SplitPattern::kGpt2},   {"cl100k", SplitPattern::kCl100k},
      {"o200k", SplitPattern::kO200k}, {"llama3", SplitPattern::kLlama3},
      {"qwen2", SplitPattern::kQwen2}, {"whole", SplitPattern::kWholeText}};
  ASSERT_EQ(fixture()["cases"].size(), 33u);
  for (const Json& c : fixture()["cases"]) {
    SCOPED_TRACE(c["name"].get<std::string>());
    BpeTrainerOptions options;
    options.vocab_size = c["vocab_size"];
    options.min_frequency = c["min_frequency"];
    options.max_token_length = c["max_token_length"];
    options.special_tokens = c["special_tokens"].get<std::vector<std::string>>();
    options.pattern = patterns.at(c["pattern"]);
    options.add_prefix_space = c["add_prefix_space"];
    const std::vector<std::string> texts = fixture()["texts"][c["texts"].get<std::string>()];
    for (const int threads : {1, 2, 3}) {
      const BpeSpec spec = train(texts, options, threads);
      const auto first = c["first_byte"].get<size_t>();
      std::vector<int32_t> merges;
      for (size_t k = 0; k < spec.model.merges.size(); ++k) {
        const BpeMerge& merge = spec.model.merges[k];
        merges.insert(merges.end(), {merge.left, merge.right});
        ASSERT_EQ(merge.result, static_cast<int32_t>(first + 256 + k));
        ASSERT_EQ(spec.model.tokens[first + 256 + k],
                  spec.model.tokens[static_cast<size_t>(merge.left)] +
                      spec.model.tokens[static_cast<size_t>(merge.right)]);
      }
      ASSERT_EQ(merges, c["merges"].get<std::vector<int32_t>>()) << threads << " threads";
      std::string alphabet;
      for (size_t i = 0; i < first + 256; ++i) alphabet += spec.model.tokens[i];
      ASSERT_EQ(to_byte_alphabet(alphabet), c["alphabet"].get<std::string>());
      ASSERT_EQ(spec.added.size(), options.special_tokens.size());
      for (size_t i = 0; i < spec.added.size(); ++i) {
        ASSERT_EQ(spec.added[i].id, static_cast<int32_t>(i));
        ASSERT_EQ(spec.added[i].content, options.special_tokens[i]);
        ASSERT_TRUE(spec.added[i].special);
      }
      ASSERT_EQ(spec.add_prefix_space, options.add_prefix_space);
      if (options.pattern == SplitPattern::kWholeText) {
        ASSERT_TRUE(spec.splits.empty());
      } else {
        ASSERT_THAT(spec.splits, ElementsAre(options.pattern));
      }
    }
  }
}

TEST(BpeTrainer, EqualsTheNaiveRuleOnRandomWords) {
  std::mt19937 rng(7);
  for (int round = 0; round < 60; ++round) {
    std::vector<std::string> texts;
    const int letters = 1 + round % 4;
    for (int w = 0; w < 30; ++w) {
      std::string text(rng() % 40, 'a');
      for (char& c : text) c = static_cast<char>('a' + static_cast<int>(rng()) % letters);
      const std::string unit = text.substr(0, rng() % 4);
      for (int k = 0; k < 5; ++k) text += unit;
      texts.push_back(text);
    }
    const std::vector<std::string_view> documents(texts.begin(), texts.end());
    const WordCounter words = count_words(documents, SplitPattern::kWholeText, false, 1);
    const BpeSpec spec = train_bpe(words.words(), {.vocab_size = 376, .pattern = SplitPattern::kWholeText});
    ASSERT_EQ(spec.model.merges, naive_merges(words.words(), spec, 120)) << "round " << round;
    ASSERT_EQ(std::set<std::string>(spec.model.tokens.begin(), spec.model.tokens.end()).size(),
              spec.model.tokens.size());
  }
}

TEST(BpeTrainer, CountsBeyond32Bits) {
  const std::vector<WordCount> words{{"ab", int64_t{3} << 32}, {"cd", int64_t{2} << 32}, {"ef", 4000000000}};
  const BpeSpec spec = train_bpe(words, {.vocab_size = 300, .min_frequency = 4000000001});
  EXPECT_THAT(tokens_after_bytes(spec), ElementsAre("ab", "cd"));
}

TEST(BpeTrainer, TiesGoToTheSmallestIds) {
  // Ids follow the printable alphabet: '!' is 0, ' ' (U+0120) comes after all printable bytes.
  const BpeSpec spec = train({"b! !b  x"}, {.vocab_size = 300, .pattern = SplitPattern::kWholeText});
  EXPECT_EQ(spec.model.tokens[0], "!");
  EXPECT_EQ(spec.model.tokens[188], std::string(1, '\0'));
  EXPECT_THAT(tokens_after_bytes(spec), testing::Contains("!b"));
  EXPECT_EQ(tokens_after_bytes(spec)[0], "!b");
}

TEST(BpeTrainer, OneLongPieceIsNotQuadratic) {
  std::mt19937 rng(3);
  std::string text(500'000, 'x');
  for (char& c : text) c = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[rng() % 64];
  const BpeSpec spec =
      train({text, std::string(500'000, 'a')}, {.vocab_size = 8000, .pattern = SplitPattern::kWholeText});
  EXPECT_EQ(spec.model.tokens.size(), 8000u);
  EXPECT_EQ(spec.model.tokens[256], "aa");
}

TEST(BpeTrainer, VocabularyMayBeLargerThanTheCorpusAllows) {
  const BpeSpec spec = train({"abcd abcd"}, {.vocab_size = 2147483647});
  EXPECT_THAT(tokens_after_bytes(spec), ElementsAre("ab", "cd", "abcd", " abcd"));
}

TEST(BpeTrainer, NeverSpellsASpecialToken) {
  const std::vector<std::string> texts{"<eod>", "<eod>", "<eod>", " d", " d", "d>", "d>"};
  BpeTrainerOptions options{.vocab_size = 300, .pattern = SplitPattern::kWholeText};
  EXPECT_THAT(tokens_after_bytes(train(texts, options)), testing::Contains("<eod>"));
  options.special_tokens = {"<eod>", "\u0120d"};  // the second is how files spell " d"
  const std::vector<std::string> tokens = tokens_after_bytes(train(texts, options));
  EXPECT_THAT(tokens, testing::Not(testing::Contains("<eod>")));
  EXPECT_THAT(tokens, testing::Not(testing::Contains(" d")));
  EXPECT_THAT(tokens, testing::Contains("d>"));
}

TEST(BpeTrainer, ReportsProgress) {
  std::vector<std::pair<int64_t, int64_t>> calls;
  const WordCounter words =
      count_words(std::vector<std::string_view>{"aaaa bbbb abab"}, SplitPattern::kGpt2, false, 1);
  const BpeSpec spec = train_bpe(words.words(), {.vocab_size = 256 + 3},
                                 [&](int64_t done, int64_t all) { calls.emplace_back(done, all); });
  EXPECT_EQ(spec.model.tokens.size(), 259u);
  ASSERT_FALSE(calls.empty());
  EXPECT_EQ(calls.back(), (std::pair<int64_t, int64_t>{259, 259}));
}

TEST(BpeTrainer, RefusesBadSettings) {
  const auto error = [](const BpeTrainerOptions& options) {
    return error_of([&] { train({"text"}, options); });
  };
  EXPECT_EQ(
      error({.vocab_size = 256, .special_tokens = {"<s>", "</s>"}}),
      "BPE training: got vocab_size 256; needed 258 (256 bytes and 2 special tokens) to 2147483647. Fix: set the "
      "number of tokens, such as 32000");
  EXPECT_EQ(train({"text"}, {.vocab_size = 258, .special_tokens = {"<s>", "</s>"}}).model.tokens.size(),
            258u);
  EXPECT_THAT(error({.vocab_size = int64_t{1} << 31}), HasSubstr("got vocab_size 2147483648"));
  EXPECT_THAT(error({.vocab_size = -1}), HasSubstr("got vocab_size -1"));
  EXPECT_THAT(error({.min_frequency = -2}), HasSubstr("got min_frequency -2; needed 0 or more"));
  EXPECT_THAT(error({.max_token_length = -3}), HasSubstr("got max_token_length -3; needed 0 (any) or more"));
  EXPECT_THAT(error({.special_tokens = {"<s>", "<t>", "<s>"}}), HasSubstr("got special token '<s>' twice"));
  EXPECT_THAT(error({.special_tokens = {""}}), HasSubstr("got an empty special token"));
  EXPECT_THAT(error({.special_tokens = {"a"}}),
              HasSubstr("got special token 'a', which files use for a byte"));
  EXPECT_THAT(error({.special_tokens = {"\u0120"}}), HasSubstr("which files use for a byte of text"));
  EXPECT_THAT(error({.special_tokens = {"<\xFF>"}}), HasSubstr("which is not UTF-8; needed UTF-8 text"));
  const std::string small = "text";
  EXPECT_THAT(error_of([&] {
                train_bpe(std::vector<WordCount>{{std::string_view(small.data(), size_t{5} << 30), 1}}, {});
              }),
              HasSubstr("got distinct pieces of 5368709122 bytes together; needed at most 4294901760"));
}

TEST(WordCounter, CountsPiecesOfAnyLength) {
  std::map<std::string, int64_t> expected;
  WordCounter counter(SplitPattern::kWholeText);
  std::mt19937 rng(11);
  for (int i = 0; i < 20000; ++i) {  // grows several times; sizes around what a slot holds
    const std::string text(1 + rng() % 40, static_cast<char>('a' + rng() % 26));
    std::string word = text + (rng() % 2 ? std::string(1, '\0') : std::to_string(rng() % 300));
    ++expected[word];
    counter.add(word);
  }
  EXPECT_EQ(as_map(counter), expected);
}

TEST(WordCounter, CountsWhatTheSplitterCuts) {
  std::mt19937 rng(12);
  std::string text;
  for (int i = 0; i < 5000; ++i) {
    text += std::string(rng() % 24, static_cast<char>('a' + rng() % 3)) + (rng() % 3 ? " " : "\n");
  }
  std::vector<uint32_t> ends;
  split_pieces(SplitPattern::kGpt2, text, 0, text.size(), ends);
  std::map<std::string, int64_t> expected;
  uint32_t begin = 0;
  for (const uint32_t end : ends) {
    ++expected[text.substr(begin, end - begin)];
    begin = end;
  }
  WordCounter counter(SplitPattern::kGpt2);
  counter.add(text);
  EXPECT_EQ(as_map(counter), expected);
}

TEST(WordCounter, TellsPaddingFromZeroBytes) {
  WordCounter counter(SplitPattern::kWholeText);
  for (int prefix = 0; prefix < 20000; ++prefix) {
    const std::string word{static_cast<char>(prefix % 127 + 1), static_cast<char>(prefix / 127 % 127 + 1),
                           'x'};
    for (size_t zeros = 0; zeros < 5; ++zeros) counter.add(word + std::string(zeros, '\0'));
  }
  EXPECT_EQ(counter.distinct(), 127 * 127 * 5);
}

TEST(WordCounter, EndsOfDocumentsCutPieces) {
  WordCounter counter(SplitPattern::kGpt2);
  counter.add("the cat");
  counter.add("the");
  counter.add("");
  counter.add("re the");
  EXPECT_EQ(as_map(counter),
            (std::map<std::string, int64_t>{{"the", 2}, {" cat", 1}, {"re", 1}, {" the", 1}}));
}

TEST(WordCounter, PutsASpaceBeforeWhatHasNone) {
  WordCounter counter(SplitPattern::kGpt2, true);
  for (const char* text : {"a", " a", "", "\na"}) counter.add(text);
  EXPECT_EQ(as_map(counter), (std::map<std::string, int64_t>{{" a", 2}, {" ", 1}, {"\n", 1}, {"a", 1}}));
}

TEST(WordCounter, RepairsBytesThatAreNoText) {
  WordCounter counter(SplitPattern::kGpt2);
  counter.add(
      "a\xFF"
      "b\xE4\xB8");
  EXPECT_EQ(as_map(counter), (std::map<std::string, int64_t>{{"a", 1}, {"\uFFFD", 2}, {"b", 1}}));
}

TEST(WordCounter, ThreadsAndMergesAddUp) {
  std::vector<std::string> texts{"", "a",
                                 std::string(3000, 'b') + " and a long piece " + std::string(50, '-')};
  for (int i = 0; i < 200; ++i)
    texts.push_back("word" + std::to_string(i % 17) + " some text, " + std::string(i, '='));
  const std::vector<std::string_view> documents(texts.begin(), texts.end());
  const auto one = as_map(count_words(documents, SplitPattern::kGpt2, false, 1));
  EXPECT_EQ(one.at(" some"), 200);
  for (const int threads : {2, 3, 8, 500}) {
    EXPECT_EQ(as_map(count_words(documents, SplitPattern::kGpt2, false, threads)), one) << threads;
  }
  EXPECT_EQ(count_words({}, SplitPattern::kGpt2, false, 4).distinct(), 0);
}

TEST(WordCounter, RefusesADocumentOf4GiB) {
  const std::string small = "text";
  WordCounter counter(SplitPattern::kGpt2);
  EXPECT_EQ(
      error_of([&] { counter.add(std::string_view(small.data(), size_t{4} << 30)); }),
      "BPE training: got a document of 4294967296 bytes; needed at most 4026531840. Fix: cut it into documents");
}

}  // namespace
}  // namespace phalanx
