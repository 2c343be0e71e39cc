#include "phalanx/data/packed_tasks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "phalanx/base/error.h"
#include "phalanx/data/recall_config.h"
#include "phalanx/tokenizer/make_tokenizer.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kEod = 256;

struct Made {
  std::string text;    // a token a character, '|' for the end of a document
  std::string labels;  // under each token but the first: x where it counts as a label, '.' where not
  std::vector<int64_t> starts;
};

class PackedTasksTest : public ::testing::Test {
 protected:
  PackedTasksOptions options(const std::vector<std::string>& tasks, int64_t seq_length) const {
    return {.tasks = parse_recall_tasks(tasks, "data.tasks"),
            .stream = {.seed = 7},
            .seq_length = seq_length,
            .num_samples = 1000};
  }

  static Made read(const PackedTasks& tasks, int64_t sample, int64_t seq_length) {
    std::vector<int64_t> tokens(static_cast<size_t>(seq_length) + 1, -1);
    std::vector<uint8_t> mask(static_cast<size_t>(seq_length), 9);
    Made made;
    tasks.read(sample, tokens, mask, &made.starts);
    for (const int64_t t : tokens) made.text += t == kEod ? '|' : static_cast<char>(t);
    for (const uint8_t m : mask) made.labels += m == 1 ? 'x' : m == 0 ? '.' : '?';
    return made;
  }

  std::unique_ptr<Tokenizer> tokenizer_ = make_tokenizer({.type = "ByteTokenizer"});
};

// By hand: two texts and what is left; the second ends with a document's end that is no label to learn.
TEST_F(PackedTasksTest, KnownSample) {
  const PackedTasks tasks(*tokenizer_, options({"associative_recall pairs=2"}, 79));
  const Made made = read(tasks, 1, 79);
  EXPECT_EQ(made.text,
            "pearl clock\n"
            "arrow otter\n"
            "\n"
            "arrow otter\n"
            "|orchid jewel\n"
            "garlic moon\n"
            "\n"
            "orchid jewel\n"
            "|||");
  EXPECT_EQ(made.labels,
            ".............................xxxxxxx."
            "................................xxxxxxx...");
  EXPECT_EQ(made.text.size(), 80u);
  EXPECT_THAT(made.starts, ElementsAre(0, 38, 78));
}

// Written again from the contract, over tasks, sizes and losses.
TEST_F(PackedTasksTest, IsTheTextsOneAfterTheOther) {
  for (const char* task : {"phonebook entries=3..6 questions=1", "copy words=1..9 loss=all",
                           "associative_recall pairs=3..9 questions=2", "phonebook_reversed entries=1..4"}) {
    const RecallTaskSpec spec = parse_recall_task(task, "test");
    for (const int64_t seq_length : {1111, 1500}) {
      const PackedTasks tasks(*tokenizer_, options({task}, seq_length));
      int texts = 0;
      for (int64_t sample = 0; sample < 30; ++sample) {
        std::string text, labels;
        std::vector<int64_t> starts;
        for (int64_t i = 0;; ++i) {
          std::string one, counts;
          for (const TaskSegment& s : make_recall_sample(spec, {.seed = 7}, sample * 65537 + i).segments) {
            one += s.text;
            counts.append(s.text.size(), s.counts_in_loss ? 'x' : '.');
          }
          if (static_cast<int64_t>(text.size() + one.size() + 1) > seq_length + 1) break;
          starts.push_back(static_cast<int64_t>(text.size()));
          text += one + "|";
          labels += counts + (spec.loss_on_all ? "x" : ".");
          ++texts;
        }
        if (static_cast<int64_t>(text.size()) < seq_length + 1)
          starts.push_back(static_cast<int64_t>(text.size()));
        text.resize(static_cast<size_t>(seq_length) + 1, '|');
        labels.resize(static_cast<size_t>(seq_length) + 1, '.');
        const Made made = read(tasks, sample, seq_length);
        ASSERT_EQ(made.text, text) << task;
        ASSERT_EQ(made.labels, labels.substr(1)) << task;
        ASSERT_EQ(made.starts, starts) << task;
      }
      EXPECT_GT(texts, 30) << "several texts in a sample";
    }
  }
}

// A text may end with the last token, its end of document included, and not one later.
TEST_F(PackedTasksTest, FillsASampleToItsLastToken) {
  const RecallTaskSpec spec = parse_recall_task("copy words=4", "test");
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < 2; ++i) {
    const RecallSample one = make_recall_sample(spec, {.seed = 7}, i);
    lengths.push_back(static_cast<int64_t>(one.prompt.size() + one.answer.size()) + 2);
  }
  const int64_t both = lengths[0] + lengths[1];
  const PackedTasks exact(*tokenizer_, options({"copy words=4"}, both - 1));
  EXPECT_THAT(read(exact, 0, both - 1).starts, ElementsAre(0, lengths[0]));
  EXPECT_EQ(read(exact, 0, both - 1).text.find("||"), std::string::npos) << "no fill";
  const PackedTasks less(*tokenizer_, options({"copy words=4"}, both - 2));
  EXPECT_THAT(read(less, 0, both - 2).starts, ElementsAre(0, lengths[0]));
  EXPECT_EQ(read(less, 0, both - 2).text.find("||"), static_cast<size_t>(lengths[0]) - 1) << "only fill";
}

