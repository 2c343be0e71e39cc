// Every layout makes the same AdamW steps (DESIGN 7.2, 7.3), with the mistakes that this must catch.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "phalanx/base/error.h"
#include "phalanx/optim/test_recording_group.h"
#include "phalanx/optim/test_toy_run.h"

namespace phalanx {
namespace {

using testing::RecordingGroup;
using testing::run_toy;
using testing::toy_difference;
using testing::ToyMutant;
using testing::ToyRankResult;
using testing::ToyRun;

std::string describe(const ToyRun& run) {
  return fmt::format("tp {} dp {} pp {} zero {} bucket {} overlap {} counts {} micro-batches {}",
                     run.layout.tp, run.layout.dp, run.layout.pp, run.zero_stage, run.bucket_elements,
                     run.overlap, run.counts, run.micro_batches);
}

// "" when the layout agrees with one rank that sees the same micro-batches.
std::string difference_from_one_rank(const ToyRun& run, double bar = 1e-12) {
  ToyRun alone = run;
  alone.layout = {};
  alone.mutant = ToyMutant::kNone;
  alone.spoil = nullptr;
  alone.before = alone.after = nullptr;
  return toy_difference(run_toy(run), run_toy(alone)[0], bar);
}

TEST(ParallelOptimizer, EveryLayoutMakesTheStepsOfOneRank) {
  int layouts = 0;
  for (const int tp : {1, 2}) {
    for (const int pp : {1, 2}) {
      for (const int dp : {1, 2, 3}) {
        for (const int64_t zero : {0, 1}) {
          if (tp * pp * dp == 1 || (zero == 1 && dp == 1)) continue;
          const ToyRun run{.layout = {.tp = tp, .dp = dp, .pp = pp}, .zero_stage = zero};
          EXPECT_EQ(difference_from_one_rank(run), "") << describe(run);
          ++layouts;
        }
      }
    }
  }
  EXPECT_EQ(layouts, 19);
}

TEST(ParallelOptimizer, BucketsOverlapAndCountingChangeNothing) {
  for (const int64_t zero : {0, 1}) {
    ToyRun base{.layout = {.tp = 2, .dp = 2, .pp = 1}, .zero_stage = zero};
    for (const int64_t bucket : {1, 700, 0}) {
      ToyRun run = base;
      run.bucket_elements = bucket;
      EXPECT_EQ(difference_from_one_rank(run), "") << describe(run);
    }
    ToyRun run = base;
    run.overlap = false;
    EXPECT_EQ(difference_from_one_rank(run), "") << describe(run);
    run = base;
    run.counts = false;
    EXPECT_EQ(difference_from_one_rank(run), "") << describe(run);
    // Data ranks with fewer micro-batches than others, or none.
    run = base;
    run.layout = {.tp = 2, .dp = 3, .pp = 2};
    run.micro_batches = 2;
    EXPECT_EQ(difference_from_one_rank(run), "") << describe(run);
  }
}

TEST(ParallelOptimizer, HalfPrecisionWeightsArriveEverywhere) {
  for (const at::ScalarType dtype : {at::kBFloat16, at::kHalf, at::kFloat}) {
    for (const int64_t zero : {0, 1}) {
      const ToyRun run{.layout = {.tp = 1, .dp = 2, .pp = 1},
                       .zero_stage = zero,
                       .dtype = dtype,
                       .accumulator = at::kFloat};
      const std::vector<ToyRankResult> results = run_toy(run);
      ASSERT_EQ(results.size(), 2u);
      size_t weights = 0;
      for (size_t i = 0; i < results[0].boxes.size(); ++i) {
        const auto& [name, box, values] = results[0].boxes[i];
        if (!name.starts_with("weight ")) continue;
        ++weights;
        EXPECT_TRUE(at::equal(values, results[1].boxes[i].values)) << name;
      }
      EXPECT_GT(weights, 10u);
      // Every master rounds to the weight that all ranks compute with.
      for (const ToyRankResult& result : results) {
        for (const auto& [name, box, values] : result.boxes) {
          if (!name.starts_with("master ")) continue;
          const std::string weight = "weight " + name.substr(7);
          const auto found = std::find_if(result.boxes.begin(), result.boxes.end(),
                                          [&](const auto& other) { return other.name == weight; });
          EXPECT_TRUE(at::equal(values.to(dtype), view_of(found->values, box))) << name;
        }
      }
      EXPECT_EQ(difference_from_one_rank(run, dtype == at::kFloat ? 1e-5 : 2e-2), "");
    }
  }
}

// 5 steps of each mistake must be seen by the comparison above.
TEST(ParallelOptimizer, ClassicMistakesAreSeen) {
  using ::testing::HasSubstr;
  ToyRun run{.layout = {.tp = 2, .dp = 1, .pp = 1}, .mutant = ToyMutant::kNormNotSummed};
  EXPECT_THAT(difference_from_one_rank(run), HasSubstr("norm"));
  run.mutant = ToyMutant::kReplicatedCountedTwice;
  EXPECT_THAT(difference_from_one_rank(run), HasSubstr("norm "));
  run = {.layout = {.tp = 1, .dp = 1, .pp = 2}, .mutant = ToyMutant::kTiedNotSummed};
  EXPECT_NE(difference_from_one_rank(run), "");
  run = {.layout = {.tp = 2, .dp = 2, .pp = 1}, .local_norm = true};
  EXPECT_THAT(difference_from_one_rank(run), HasSubstr("norm"));
  for (const int64_t zero : {0, 1}) {
    run = {.layout = {.tp = 1, .dp = 2, .pp = 1}, .zero_stage = zero};
    run.wrap_data = [](comm::Group& group) {
      auto wrapped = std::make_unique<RecordingGroup>(group);
      wrapped->drops_last_bucket = true;
      return wrapped;
    };
    EXPECT_NE(difference_from_one_rank(run), "") << "the last bucket was not reduced, zero " << zero;
  }
}

// One rank's infinity skips the step of all; the steps before and after count.
TEST(ParallelOptimizer, ANormThatIsNotFiniteSkipsTheStepOnAllRanks) {
  for (const int64_t zero : {0, 1}) {
    ToyRun run{.layout = {.tp = 2, .dp = 2, .pp = 2}, .zero_stage = zero};
    run.spoil = [](int rank, int64_t step, Tensor& gradient) {
      if (rank == 5 && step == 2) gradient.fill_(std::numeric_limits<double>::infinity());
    };
    ToyRun alone = run;
    alone.layout = {};
    alone.spoil = [](int, int64_t step, Tensor& gradient) {
      if (step == 2) gradient.fill_(std::numeric_limits<double>::infinity());
    };
    const ToyRankResult reference = run_toy(alone)[0];
    EXPECT_FALSE(reference.steps[2].applied);
    EXPECT_TRUE(reference.steps[3].applied);
    EXPECT_EQ(toy_difference(run_toy(run), reference), "");
  }
}

TEST(ParallelOptimizer, AStepThatIsForgottenLeavesNothingBehind) {
  for (const int64_t zero : {0, 1}) {
    // The third data rank has no micro-batch, so it never filled a bucket that the others sent.
    ToyRun run{.layout = {.tp = 1, .dp = 3, .pp = 1}, .zero_stage = zero, .micro_batches = 2};
    run.before = [&run](int rank, Optimizer& optimizer, testing::ToyRank& toy) {
      WeightGrads grads;
      grads.on_applied = [&](Parameter& p) { optimizer.on_applied(p); };
      const bool works = run.layout.d(rank) < 2;
      optimizer.begin_step(works ? 1 : 0);
      if (works) toy_backward(toy, run, rank, 77, 0, grads);
      optimizer.finish_step();
    };
    EXPECT_EQ(difference_from_one_rank(run), "") << zero;
  }
}

TEST(ParallelOptimizer, ZeroOneHoldsItsShareOfMastersAndMoments) {
  const auto bytes = [](int dp, int64_t zero, at::ScalarType dtype) {
    const ToyRun run{.layout = {.tp = 1, .dp = dp, .pp = 1},
                     .zero_stage = zero,
                     .bucket_elements = 1 << 20,
                     .dtype = dtype,
                     .accumulator = at::kFloat,
                     .steps = 1};
    return run_toy(run);
  };
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const int dp : {2, 3}) {
      const auto results = bytes(dp, 1, dtype);
      const int64_t elements = bytes(dp, 0, dtype)[0].bytes / 16;  // 4 + 12 bytes a parameter
      for (const ToyRankResult& result : results) EXPECT_EQ(result.bytes, 4 * elements + 12 * elements / dp);
    }
  }
}

TEST(ParallelOptimizer, HigherZeroStagesAreRefused) {
  try {
    Optimizer({}, {}, at::kFloat, {.zero_stage = 2});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("parallel.zero_stage: got 2; needed 0"));
  }
}

}  // namespace
}  // namespace phalanx
