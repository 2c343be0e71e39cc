#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "phalanx/base/error.h"
#include "phalanx/config/megatron.h"
#include "phalanx/train/baselines.h"
#include "phalanx/train/batch_size.h"
#include "phalanx/train/run_config.h"
#include "phalanx/train/sample_source.h"

namespace phalanx {
namespace {

TEST(BatchSize, RampsUpOverSamples) {
  const BatchSize size(12, {4, 4, 40}, 2);  // two increments of 20 samples each
  EXPECT_EQ(size.at(0), 4);
  EXPECT_EQ(size.at(19), 4);
  EXPECT_EQ(size.at(20), 8);
  EXPECT_EQ(size.at(40), 12);
  EXPECT_EQ(size.at(4000), 12);
  EXPECT_EQ(BatchSize(12, {}, 2).at(0), 12);
}

TEST(BatchSize, RefusesWhatDoesNotDivide) {
  EXPECT_THROW(BatchSize(7, {}, 2), Error);
  EXPECT_THROW(BatchSize(12, {3, 4, 40}, 2), Error);
  EXPECT_THROW(BatchSize(12, {4, 3, 40}, 2), Error);
  EXPECT_THROW(BatchSize(12, {4, 4}, 2), Error);
}

// Sample k is tokens 10 k, 10 k + 1, ...; token 3 modulo 10 ends a document.
class CountingSource : public SampleSource {
 public:
  int64_t num_samples() const override { return 100; }
  void read(int64_t sample, std::span<int64_t> tokens, std::span<uint8_t>) const override {
    for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = (10 * sample + static_cast<int64_t>(i)) % 50;
  }
};

TEST(MicroBatches, CutDoesNotChangeTheRows) {
  const CountingSource source;
  const auto one = build_micro_batches(source, 5, 7, 7, 4, {});
  const auto three = build_micro_batches(source, 5, 7, 3, 4, {});
  ASSERT_EQ(one.size(), 1u);
  ASSERT_EQ(three.size(), 3u);
  EXPECT_EQ(three[2].num_samples, 1);
  EXPECT_EQ(three[1].first_sample, 3);
  std::vector<int64_t> joined;
  for (const HostBatch& host : three) joined.insert(joined.end(), host.tokens.begin(), host.tokens.end());
  EXPECT_EQ(joined, one[0].tokens);
  EXPECT_EQ(one[0].labels[0], one[0].tokens[1]) << "labels are the tokens shifted by one";
  EXPECT_EQ(one[0].labels[3], 4);
}

TEST(MicroBatches, DocumentRulesFollowMegatron) {
  const CountingSource source;
  const auto host = build_micro_batches(
      source, 0, 1, 1, 6, {.eod = 3, .mask_loss = true, .reset_positions = true, .reset_attention = true})[0];
  EXPECT_THAT(host.tokens, ::testing::ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(host.label_mask, ::testing::ElementsAre(1, 1, 1, 0, 1, 1));
  EXPECT_THAT(host.position, ::testing::ElementsAre(0, 1, 2, 3, 0, 1));
  EXPECT_THAT(host.document, ::testing::ElementsAre(0, 0, 0, 0, 1, 1));
  EXPECT_TRUE(build_micro_batches(source, 0, 1, 1, 6, {.eod = 3})[0].document.empty());
}

// Two symbols that alternate: the unigram needs a bit a byte, the bigram almost none.
class AlternatingSource : public SampleSource {
 public:
  int64_t num_samples() const override { return 50; }
  void read(int64_t, std::span<int64_t> tokens, std::span<uint8_t>) const override {
    for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int64_t>(i % 2);
  }
};

TEST(Baselines, CountWhatTheyShould) {
  const AlternatingSource source;
  const Baselines b = count_baselines(source, source, 100, {"a", "b"});
  EXPECT_NEAR(b.unigram_bpb, -std::log2(2501.0 / (5000 + 256)), 1e-12);
  EXPECT_LT(b.bigram_bpb, 0.01);
  EXPECT_EQ(b.bytes, 5000);
  EXPECT_EQ(b.text.substr(0, 4), "baba");
}

// Tokens of several bytes and a special token without text: the same bytes, the same figures.
TEST(Baselines, CountBytesWhateverTheTokens) {
  const AlternatingSource source;
  const Baselines b = count_baselines(source, source, 100, {"", "abab"});
  EXPECT_EQ(b.bytes, 4 * 2500);
  EXPECT_NEAR(b.unigram_bpb, -std::log2(5001.0 / (10000 + 256)), 1e-12);
  EXPECT_LT(b.bigram_bpb, 0.01);
}

TEST(RunConfig, AliasTablesFitTheStructs) {
  RunConfig config;
  ConfigTree tree = make_config_tree(config);
  EXPECT_THAT(megatron_table_problems(tree), ::testing::IsEmpty());
}

TEST(RunConfig, ReportsAllViolationsAtOnce) {
  RunConfig config;
  config.parallel.tensor = 0;
  config.train.micro_batch_size = 0;
  config.data.tokenizer_model = "x";
  try {
    resolve_run(config);
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(),
                ::testing::AllOf(::testing::HasSubstr("tensor = 0"), ::testing::HasSubstr("micro_batch_size"),
                                 ::testing::HasSubstr("--tokenizer-type"),
                                 ::testing::HasSubstr("--mock-data"), ::testing::HasSubstr("train_iters")));
  }
}

}  // namespace
}  // namespace phalanx
