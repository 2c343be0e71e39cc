#include "phalanx/train/task_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "phalanx/data/packed_tasks.h"
#include "phalanx/tokenizer/make_tokenizer.h"
#include "phalanx/train/test_sample_source.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using testing::read_tokens;
using testing::SampleSourceFolder;
using testing::source_error;

constexpr int64_t kLength = 160;

class TaskSourceTest : public ::testing::Test {
 protected:
  TaskSourceTest() {
    config_.tasks = {"associative_recall pairs=2..4 questions=2", "copy words=2..5"};
    options_ = {.seq_length = kLength, .seed = 3, .num_samples = 40, .tokenizer = tokenizer_.get()};
  }

  SampleSourceFolder folder_;
  std::unique_ptr<Tokenizer> tokenizer_ = make_tokenizer({.type = "ByteTokenizer"});
  DataConfig config_;
  SampleSourceOptions options_;
};

TEST_F(TaskSourceTest, PartsShareNoSample) {
  const auto train = make_sample_source(config_, SplitPart::kTrain, options_);
  const auto valid = make_sample_source(config_, SplitPart::kValid, options_);
  const auto again = make_sample_source(config_, SplitPart::kTrain, options_);
  EXPECT_EQ(train->num_samples(), 40);
  std::set<std::vector<int64_t>> seen;
  for (int64_t k = 0; k < 40; ++k) {
    seen.insert(read_tokens(*train, k, kLength));
    seen.insert(read_tokens(*valid, k, kLength));
  }
  EXPECT_EQ(seen.size(), 80u);
  for (int64_t k = 39; k >= 0; --k)
    EXPECT_EQ(read_tokens(*again, k, kLength), read_tokens(*train, k, kLength));
}

bool same(const HostBatch& a, size_t sample_of_a, const HostBatch& b, size_t sample_of_b) {
  const auto row = [](const auto& all, size_t sample) {
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(sample * kLength);
    return std::vector<int64_t>(begin, begin + kLength);
  };
  return row(a.tokens, sample_of_a) == row(b.tokens, sample_of_b) &&
         row(a.labels, sample_of_a) == row(b.labels, sample_of_b) &&
         row(a.label_mask, sample_of_a) == row(b.label_mask, sample_of_b) &&
         row(a.position, sample_of_a) == row(b.position, sample_of_b) &&
         row(a.document, sample_of_a) == row(b.document, sample_of_b);
}

// However a step is dealt and cut, each sample is there once and the same, whether of tasks alone or mixed with files.
TEST_F(TaskSourceTest, LayoutsDoNotChangeASample) {
  for (const bool mixed : {false, true}) {
    if (mixed) {
      config_.data_path = {folder_.write("files", 1000, 300)};
      config_.split = "1";
      config_.tasks_fraction = 0.4;
    }
    const auto source = make_sample_source(config_, SplitPart::kTrain, options_);
    for (const bool by_sequences : {false, true}) {
      DocumentRules rules{.eod = *tokenizer_->eod(), .reset_positions = true, .reset_attention = true};
      if (by_sequences) rules = {.reset_at_sequences = true};
      const HostBatch whole = build_micro_batches(*source, 8, 12, 12, kLength, rules)[0];
      for (const int64_t size : {1, 2, 3}) {
        for (const int64_t ranks : {1, 2, 3}) {
          std::set<int64_t> seen;
          for (int64_t rank = 0; rank < ranks; ++rank) {
            for (const HostBatch& part : build_step_share(*source,
                                                          {.first = 8,
                                                          .count = 12,
                                                          .micro_batch_size = size,
                                                          .data_rank = rank,
                                                          .data_size = ranks},
                                                          kLength, rules)) {
              for (int64_t i = 0; i < part.num_samples; ++i) {
                const int64_t k = part.first_sample + i;
                EXPECT_TRUE(seen.insert(k).second);
                EXPECT_TRUE(same(part, static_cast<size_t>(i), whole, static_cast<size_t>(k)));
              }
            }
          }
          EXPECT_EQ(seen.size(), 12u);
        }
      }
    }
  }
}

// Each text is a document, by its end token and by where it begins: attention and positions start again there alike.
TEST_F(TaskSourceTest, EachTextIsADocument) {
  const auto source = make_sample_source(config_, SplitPart::kTrain, options_);
  const DocumentRules ends{.eod = *tokenizer_->eod(), .reset_positions = true, .reset_attention = true};
  int several = 0;
  for (int64_t k = 0; k < 20; ++k) {
    const HostBatch by_end = build_micro_batches(*source, k, 1, 1, kLength, ends)[0];
    const HostBatch by_start =
        build_micro_batches(*source, k, 1, 1, kLength, {.reset_at_sequences = true})[0];
    size_t text = kLength;  // behind it only ends of documents stand
    while (text > 1 && by_end.tokens[text - 2] == *tokenizer_->eod()) --text;
    for (size_t i = 0; i < text; ++i) {
      ASSERT_EQ(by_end.document[i], by_start.document[i]);
      ASSERT_EQ(by_end.position[i], by_start.position[i]);
    }
    several += by_end.document[text - 1] > 1 ? 1 : 0;
    EXPECT_EQ(by_end.labels[kLength - 1], read_tokens(*source, k, kLength)[kLength]);
    for (size_t i = 0; i + 1 < kLength; ++i) EXPECT_EQ(by_end.labels[i], by_end.tokens[i + 1]);
  }
  EXPECT_GT(several, 10);
}