TEST_F(PackedTasksTest, DepthsAreSweptFromSampleToSample) {
  const RecallTaskSpec spec = parse_recall_task("phonebook entries=8", "test");
  std::map<int64_t, int> depths;
  for (int64_t sample = 0; sample < 800; ++sample)  // the first text of each
    ++depths[make_recall_sample(spec, {.seed = 7}, sample * 65537).depth];
  ASSERT_EQ(depths.size(), 8u);
  for (const auto& [depth, count] : depths) EXPECT_EQ(count, 100) << depth;
}

TEST_F(PackedTasksTest, WeightsAreSharesOfTexts) {
  const PackedTasks tasks(*tokenizer_, options({"copy words=2", "associative_recall pairs=1 weight=3"}, 400));
  int copies = 0, texts = 0;
  for (int64_t sample = 0; sample < 200; ++sample) {
    const Made made = read(tasks, sample, 400);
    for (size_t i = 0; i + 1 < made.starts.size(); ++i) {
      const auto begin = static_cast<size_t>(made.starts[i]);
      const std::string text = made.text.substr(begin, static_cast<size_t>(made.starts[i + 1]) - begin - 1);
      ++texts;
      if (text.find("\n\n") == std::string::npos) ++copies;
    }
  }
  ASSERT_GT(texts, 2000);
  EXPECT_NEAR(static_cast<double>(copies) / texts, 0.25, 0.04);  // four standard deviations
}

TEST_F(PackedTasksTest, PartsShareNoText) {
  PackedTasksOptions train = options({"phonebook entries=4"}, 600), valid = train;
  valid.stream.part = 1;
  const PackedTasks a(*tokenizer_, train), b(*tokenizer_, valid);
  for (int64_t sample = 0; sample < 50; ++sample)
    EXPECT_NE(read(a, sample, 600).text, read(b, sample, 600).text);
}

TEST_F(PackedTasksTest, SaysByHowMuchATextIsTooLong) {
  const auto error_of = [&](const PackedTasksOptions& o) -> std::string {
    try {
      const PackedTasks tasks(*tokenizer_, o);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kBadInput);
      return e.what();
    }
    return "(no error)";
  };
  const std::string message = error_of(options({"copy words=2", "phonebook entries=8..32"}, 512));
  EXPECT_THAT(
      message,
      ::testing::MatchesRegex(
          "data.tasks, entry 2: got phonebook of 32 entries: 1[0-9]{3} tokens, [5-9][0-9]{2} more than "
          "a sample holds; needed at most model.seq_length, 512. Fix: entries of at most 1[0-9], or "
          "model.seq_length=1[0-9]{3}"));
  // What it says is so: that many fit, one more does not.
  const std::string fits = message.substr(message.find("at most 1") + 8, 2);
  EXPECT_EQ(error_of(options({"phonebook entries=" + fits}, 512)), "(no error)");
  EXPECT_THAT(error_of(options({"phonebook entries=" + std::to_string(std::stoi(fits) + 1)}, 512)),
              HasSubstr("entries of at most " + fits));
  EXPECT_THAT(error_of(options({"phonebook entries=3"}, 20)), HasSubstr("or fewer questions"));
  PackedTasksOptions many = options({"copy words=2"}, 64);
  many.num_samples = kMaxPackedTasks + 1;
  EXPECT_THAT(error_of(many), HasSubstr("data.tasks: got 8589934593 samples; needed at most 8589934592"));
}

// The longest that the start looks at fits to the token; a longer one that comes later is passed over.
TEST_F(PackedTasksTest, ATextThatIsAloneTooLongIsPassedOver) {
  const RecallTaskSpec spec = parse_recall_task("copy words=4", "test");
  const auto length_of = [&](int64_t index) {
    const RecallSample one = make_recall_sample(spec, {.seed = 7}, index);
    return static_cast<int64_t>(one.prompt.size() + one.answer.size()) + 1;
  };
  int64_t longest = 0;
  for (int64_t i = 0; i < 32; ++i) longest = std::max(longest, length_of(i));
  EXPECT_THROW(PackedTasks(*tokenizer_, options({"copy words=4"}, longest - 1)), Error);
  const PackedTasks tasks(*tokenizer_, options({"copy words=4"}, longest));
  int passed = 0;
  for (int64_t sample = 0; sample < 1000; ++sample) {
    int64_t i = 0;
    while (length_of(sample * 65537 + i) > longest) ++i;
    passed += i > 0 ? 1 : 0;
    const RecallSample first = make_recall_sample(spec, {.seed = 7}, sample * 65537 + i);
    ASSERT_TRUE(read(tasks, sample, longest).text.starts_with(first.prompt + first.answer + "\n|"));
  }
  EXPECT_GT(passed, 0);
}

class NoEnd : public Tokenizer {
 public:
  std::string name() const override { return "NoEnd"; }
  int64_t vocab_size() const override { return 256; }
  std::optional<int32_t> eod() const override { return std::nullopt; }
  std::vector<int32_t> encode(std::string_view text) const override {
    return std::vector<int32_t>(text.begin(), text.end());
  }
  std::string piece(int32_t id, bool) const override { return std::string(1, static_cast<char>(id)); }
};

TEST_F(PackedTasksTest, NeedsAnEndOfDocument) {
  const NoEnd none;
  try {
    const PackedTasks tasks(none, options({"copy words=2"}, 64));
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("got NoEnd without a token that ends a document"));
  }
}

}  // namespace
}  // namespace phalanx
