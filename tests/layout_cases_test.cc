// Layouts that users ask about, each by its name: the same run as on one rank. The grid has them too, among all others.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>

#include "phalanx/pipeline/generate.h"
#include "tests/layout_setting.h"

namespace phalanx {
namespace {

using testing::Changes;
using testing::ModelChange;
using testing::Setting;

Setting setting(const Changes& changes) {
  return testing::plain_setting().with(changes);
}

// Five steps in fp64: loss and gradient norm to 1e-10 relative, every weight to 1e-10.
void expect_same(const Setting& s, const ModelChange& change_model = {}) {
  const LayoutRun got = testing::run(s, {}, change_model);
  EXPECT_EQ(testing::difference(s, got, testing::reference(s, change_model)), "") << testing::describe(s);
}

std::vector<StageSlice> slices_of(const Setting& s, const ModelChange& change_model) {
  RunConfig config = testing::config_of(s, change_model);
  config.parallel = plan_mesh(config.parallel).config;
  const Mesh mesh = plan_mesh(config.parallel).mesh;
  std::vector<StageSlice> slices;
  for (int stage = 0; stage < mesh.size("pp"); ++stage) {
    const ModelPart part = make_model_part(config, mesh, mesh.rank_at(0, "pp", stage));
    slices.push_back({part.chunks[0].begin, part.chunks[0].end});
  }
  return slices;
}

ModelChange pattern_of(const std::string& pattern) {
  return [pattern](ModelConfig& c) {
    c.pattern = pattern;
    c.num_layers = 0;
  };
}

TEST(LayoutCases, EverySchedule) {
  for (const ScheduleKind& kind : schedule_kinds()) {
    const int chunks = kind.name == "interleaved" ? 2 : kind.min_chunks;
    expect_same(
        setting({{"pp", "4"}, {"schedule", std::string(kind.name)}, {"chunks", std::to_string(chunks)}}));
  }
}

TEST(LayoutCases, FewerMicroBatchesThanStages) {
  for (const char* schedule : {"1f1b", "gpipe", "zb-h1"}) {
    expect_same(setting({{"pp", "4"}, {"samples", "2"}, {"schedule", schedule}}));
  }
  for (const char* schedule : {"interleaved", "zb-v", "v-half"}) {
    expect_same(setting({{"pp", "4"}, {"samples", "2"}, {"schedule", schedule}, {"chunks", "2"}}));
  }
}

// Eleven samples in pairs over two pipelines: one has a micro-batch more, and the last one holds a single sample.
TEST(LayoutCases, AShortLastBatch) {
  for (const char* zero : {"0", "1"}) {
    expect_same(setting({{"pp", "2"}, {"dp", "2"}, {"zero", zero}, {"micro_batch", "2"}, {"last", "short"}}));
  }
}

// One sample for three data ranks: two of them have nothing to compute and still take part in every sum.
TEST(LayoutCases, DataRanksWithoutASample) {
  for (const char* zero : {"0", "1"}) {
    expect_same(setting({{"tp", "2"}, {"dp", "3"}, {"zero", zero}, {"samples", "2"}, {"last", "short"}}));
  }
}

TEST(LayoutCases, ThreeDataRanks) {
  for (const char* zero : {"0", "1"})
    expect_same(setting({{"tp", "2"}, {"pp", "2"}, {"dp", "3"}, {"zero", zero}}));
}

TEST(LayoutCases, AVocabularyThatFourRanksCannotShareEvenly) {
  for (const char* tied : {"no", "yes"}) {
    for (const char* sp : {"no", "yes"}) {
      expect_same(setting({{"tp", "4"}, {"sp", sp}, {"vocab", "211"}, {"tied", tied}}));
    }
  }
}

TEST(LayoutCases, OneKeyValueGroupOnFourRanks) {
  for (const char* family : {"gpt", "llama"}) {
    for (const char* sp : {"no", "yes"}) {
      expect_same(setting({{"tp", "4"}, {"sp", sp}, {"kv_groups", "1"}, {"family", family}}));
    }
  }
}

TEST(LayoutCases, TiedAndUntiedOverStages) {
  for (const char* tied : {"no", "yes"}) {
    expect_same(setting({{"tp", "2"}, {"pp", "4"}, {"tied", tied}, {"vocab", "211"}}));
    // The V brings the first and the last stage to one rank, which then has one copy.
    expect_same(setting({{"pp", "2"}, {"schedule", "zb-v"}, {"chunks", "2"}, {"tied", tied}}));
  }
}

TEST(LayoutCases, BoundaryTensorsWholeOrInPieces) {
  for (const char* scatter_gather : {"on", "off"}) {
    expect_same(setting({{"tp", "4"}, {"pp", "2"}, {"scatter_gather", scatter_gather}}));
  }
  // Two ranks cannot share seven rows: they go whole.
  expect_same(setting({{"tp", "2"}, {"pp", "2"}, {"length", "7"}}));
}

TEST(LayoutCases, BarsCutUnevenStages) {
  for (const std::string pattern : {"*-*-*|-*|-", "*-*-||*-*-", "|*-*-*-*-|", "*|-*-|*-*-"}) {
    const Setting s = setting({{"pp", "3"}, {"tp", "2"}, {"tied", "yes"}});
    expect_same(s, pattern_of(pattern));
  }
  const std::vector<StageSlice> slices = slices_of(setting({{"pp", "3"}}), pattern_of("*-*-||*-*-"));
  EXPECT_EQ(slices[1].begin, slices[1].end) << "an empty stage";
}

TEST(LayoutCases, BarsOfInterleavedChunks) {
  expect_same(setting({{"pp", "2"}, {"chunks", "2"}, {"schedule", "interleaved"}}), pattern_of("*-*|-||*-"));
  expect_same(setting({{"pp", "2"}, {"chunks", "2"}, {"schedule", "zb-v"}}), pattern_of("*|-*-|*|-"));
}

// Written for two stages and run where there is one: the bars say nothing, and every layer is there.
TEST(LayoutCases, BarsWithoutAPipeline) {
  const Setting s = setting({{"dp", "2"}});
  const LayoutRun got = testing::run(s, {}, pattern_of("*-*|-*-"));
  EXPECT_EQ(testing::difference(s, got, testing::reference(s, pattern_of("*-*-*-"))), "");
  const LayoutRun one = testing::reference(s, pattern_of("*-*|-*-"));
  EXPECT_EQ(testing::difference(s, one, testing::reference(s, pattern_of("*-*-*-"))), "");
}

// Its layers cost unequal time, so equal numbers of them would not be equal stages.
TEST(LayoutCases, APatternThatIsNoTransformerIsCutByItself) {
  const ModelChange pattern = pattern_of("*-*--*-");
  expect_same(setting({{"pp", "3"}, {"tp", "2"}}), pattern);
  const std::vector<StageSlice> slices = slices_of(setting({{"pp", "3"}}), pattern);
  size_t next = 0;
  for (const StageSlice& slice : slices) {
    EXPECT_EQ(slice.begin, next);
    next = slice.end;
  }
  EXPECT_EQ(next, 7U);
}

// Two numbers of a run in bf16 are two of a cloud around the true one: a layout must not be further off it than one rank.
TEST(LayoutCases, Bf16StaysCloseToOneRank) {
  const Setting s =
      setting({{"tp", "2"}, {"sp", "yes"}, {"pp", "2"}, {"dp", "2"}, {"zero", "1"}, {"family", "llama"}});
  RunConfig config = testing::config_of(s);
  config.train.dtype = DtypeKind::kBf16;
  config.parallel = plan_mesh(config.parallel).config;
  const LayoutRun got = run_layout(config, testing::data_of(s, 1), testing::kSteps);
  const RunConfig one = on_one_rank(config);
  const LayoutRun want = run_layout(one, testing::data_of(s, 1), testing::kSteps);
  EXPECT_EQ(first_difference(got, want, layout_bars(DtypeKind::kBf16)), "");
  const LayoutRun exact = testing::reference(s);
  double layout_off = 0, one_off = 0;
  for (size_t i = 0; i < exact.losses.size(); ++i) {
    layout_off = std::max(layout_off, std::abs(got.losses[i] / exact.losses[i] - 1));
    one_off = std::max(one_off, std::abs(want.losses[i] / exact.losses[i] - 1));
  }
  std::printf("bf16: loss off fp64 by %.1e under the layout, by %.1e on one rank\n", layout_off, one_off);
  EXPECT_LT(layout_off, std::max(2 * one_off, 1e-3));
}

}  // namespace
}  // namespace phalanx