TEST_F(TaskSourceTest, MixesByTheFractionWithoutGaps) {
  const std::string prefix =
      folder_.write("files", 1000, 300);  // tokens from 1000 on are of no text of a task
  const auto tasks = make_sample_source(config_, SplitPart::kTrain, options_);
  DataConfig only_files;
  only_files.data_path = {prefix};
  only_files.split = "1";
  const auto files = make_sample_source(only_files, SplitPart::kTrain, options_);
  config_.data_path = {prefix};
  config_.split = "1";
  for (const double fraction : {0.1, 0.25, 0.5, 0.9}) {
    config_.tasks_fraction = fraction;
    const auto mixed = make_sample_source(config_, SplitPart::kTrain, options_);
    ASSERT_GE(mixed->num_samples(), 40);
    int64_t of_tasks = 0, of_files = 0;
    for (int64_t k = 0; k < 40; ++k) {
      const std::vector<int64_t> tokens = read_tokens(*mixed, k, kLength);
      const bool is_task = tokens[0] < 1000;
      if (is_task) {
        EXPECT_EQ(tokens, read_tokens(*tasks, of_tasks++, kLength)) << k;
      } else {
        for (const int64_t t : tokens) EXPECT_GE(t, 1000);
        ++of_files;
      }
      EXPECT_NEAR(static_cast<double>(of_tasks), static_cast<double>(k + 1) * fraction, 1.0);
    }
    EXPECT_EQ(of_tasks + of_files, 40);
  }
  // Where texts begin comes from the kind of the sample, too.
  config_.tasks_fraction = 0.5;
  const auto half = make_sample_source(config_, SplitPart::kTrain, options_);
  const auto starts_of = [](const SampleSource& source, int64_t k) {
    std::vector<int64_t> tokens(kLength + 1), starts;
    std::vector<uint8_t> mask(kLength);
    source.read_packed(k, tokens, mask, starts);
    return starts;
  };
  for (int64_t k = 0; k < 20; ++k) {  // files have the even places
    EXPECT_EQ(starts_of(*half, 2 * k + 1), starts_of(*tasks, k));
    EXPECT_GT(starts_of(*half, 2 * k).size(), 10u);
  }
  // Of files with weights, which have as many samples as are asked for, no more than needed.
  config_.data_path = {"1", prefix};
  EXPECT_EQ(make_sample_source(config_, SplitPart::kTrain, options_)->num_samples(), 40);
  config_.data_path = {prefix};
  // With tasks in few places, files come in their own order.
  config_.tasks_fraction = 0.02;
  options_.num_samples = std::nullopt;
  const auto epoch = make_sample_source(config_, SplitPart::kTrain, options_);
  const auto plain = make_sample_source(only_files, SplitPart::kTrain, options_);
  const TaskMix mix(0.02);
  EXPECT_EQ(mix.files(epoch->num_samples()), plain->num_samples()) << "one epoch of the files";
  for (int64_t k = 0, file = 0; k < epoch->num_samples(); ++k) {
    if (mix.is_task(k)) continue;
    EXPECT_EQ(read_tokens(*epoch, k, kLength), read_tokens(*plain, file, kLength)) << k;
    ++file;
  }
}

TEST(TaskMix, SharesAreExactAtEveryPlace) {
  for (const double fraction : {0.001, 0.25, 0.3, 0.5, 0.77, 0.999}) {
    const TaskMix mix(fraction);
    int64_t tasks = 0;
    for (int64_t k = 0; k < 5000; ++k) {
      EXPECT_EQ(mix.tasks(k), tasks);
      tasks += mix.is_task(k) ? 1 : 0;
    }
    EXPECT_NEAR(static_cast<double>(tasks), 5000 * fraction, 1.0);
    for (const int64_t files : {0, 1, 2, 7, 100, 12345}) {
      const int64_t most = mix.most_samples(files);
      EXPECT_LE(mix.files(most), files);
      EXPECT_GT(mix.files(most + 1), files);
    }
    const int64_t far = int64_t{1} << 49;
    EXPECT_LE(mix.tasks(far + 1) - mix.tasks(far), 1);
  }
  EXPECT_EQ(TaskMix(0.9999).most_samples(int64_t{1} << 40), kMaxPackedTasks);
}

TEST_F(TaskSourceTest, SaysWhatIsWrong) {
  SampleSourceOptions none = options_;
  none.tokenizer = nullptr;
  EXPECT_THAT(source_error(config_, none), HasSubstr("data.tasks: got no tokenizer; needed one"));
  DataConfig wrong = config_;
  wrong.tasks.push_back("copy words=9..2");
  EXPECT_THAT(source_error(wrong, options_), HasSubstr("data.tasks, entry 3: got words=9..2"));
  wrong = config_;
  wrong.tasks.push_back("phonebook entries=40");
  EXPECT_THAT(source_error(wrong, options_), HasSubstr("data.tasks, entry 3: got phonebook of 40 entries"));
  wrong = config_;
  wrong.data_path = {folder_.write("files", 1000, 300)};
  wrong.split = "1";
  for (const double fraction : {0.0, 1.0, -0.5, 1e-12, std::nan("")}) {
    wrong.tasks_fraction = fraction;
    EXPECT_THAT(source_error(wrong, options_), HasSubstr("data.tasks_fraction: got")) << fraction;
  }
  wrong.tasks_fraction = 0.5;
  EXPECT_EQ(source_error(wrong, options_), "(no error)");
  // A part without documents is no part of tasks alone.
  EXPECT_EQ(make_sample_source(wrong, SplitPart::kTest, options_), nullptr);
}

}  // namespace
}  // namespace phalanx
