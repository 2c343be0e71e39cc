#include "phalanx/train/sample_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/data/indexed_writer.h"
#include "phalanx/tokenizer/make_tokenizer.h"
#include "phalanx/train/test_sample_source.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::read_tokens;
using testing::SampleSourceFolder;
using testing::source_error;

class SampleSourceTest : public ::testing::Test {
 protected:
  SampleSourceFolder folder_;
};

TEST_F(SampleSourceTest, EveryPartReadsItsBlend) {
  const std::string a = folder_.write("a", 0, 60), b = folder_.write("b", 100, 60),
                    c = folder_.write("c", 1000, 60);
  DataConfig config;
  config.train_data_path = {"1", a, "3", b};
  config.valid_data_path = {c};
  const SampleSourceOptions options{.seq_length = 6, .seed = 3, .num_samples = 40};
  const auto train = make_sample_source(config, SplitPart::kTrain, options);
  const auto valid = make_sample_source(config, SplitPart::kValid, options);
  EXPECT_EQ(make_sample_source(config, SplitPart::kTest, options), nullptr);
  ASSERT_EQ(train->num_samples(), 40);
  ASSERT_GE(valid->num_samples(), 40);
  int of_b = 0;
  for (int64_t k = 0; k < 40; ++k) {
    const std::vector<int64_t> tokens = read_tokens(*train, k, 6);
    const bool from_b = tokens[0] >= 100;
    of_b += from_b ? 1 : 0;
    for (const int64_t t : tokens) EXPECT_EQ(t >= 100, from_b);
    for (const int64_t t : read_tokens(*valid, k, 6)) EXPECT_GE(t, 1000);
  }
  EXPECT_EQ(of_b, 30);
}

TEST_F(SampleSourceTest, ABlendIsCutByTheSplit) {
  const std::string a = folder_.write("a", 0, 60), b = folder_.write("b", 100, 40);
  DataConfig config;
  config.data_path = {"0.5", a, "0.5", b};
  config.split = "5,5,0";
  const SampleSourceOptions options{.seq_length = 6, .seed = 3, .num_samples = 30};
  const auto valid = make_sample_source(config, SplitPart::kValid, options);
  for (int64_t k = 0; k < 30; ++k) {
    for (const int64_t t : read_tokens(*valid, k, 6)) EXPECT_TRUE((t >= 30 && t < 60) || t >= 120) << t;
  }
  EXPECT_EQ(make_sample_source(config, SplitPart::kTest, options), nullptr);
}

TEST_F(SampleSourceTest, TooFewSamplesWithoutWeights) {
  DataConfig config;
  config.data_path = {folder_.write("a", 0, 60), folder_.write("b", 100, 60), folder_.write("c", 200, 50)};
  SampleSourceOptions options{.seq_length = 6, .num_samples = 1000};
  EXPECT_THAT(
      source_error(config, options),
      HasSubstr("the train data: got 133 samples in one pass over 3 data sets without weights; needed 1000. "
                "Fix: give weights"));
  options.may_be_short = true;
  EXPECT_EQ(make_sample_source(config, SplitPart::kTrain, options)->num_samples(), 133);
}

TEST_F(SampleSourceTest, BadSettings) {
  DataConfig config;
  config.data_path = {folder_.write("a", 0, 60)};
  const SampleSourceOptions options{.seq_length = 6, .num_samples = 10};
  config.mid_level_dataset_surplus = -0.1;
  EXPECT_THAT(source_error(config, options),
              HasSubstr("data.mid_level_dataset_surplus: got -0.1; needed a share"));
  config.mid_level_dataset_surplus = 0.005;
  config.num_dataset_builder_threads = -1;
  EXPECT_THAT(source_error(config, options), HasSubstr("data.num_dataset_builder_threads: got -1"));
  config.num_dataset_builder_threads = 2;
  config.fim_data = true;
  EXPECT_THAT(source_error(config, options), HasSubstr("data.fim_data: got no tokenizer"));
  config.fim_data = false;
  config.train_data_path = {"x"};
  EXPECT_THAT(source_error(config, options),
              HasSubstr("data: got both data.data_path and data.train_data_path"));
}

