#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <set>

#include "phalanx/base/error.h"
#include "phalanx/infer/generate.h"
#include "phalanx/infer/sampler.h"

namespace phalanx {
namespace {

const std::vector<float> kLogits = {0.5f, 2.0f, 2.0f, -1.0f, 1.0f};

TEST(Sampler, GreedyTakesTheLowestIdOfTheLargest) {
  EXPECT_EQ(sample_token(kLogits, {.temperature = 0}, 0.99), 1);
  EXPECT_EQ(sample_token(kLogits, {.top_k = 1}, 0.99), 1);
}

// Shares of exp(logits): ids 1 and 2 first (equal), then 4, 0, 3.
TEST(Sampler, WalksTheCumulatedProbabilities) {
  double total = 0;
  for (const float x : kLogits) total += std::exp(x);
  const double two = std::exp(2.0) / total;
  EXPECT_EQ(sample_token(kLogits, {}, 0.0), 1);
  EXPECT_EQ(sample_token(kLogits, {}, two * 0.99), 1);
  EXPECT_EQ(sample_token(kLogits, {}, two * 1.01), 2);
  EXPECT_EQ(sample_token(kLogits, {}, two * 2.01), 4);
  EXPECT_EQ(sample_token(kLogits, {}, 0.9999999), 3);
}

TEST(Sampler, TopKAndTopPCutTheTail) {
  EXPECT_EQ(sample_token(kLogits, {.top_k = 2}, 0.9999999), 2);
  EXPECT_EQ(sample_token(kLogits, {.top_k = 3}, 0.9999999), 4);
  // The two largest hold 0.757 of the mass: 0.7 needs both, 0.3 only one, 0.8 a third.
  EXPECT_EQ(sample_token(kLogits, {.top_p = 0.7}, 0.9999999), 2);
  EXPECT_EQ(sample_token(kLogits, {.top_p = 0.3}, 0.9999999), 1);
  EXPECT_EQ(sample_token(kLogits, {.top_p = 0.8}, 0.9999999), 4);
  EXPECT_EQ(sample_token(kLogits, {.top_k = 1000}, 0.9999999), 3);
}

TEST(Sampler, FrequenciesFollowTheTemperature) {
  std::vector<int> count(kLogits.size(), 0);
  const int n = 20000;
  for (int i = 0; i < n; ++i) {
    count[static_cast<size_t>(sample_token(kLogits, {.temperature = 0.5}, (i + 0.5) / n))]++;
  }
  double total = 0;
  for (const float x : kLogits) total += std::exp(x / 0.5);
  for (size_t id = 0; id < kLogits.size(); ++id) {
    EXPECT_NEAR(count[id] / static_cast<double>(n), std::exp(kLogits[id] / 0.5) / total, 2e-4);
  }
}

TEST(Sampler, RefusesNonsense) {
  EXPECT_THROW(validate(SamplingOptions{.temperature = -1}), Error);
  EXPECT_THROW(validate(SamplingOptions{.top_k = -1}), Error);
  EXPECT_THROW(validate(SamplingOptions{.top_p = 0}), Error);
  EXPECT_THROW(validate(SamplingOptions{.top_p = 1.5}), Error);
}

TEST(SamplerDeathTest, NotANumberIsTheCallersBug) {
  const std::vector<float> logits = {1.0f, std::nanf(""), 2.0f};
  EXPECT_DEATH(sample_token(logits, {}, 0.5), "NaN cannot be sorted");
  const float minus = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(sample_token(std::vector<float>{minus, 1.0f, minus}, {}, 0.9999999), 1);
}

TEST(CacheDeathTest, UnknownSlotsAreTheCallersBug) {
  Cache cache({{1, 2}}, 4, at::TensorOptions(at::kFloat));
  const Tensor row = at::zeros({1, 1, 2});
  const std::string words = "slot 7 does not exist";
  EXPECT_DEATH(cache.append(0, 7, row, row), words);
  EXPECT_DEATH(cache.read(0, 7), words);
  EXPECT_DEATH(cache.length(0, 7), words);
  EXPECT_DEATH(cache.copy_slot(7), words);
  EXPECT_DEATH(cache.free_slot(7), words);
}

class Generation : public ::testing::Test {
 protected:
  static ModelConfig config() {
    ModelConfig c;
    c.num_layers = 2;
    c.hidden_size = 16;
    c.num_attention_heads = 4;
    c.num_query_groups = 2;
    c.vocab_size = 50;
    c.seq_length = 24;
    c.init_std = 0.4;
    finalize(c);
    return c;
  }
  kernels::Gemm gemm_;
  std::unique_ptr<comm::Group> group_ = comm::make_self_group("tp");
  Model model_{config(), {.dtype = at::kDouble, .seed = 7}, gemm_, *group_};
  const std::vector<int64_t> prompt_ = {3, 41, 7};

