// Every Hugging Face fixture on several ranks against one rank.
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <utility>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/checkpoint/test_folders.h"
#include "phalanx/infer/text_model.h"

namespace phalanx {
namespace {

using testing::error_of;
using testing::fixture;
using ::testing::HasSubstr;

constexpr std::array<std::pair<int, int>, 3> kLayouts = {{{2, 1}, {1, 2}, {4, 2}}};

LoadOptions options_of(std::pair<int, int> layout, at::ScalarType dtype = at::kDouble) {
  return {.dtype = dtype, .tensor = layout.first, .pipeline = layout.second};
}

std::string words(std::pair<int, int> layout) {
  return " --tensor " + std::to_string(layout.first) + " --pipeline " + std::to_string(layout.second);
}

// More than go through a pipeline at once, of all lengths.
std::vector<ScoreText> texts() {
  std::vector<ScoreText> result;
  for (int64_t n = 0; n < 40; ++n) {
    ScoreText text{.tokens = {}, .where = "text " + std::to_string(n)};
    for (int64_t i = 0; i < n % 13; ++i) text.tokens.push_back((7 * n + 31 * i * i) % 128);
    result.push_back(std::move(text));
  }
  return result;
}

std::vector<int64_t> made_by(TextModel& model, const SamplingOptions& sampling) {
  const std::vector<int64_t> prompt = {3, 41, 7, 99};  // goes between stages in pieces, single tokens do not
  return model.generate(prompt, {.sampling = sampling, .max_tokens = 12}, [](int64_t) { return true; });
}

TEST(TextModel, EveryFixtureIsTheSameUnderEveryLayout) {
  at::set_num_threads(1);  // these models are too small to share
  for (const std::string& name : names_in(std::string(PHALANX_SOURCE_DIR) + "/tests/fixtures/hf")) {
    const ModelFolder folder = open_model(fixture(name));
    const auto one = load_text_model(folder, {.dtype = at::kDouble});
    const std::vector<int64_t> greedy = made_by(*one, {.temperature = 0});
    const std::vector<int64_t> sampled = made_by(*one, {.temperature = 0.8, .seed = 5});
    const std::vector<ScoreText> asked = texts();
    const std::vector<std::vector<double>> want = one->score(asked);
    EXPECT_NE(greedy, sampled);
    for (const auto& layout : kLayouts) {
      const auto model = load_text_model(folder, options_of(layout));
      const std::vector<std::vector<double>> got = model->score(asked);
      ASSERT_EQ(got.size(), want.size());
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_EQ(got[i].size(), asked[i].tokens.empty() ? 0 : asked[i].tokens.size() - 1);
        for (size_t t = 0; t < got[i].size(); ++t) {
          EXPECT_NEAR(got[i][t], want[i][t], 1e-12) << name << words(layout) << " " << asked[i].where;
        }
      }
      EXPECT_EQ(made_by(*model, {.temperature = 0}), greedy) << name << words(layout);
      EXPECT_EQ(made_by(*model, {.temperature = 0.8, .seed = 5}), sampled) << name << words(layout);
    }
  }
}

TEST(TextModel, RanksStopTogether) {
  const ModelFolder folder = open_model(fixture("gpt2_hub"));
  const auto model = load_text_model(folder, options_of({2, 2}));
  const std::vector<int64_t> prompt = {5, 9};
  const auto all = model->generate(prompt, {.sampling = {.temperature = 0}, .max_tokens = 1000},
                                   [](int64_t) { return true; });
  EXPECT_EQ(all.size(), 64 - prompt.size() + 1) << "learned positions run out";
  int calls = 0;
  EXPECT_EQ(model->generate(prompt, {}, [&calls](int64_t) { return ++calls < 3; }).size(), 3U);
  EXPECT_EQ(calls, 3);
  GenerateOptions stop{.sampling = {.seed = 2}, .max_tokens = 20};
  const auto free = model->generate(prompt, stop, [](int64_t) { return true; });
  stop.end_tokens = {free[4]};
  const auto first = std::find(free.begin(), free.end(), free[4]) - free.begin();
  EXPECT_EQ(model->generate(prompt, stop, [](int64_t) { return true; }).size(),
            static_cast<size_t>(first) + 1);
}

// An error of whoever prints ends all ranks, and is the one that is seen.
TEST(TextModel, AnErrorOfTheReaderIsTheError) {
  const auto model = load_text_model(open_model(fixture("gpt2_hub")), options_of({2, 2}));
  const Error error = error_of([&] {
    model->generate(std::vector<int64_t>{5}, {}, [](int64_t) -> bool {
      throw Error(ErrorKind::kIo, {.where = "stdout", .got = "a full disk"});
    });
  });
  EXPECT_EQ(error.kind(), ErrorKind::kIo);
  EXPECT_THAT(error.what(), HasSubstr("stdout: got a full disk"));
}

TEST(TextModel, LayoutsThatDoNotDivideAreRefusedBeforeLoading) {
  ModelFolder folder = open_model(fixture("llama_gqa"));
  folder.load = [](Model&, bool) { FAIL() << "loads"; };
  const Error error = error_of([&] { load_text_model(folder, options_of({3, 5})); });
  EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
  for (const char* part :
       {"--tensor 3 --pipeline 5", "heads = 4 is no multiple of tp = 3", "kv_groups = 2",
        "ffn = 64 is no multiple of tp = 3", "transformer layers = 2 are fewer than pp x chunks = 5"}) {
    EXPECT_THAT(error.what(), HasSubstr(part));
  }
  EXPECT_THAT(error_of([&] {
                load_text_model(folder, options_of({0, -1}));
              }).what(),
              HasSubstr("tp = 0 is not from 1 to 16777216; pp = -1 is not from 1 to"));
}

// Stages that a run named are those of its own ranks.
TEST(TextModel, NamedStagesHoldForAsManyRanksOnly) {
  ModelFolder folder = open_model(fixture("gpt2_hub"));
  const auto want = made_by(*load_text_model(folder, options_of({1, 1})), {.temperature = 0});
  folder.config.pattern = "*|-*-";
  for (const auto& layout : kLayouts) {
    EXPECT_EQ(made_by(*load_text_model(folder, options_of(layout)), {.temperature = 0}), want)
        << words(layout);
  }
}

}  // namespace
}  // namespace phalanx