// The first rank builds and writes before the barrier, the other one reads behind it; without a shared folder it builds.
TEST_F(SampleSourceTest, RanksShareTheCache) {
  DataConfig config;
  config.data_path = {"1", folder_.write("a", 0, 60), "2", folder_.write("b", 100, 60)};
  config.num_dataset_builder_threads = 2;
  std::vector<std::string> events;
  const std::string cache = folder_.path() + "/run/cache";
  const auto files = [&] { return std::distance(std::filesystem::directory_iterator(cache), {}); };
  SampleSourceOptions options{.seq_length = 6, .num_samples = 50, .cache_folder = cache};
  options.barrier = [&] {
    events.push_back(path_exists(cache) ? std::to_string(files()) + " files" : "none");
  };
  const auto first = make_sample_source(config, SplitPart::kTrain, options);
  options.first_rank = false;
  const auto second = make_sample_source(config, SplitPart::kTrain, options);
  options.cache_folder = folder_.path() + "/elsewhere";
  const auto third = make_sample_source(config, SplitPart::kTrain, options);
  EXPECT_THAT(events, ElementsAre("3 files", "3 files", "3 files"));
  EXPECT_FALSE(path_exists(options.cache_folder)) << "only the first rank writes";
  EXPECT_EQ(files(), 3);
  config.data_cache_path = folder_.path() + "/chosen";
  options.first_rank = true;
  const auto fourth = make_sample_source(config, SplitPart::kTrain, options);
  EXPECT_TRUE(path_exists(config.data_cache_path));
  for (int64_t k = 0; k < 50; ++k) {
    const std::vector<int64_t> tokens = read_tokens(*first, k, 6);
    for (const auto* other : {&second, &third, &fourth}) EXPECT_EQ(read_tokens(**other, k, 6), tokens);
  }
}

// A resume, another micro-batch size or more ranks: sample k stays sample k.
TEST_F(SampleSourceTest, FillInTheMiddleIsAFunctionOfTheSample) {
  const auto tokenizer = make_tokenizer({.type = "ByteTokenizer"});
  const std::string prefix = folder_.path() + "/text";
  IndexedDatasetWriter writer(prefix, TokenDtype::kUint16);
  for (int i = 0; i < 30; ++i) {
    std::vector<int32_t> ids = tokenizer->encode("document number " + std::to_string(i) + " says something");
    ids.push_back(*tokenizer->eod());
    writer.add_sequence(ids);
    writer.end_document();
  }
  writer.commit();
  DataConfig config;
  config.data_path = {prefix};
  config.split = "1";
  config.fim_data = true;
  config.fim_rate = 0.7;
  config.fim_prefix_token = "1";
  config.fim_middle_token = "2";
  config.fim_suffix_token = "3";
  config.fim_pad_token = "0";
  config.fim_eod_token = std::to_string(*tokenizer->eod());
  const SampleSourceOptions options{
      .seq_length = 64, .seed = 11, .num_samples = 20, .tokenizer = tokenizer.get()};
  const auto source = make_sample_source(config, SplitPart::kTrain, options);
  const auto resumed = make_sample_source(config, SplitPart::kTrain, options);
  config.fim_data = false;
  const auto plain = make_sample_source(config, SplitPart::kTrain, options);
  std::vector<std::vector<int64_t>> all;
  int turned = 0;
  for (int64_t k = 0; k < 20; ++k) all.push_back(read_tokens(*source, k, 64));
  for (int64_t k = 19; k >= 7; --k) {
    EXPECT_EQ(read_tokens(*resumed, k, 64), all[static_cast<size_t>(k)]);
    turned += all[static_cast<size_t>(k)] != read_tokens(*plain, k, 64) ? 1 : 0;
  }
  EXPECT_GT(turned, 8);
}

// Megatron's rules written out as the matrix that it makes: row i may look at column j.
struct Expected {
  std::vector<int64_t> position;
  std::vector<uint8_t> loss;
  std::vector<std::vector<bool>> sees;
};

Expected megatron(const std::vector<int64_t>& tokens, const DocumentRules& rules) {
  const size_t n = tokens.size() - 1;
  Expected e{std::vector<int64_t>(n), std::vector<uint8_t>(n, 1),
             std::vector<std::vector<bool>>(n, std::vector<bool>(n))};
  std::iota(e.position.begin(), e.position.end(), 0);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j <= i; ++j) e.sees[i][j] = true;
  }
  int64_t previous = 0;
  for (size_t i = 0; i < n; ++i) {
    if (tokens[i] != rules.eod) continue;
    if (rules.mask_loss) e.loss[i] = 0;
    if (rules.reset_attention) {
      for (size_t row = i + 1; row < n; ++row) std::fill_n(e.sees[row].begin(), i + 1, false);
    }
    if (rules.reset_positions) {
      for (size_t row = i + 1; row < n; ++row) e.position[row] -= static_cast<int64_t>(i) + 1 - previous;
      previous = static_cast<int64_t>(i) + 1;
    }
  }
  return e;
}

