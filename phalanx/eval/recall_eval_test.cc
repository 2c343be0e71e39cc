#include "phalanx/eval/recall_eval.h"

#include <gtest/gtest.h>

#include <cmath>

#include "phalanx/data/recall_config.h"
#include "phalanx/tokenizer/make_tokenizer.h"

namespace phalanx {
namespace {

TEST(Wilson, IntervalsOfTheFormula) {
  // 8 of 10 with z = 2: centre (0.8 + 4/20) / 1.4, half 2/1.4 sqrt(0.016 + 0.01).
  const Interval eight = wilson_interval(8, 10, 2);
  EXPECT_NEAR(eight.low, (1.0 - 2 * std::sqrt(0.026)) / 1.4, 1e-12);
  EXPECT_NEAR(eight.high, (1.0 + 2 * std::sqrt(0.026)) / 1.4, 1e-12);
  EXPECT_EQ(wilson_interval(0, 10, 2).low, 0);
  EXPECT_NEAR(wilson_interval(0, 10, 2).high, 0.4 / 1.4, 1e-12);
  EXPECT_EQ(wilson_interval(10, 10).high, 1);
  EXPECT_GT(wilson_interval(10, 10).low, 0.7);
  EXPECT_EQ(wilson_interval(0, 0).low, 0);
  EXPECT_EQ(wilson_interval(0, 0).high, 1);
}

TEST(RecallEval, OverlapCountsDigitsAtTheirPlace) {
  EXPECT_EQ(answer_overlap("212-555-1234", "212-555-1234"), 1);
  EXPECT_EQ(answer_overlap("212-555-1234", "2125551239"), 0.9);
  EXPECT_EQ(answer_overlap("212-555-1234", "12-555-1234"), 0.2) << "one place to the left";
  EXPECT_EQ(answer_overlap("212-555-1234", ""), 0);
  EXPECT_EQ(answer_overlap("212-555-1234", "212-555-1234 and more"), 1);
}

TEST(RecallEval, AnAnswerIsALine) {
  EXPECT_EQ(answer_line(" 212\nWhat").text, "212");
  EXPECT_TRUE(answer_line(" 212\nWhat").complete);
  EXPECT_EQ(answer_line("\n 212").text, "212");
  EXPECT_FALSE(answer_line("\n 212").complete);
  EXPECT_FALSE(answer_line(" \n").complete) << "the line has not begun";
}

// Looks the last name of the prompt up in its book, and gives a wrong last digit to every third prompt.
class LookingUp : public TextModel {
 public:
  explicit LookingUp(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  std::vector<int64_t> generate(std::span<const int64_t>, const GenerateOptions&,
                                const std::function<bool(int64_t)>&) override {
    return {};
  }
  std::vector<std::vector<double>> score(std::span<const ScoreText>) override { return {}; }
  std::vector<std::vector<int64_t>> generate_all(std::span<const std::vector<int64_t>> prompts,
                                                 const GenerateOptions& options, const BatchLimits&,
                                                 const OnToken& on_token) override {
    EXPECT_EQ(options.sampling.temperature, 0) << "greedy";
    std::vector<std::vector<int64_t>> made;
    for (size_t i = 0; i < prompts.size(); ++i) {
      std::string text = " " + number_in(prompts[i]) + "\nWhat is";
      if (i % 3 == 2) text[12] = text[12] == '1' ? '2' : '1';
      made.emplace_back();
      for (const int32_t id : tokenizer_.encode(text)) {
        made.back().push_back(id);
        if (!on_token(i, id)) break;
      }
      tokens += made.back().size();
    }
    return made;
  }
  size_t tokens = 0;

 private:
  std::string number_in(const std::vector<int64_t>& prompt) const {
    const std::string text = tokenizer_.decode(std::vector<int32_t>(prompt.begin(), prompt.end()));
    const std::string asks = "What is the phone number for ";
    const size_t name = text.rfind(asks) + asks.size();
    const std::string line = text.substr(name, text.find('?', name) - name) + ": ";
    return text.substr(text.find(line) + line.size(), 12);
  }

  const Tokenizer& tokenizer_;
};

TEST(RecallEval, CountsWhatAModelGetsRight) {
  ModelFolder folder;
  folder.tokenizer = make_tokenizer({.type = "ByteTokenizer"});
  LookingUp model(*folder.tokenizer);
  const RecallResult result =
      eval_recall(model, folder, {.spec = parse_recall_task("phonebook entries=5..9", "test"), .count = 30});
  ASSERT_EQ(result.answers.size(), 30u);
  EXPECT_EQ(result.exact(), 20);
  EXPECT_NEAR(result.overlap(), (20 + 10 * 0.9) / 30, 1e-12);
  EXPECT_EQ(result.interval().low, wilson_interval(20, 30).low);
  EXPECT_EQ(model.tokens, 30u * 14) << "a text ends with its line";
  EXPECT_EQ(result.answers[7].index, 7);
  EXPECT_GT(result.longest_prompt * 30, result.prompt_tokens);
}

}  // namespace
}  // namespace phalanx