  std::vector<int64_t> run(const GenerateOptions& options) {
    return generate(model_, prompt_, options, [](int64_t) { return true; });
  }
};

// The cached path must agree with a full forward pass at every position.
TEST_F(Generation, GreedyFollowsTheFullForwardPass) {
  const std::vector<int64_t> made = run({.sampling = {.temperature = 0}, .max_tokens = 12});
  std::vector<int64_t> text = prompt_;
  for (const int64_t token : made) {
    // The likeliest continuation by brute force: score every candidate.
    int64_t best = 0;
    double best_logprob = -1e300;
    for (int64_t candidate = 0; candidate < 50; ++candidate) {
      std::vector<int64_t> tried = text;
      tried.push_back(candidate);
      const double logprob = score(model_, tried).back();
      if (logprob > best_logprob) {
        best_logprob = logprob;
        best = candidate;
      }
    }
    EXPECT_EQ(token, best);
    text.push_back(token);
  }
  EXPECT_GT(std::set<int64_t>(made.begin(), made.end()).size(), 2u)
      << "one repeated token would prove little";
}

TEST_F(Generation, SeedDecidesEverything) {
  const GenerateOptions a{.sampling = {.seed = 1}, .max_tokens = 15},
      b{.sampling = {.seed = 2}, .max_tokens = 15};
  EXPECT_EQ(run(a), run(a));
  EXPECT_NE(run(a), run(b));
}

TEST_F(Generation, StopsAtEndTokenCallbackAndPositions) {
  const std::vector<int64_t> all = run({.sampling = {.temperature = 0}, .max_tokens = 1000});
  EXPECT_EQ(all.size(), 24 - prompt_.size() + 1) << "learned positions run out";
  GenerateOptions stop{.sampling = {.temperature = 0}, .max_tokens = 1000};
  stop.end_tokens = {all[4]};
  const auto first = std::find(all.begin(), all.end(), all[4]) - all.begin();
  EXPECT_EQ(run(stop).size(), static_cast<size_t>(first) + 1);
  int calls = 0;
  generate(model_, prompt_, {.max_tokens = 10}, [&calls](int64_t) { return ++calls < 3; });
  EXPECT_EQ(calls, 3);
}

TEST_F(Generation, AnyEndTokenEndsTheText) {
  const std::vector<int64_t> all = run({.sampling = {.temperature = 0}, .max_tokens = 15});
  const auto first = [&all](int64_t token) { return std::find(all.begin(), all.end(), token) - all.begin(); };
  GenerateOptions stop{.sampling = {.temperature = 0}, .max_tokens = 15};
  stop.end_tokens = {all[9], all[4]};
  EXPECT_EQ(run(stop).size(), static_cast<size_t>(std::min(first(all[9]), first(all[4]))) + 1);
}

TEST_F(Generation, VocabularyLimitHoldsForEveryWayToSample) {
  for (const SamplingOptions sampling :
       {SamplingOptions{.temperature = 0}, SamplingOptions{.temperature = 5}, SamplingOptions{.top_k = 3}}) {
    const std::vector<int64_t> free = run({.sampling = sampling, .max_tokens = 20});
    EXPECT_GE(*std::max_element(free.begin(), free.end()), 10) << "else the limit would prove nothing";
    for (const int64_t token : run({.sampling = sampling, .max_tokens = 20, .vocab_limit = 10}))
      EXPECT_LT(token, 10);
  }
}

TEST_F(Generation, NotANumberNamesThePosition) {
  model_.parameters().back()->data.fill_(std::nan(""));
  const auto expect_numeric = [](const std::function<void()>& call, const std::string& words) {
    try {
      call();
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kNumeric);
      EXPECT_THAT(error.what(), ::testing::HasSubstr(words));
    }
  };
  expect_numeric([&] { run({.max_tokens = 2}); }, "generate, position 3: got a logit that is NaN");
  expect_numeric([&] { score(model_, prompt_, "line 4"); },
                 "line 4, position 1: got a log probability that is NaN");
}

TEST_F(Generation, ScoreIsNormalised) {
  double total = 0;
  for (int64_t candidate = 0; candidate < 50; ++candidate) {
    total += std::exp(score(model_, std::vector<int64_t>{3, 41, candidate}).back());
  }
  EXPECT_NEAR(total, 1.0, 1e-12) << "padded columns must have no probability";
  EXPECT_TRUE(score(model_, std::vector<int64_t>{3}).empty());
  EXPECT_THROW(score(model_, std::vector<int64_t>{3, 50}), Error);
  try {
    score(model_, std::vector<int64_t>(25, 1), "line 7");
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                ::testing::HasSubstr("line 7: got 25 tokens; needed at most 24, the model's positions"));
  }
}

}  // namespace
}  // namespace phalanx