class DigitSource : public SampleSource {
 public:
  int64_t num_samples() const override { return 1000; }
  void read(int64_t sample, std::span<int64_t> tokens, std::span<uint8_t>) const override {
    uint64_t word = static_cast<uint64_t>(sample) * 0x9e3779b97f4a7c15u;
    for (int64_t& t : tokens) {
      word = word * 6364136223846793005u + 1442695040888963407u;
      t = static_cast<int64_t>(word >> 61);
    }
  }
  void read_packed(int64_t sample, std::span<int64_t> tokens, std::span<uint8_t> mask,
                   std::vector<int64_t>& starts) const override {
    read(sample, tokens, mask);
    starts = {0, 1 + sample % 4, 6};
    if (starts[1] == 4)
      starts = {0, static_cast<int64_t>(tokens.size()) - 1};  // begins with the last label only
  }
};

TEST(MicroBatchRules, AreMegatronsMatrix) {
  const DigitSource source;
  int compared = 0;
  for (int switches = 0; switches < 8; ++switches) {
    const DocumentRules rules{.eod = 3,
                              .mask_loss = (switches & 1) != 0,
                              .reset_positions = (switches & 2) != 0,
                              .reset_attention = (switches & 4) != 0};
    for (int64_t sample = 0; sample < 60; ++sample) {
      const HostBatch host = build_micro_batches(source, sample, 1, 1, 12, rules)[0];
      std::vector<int64_t> tokens = host.tokens;
      tokens.push_back(host.labels.back());
      const Expected expected = megatron(tokens, rules);
      ASSERT_EQ(host.position, expected.position);
      ASSERT_EQ(host.label_mask, expected.loss);
      ASSERT_EQ(host.document.empty(), !rules.reset_attention);
      for (size_t i = 0; i < 12; ++i) {
        for (size_t j = 0; j < 12; ++j) {
          const bool same = host.document.empty() || host.document[i] == host.document[j];
          ASSERT_EQ(expected.sees[i][j], j <= i && same);
          ++compared;
        }
      }
    }
  }
  EXPECT_EQ(compared, 8 * 60 * 144);
}

TEST(MicroBatchRules, SequencesOfTheFileAreDocuments) {
  const DigitSource source;
  const DocumentRules rules{.reset_at_sequences = true};
  const HostBatch host = build_micro_batches(source, 1, 1, 1, 8, rules)[0];
  EXPECT_THAT(host.position, ElementsAre(0, 1, 0, 1, 2, 3, 0, 1));
  EXPECT_THAT(host.document, ElementsAre(0, 0, 1, 1, 1, 1, 2, 2));
  const HostBatch last = build_micro_batches(source, 3, 1, 1, 8, rules)[0];
  EXPECT_THAT(last.document, ElementsAre(0, 0, 0, 0, 0, 0, 0, 0));
  // Positions start again at an end token too, and documents do not when only positions are asked for.
  DocumentRules both = rules;
  both.eod = host.tokens[3];
  both.reset_positions = true;
  const HostBatch mixed = build_micro_batches(source, 1, 1, 1, 8, both)[0];
  EXPECT_EQ(mixed.document, host.document);
  EXPECT_EQ(mixed.position[4], 0);
}

TEST_F(SampleSourceTest, SequencesComeFromTheFile) {
  DataConfig config;
  config.data_path = {folder_.write("a", 0, 60)};
  config.split = "1";
  const auto source = make_sample_source(config, SplitPart::kTrain, {.seq_length = 16, .num_samples = 5});
  for (int64_t k = 0; k < 5; ++k) {
    const HostBatch host = build_micro_batches(*source, k, 1, 1, 16, {.reset_at_sequences = true})[0];
    for (size_t i = 1; i < 16; ++i) {  // each sequence has a token of its own
      const bool begins = host.tokens[i] != host.tokens[i - 1];
      ASSERT_EQ(host.document[i], host.document[i - 1] + (begins ? 1 : 0));
      ASSERT_EQ(host.position[i], begins ? 0 : host.position[i - 1] + 1);
    }
  }
}

}  // namespace
}  // namespace phalanx
