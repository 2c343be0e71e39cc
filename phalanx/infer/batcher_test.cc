#include "phalanx/infer/batcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

ModelConfig config_of(const std::string& pattern) {
  ModelConfig c;
  c.pattern = pattern;
  c.hidden_size = 16;
  c.num_attention_heads = 4;
  c.num_query_groups = 2;
  c.mamba_num_heads = 4;
  c.mamba_head_dim = 8;
  c.mamba_num_groups = 2;
  c.mamba_state_dim = 6;
  c.mamba_chunk_size = 4;
  c.mamba1_state_dim = 5;
  c.vocab_size = 50;
  c.seq_length = 40;
  c.position_embedding = PositionKind::kNone;
  c.init_std = 0.4;
  finalize(c);
  validate(c);
  return c;
}

class Batcher : public ::testing::TestWithParam<const char*> {
 protected:
  kernels::Gemm gemm_;
  std::unique_ptr<comm::Group> group_ = comm::make_self_group("tp");
  Model model_{config_of(GetParam()), {.dtype = at::kDouble, .seed = 7}, gemm_, *group_};
  const std::vector<std::vector<int64_t>> prompts_ = {
      {3, 41, 7}, {9}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}, {49, 0}, {5, 5, 5, 5, 5, 5}};

  std::vector<std::vector<int64_t>> alone(const GenerateOptions& options) {
    std::vector<std::vector<int64_t>> texts;
    for (const auto& prompt : prompts_) {
      texts.push_back(generate(model_, prompt, options, [](int64_t) { return true; }));
    }
    return texts;
  }
};

TEST_P(Batcher, SequencesDoNotSeeEachOther) {
  const GenerateOptions greedy{.sampling = {.temperature = 0}, .max_tokens = 14};
  const auto want = alone(greedy);
  std::set<std::vector<int64_t>> different(want.begin(), want.end());
  EXPECT_GT(different.size(), 3U) << "equal texts would prove little";
  for (const BatchLimits limits :
       {BatchLimits{}, BatchLimits{.sequences = 2, .prefill_rows = 4},
        BatchLimits{.sequences = 5, .prefill_rows = 1}, BatchLimits{.sequences = 1}}) {
    std::map<size_t, std::vector<int64_t>> called;
    const auto got = generate_all(model_, prompts_, greedy, limits, [&](size_t sequence, int64_t token) {
      called[sequence].push_back(token);
      return true;
    });
    EXPECT_EQ(got, want) << limits.sequences << " sequences, " << limits.prefill_rows << " rows";
    for (size_t i = 0; i < want.size(); ++i) EXPECT_EQ(called[i], want[i]);
  }
}

TEST_P(Batcher, ASequenceEndsOnItsOwn) {
  const GenerateOptions greedy{.sampling = {.temperature = 0}, .max_tokens = 9};
  const auto want = alone(greedy);
  int calls = 0;
  const auto got = generate_all(model_, prompts_, greedy, {.sequences = 3},
                                [&](size_t sequence, int64_t) { return sequence != 1 || ++calls < 3; });
  for (size_t i = 0; i < want.size(); ++i) {
    const auto length = static_cast<std::ptrdiff_t>(i == 1 ? 3 : 9);
    EXPECT_EQ(got[i], std::vector<int64_t>(want[i].begin(), want[i].begin() + length));
  }
}

TEST_P(Batcher, ThePlaceOfASequenceDecidesItsRandomNumbers) {
  const std::vector<std::vector<int64_t>> twice = {prompts_[0], prompts_[0]};
  const GenerateOptions options{.sampling = {.seed = 3}, .max_tokens = 12};
  const auto got = generate_all(model_, twice, options, {}, [](size_t, int64_t) { return true; });
  EXPECT_NE(got[0], got[1]);
  EXPECT_EQ(got[0], generate(model_, twice[0], options, [](int64_t) { return true; }));
}

TEST_P(Batcher, PromptsAreCheckedFirst) {
  const auto expect_refused = [&](const std::vector<std::vector<int64_t>>& prompts,
                                  const std::string& words) {
    try {
      generate_all(model_, prompts, {}, {}, [](size_t, int64_t) { return true; });
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), ::testing::HasSubstr(words));
    }
  };
  expect_refused({{1}, {}}, "prompt 1: got no token");
  expect_refused({{1}, {2}, {3, 50}}, "prompt 2: got id 50");
}

INSTANTIATE_TEST_SUITE_P(Patterns, Batcher, ::testing::Values("*-*-", "MM", "mm", "M*-m"));

TEST(CacheOfAnotherModel, IsRefused) {
  kernels::Gemm gemm;
  const auto group = comm::make_self_group("tp");
  Model one(config_of("M-"), {}, gemm, *group);
  ModelConfig other_config = config_of("M-");
  other_config.mamba_state_dim = 7;
  Model other(other_config, {}, gemm, *group);
  Cache cache = other.make_cache();
  Batch batch;
  batch.num_samples = 1;
  batch.seq_length = 1;
  batch.tokens = batch.position = batch.token_id = at::zeros({1}, at::TensorOptions(at::kLong));
  batch.slot = at::full({1}, cache.new_slot(), at::TensorOptions(at::kLong));
  Side side;
  EXPECT_NO_THROW(other.step(batch, side, cache));
  try {
    one.step(batch, side, cache);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                ::testing::HasSubstr("got a cache whose layers or sizes are not this model's; needed one "
                                     "from make_cache() of the model. Fix: make a cache for each model"));
  }
}

}  // namespace
}  // namespace phalanx
