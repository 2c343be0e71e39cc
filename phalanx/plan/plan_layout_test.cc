#include "phalanx/plan/plan_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/base/error.h"
#include "phalanx/plan/partition.h"
#include "phalanx/plan/plan_flops.h"
#include "phalanx/plan/published.h"

namespace phalanx {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

PlanModel small_gpt(int64_t layers = 8) {
  return paper_gpt("small", layers, 64, 8, 512, 128);
}

TEST(PlanLayout, SaysWhatDiffersFromTheDefaults) {
  EXPECT_EQ(to_string(PlanLayout{}), "one rank, micro-batch 1 x 1");
  EXPECT_EQ(to_string({.tp = 8,
                       .sequence_parallel = true,
                       .pp = 64,
                       .dp = 6,
                       .global_batch = 3072,
                       .recompute = PlanRecompute::kFull}),
            "tp 8 sp pp 64 dp 6, 1f1b, micro-batch 1 x 512, recompute full");
  EXPECT_EQ(to_string({.pp = 4,
                       .chunks = 2,
                       .cp = 2,
                       .schedule = "interleaved",
                       .micro_batch = 2,
                       .global_batch = 16,
                       .recompute = PlanRecompute::kFull,
                       .layers_per_checkpoint = 2,
                       .shard_checkpoints = true,
                       .free_outputs = false,
                       .recompute_window = true,
                       .scatter_gather = false,
                       .zero = 1,
                       .order = "tp-dp-cp-pp"}),
            "pp 4 x 2 chunks cp 2, interleaved, micro-batch 2 x 8, recompute full every 2 layers, sharded "
            "checkpoints, window, outputs kept, no scatter-gather, zero 1, order tp-dp-cp-pp");
}

TEST(PlanLayout, SaysWhatIsRecomputed) {
  const auto text = [](PlanLayout layout) {
    return to_string(layout).substr(std::string("one rank, micro-batch 1 x 1, ").size());
  };
  EXPECT_EQ(text({.recompute = PlanRecompute::kFull, .block_layers = 2}),
            "recompute full of 2 layers a stage");
  EXPECT_EQ(text({.recompute = PlanRecompute::kSelective, .recompute_mlp = true}),
            "recompute selective with MLPs");
  EXPECT_EQ(text({.recompute = PlanRecompute::kFull, .recompute_window = true, .window_pairs = 3}),
            "recompute full, window of 3");
}

TEST(PlanLayout, ABlockIsTheFirstLayersOfEachStage) {
  const PlanModel model = small_gpt();
  const auto end = [&](PlanRecompute policy, int64_t block, const StageSlice& slice) {
    return recomputed_end(model, {.recompute = policy, .block_layers = block}, slice);
  };
  EXPECT_EQ(end(PlanRecompute::kFull, 0, {4, 10}), 10U);
  EXPECT_EQ(end(PlanRecompute::kFull, 2, {4, 10}), 8U);
  EXPECT_EQ(end(PlanRecompute::kFull, 9, {4, 10}), 10U);
  EXPECT_EQ(end(PlanRecompute::kFull, 1, {5, 10}), 6U) << "a pair that is cut";
  EXPECT_EQ(end(PlanRecompute::kSelective, 0, {4, 10}), 4U);
}

TEST(PlanLayout, EveryPublishedLayoutIsLegal) {
  for (const WeakScalingRow& row : weak_scaling_rows())
    EXPECT_THAT(layout_violations(model_of(row), layout_of(row)), IsEmpty()) << row.params_billion;
  for (const RecomputeRow& row : recompute_rows()) {
    EXPECT_THAT(layout_violations(model_of(row), layout_of(row)), IsEmpty()) << row.name;
  }
}

struct Broken {
  PlanLayout layout;
  const char* violation;
};

TEST(PlanLayout, NamesEveryRuleThatIsBroken) {
  const std::vector<Broken> cases = {
      {{.tp = 3}, "padded vocab = 512 is no multiple of tp = 3"},
      {{.tp = 3}, "heads = 8 is no multiple of tp = 3"},
      {{.tp = 3}, "kv_groups = 8 is neither a multiple nor a divisor of tp = 3"},
      {{.tp = 3}, "ffn = 256 is no multiple of tp = 3"},
      {{.tp = 0}, "tp = 0 is not from 1 to 16777216"},
      {{.tp = 8192, .pp = 8192}, "tp x pp x cp x dp = 67108864 is above 16777216"},
      {{.pp = 3}, "transformer layers = 8 is no multiple of pp x chunks = 3"},
      {{.pp = 16}, "transformer layers = 8 are fewer than pp x chunks = 16"},
      {{.chunks = 2, .schedule = "interleaved"}, "chunks = 2 needs pp above 1"},
      {{.pp = 2, .chunks = 2}, "schedule 1f1b has 1 to 1 chunks a rank, not 2"},
      {{.pp = 2, .schedule = "zb-v"}, "schedule zb-v has 2 to 2 chunks a rank, not 1"},
      {{.schedule = "2f2b"}, "schedule '2f2b' is none of gpipe, 1f1b"},
      {{.cp = 3}, "sequence = 128 is no multiple of 2 x cp = 6"},
      {{.tp = 8, .sequence_parallel = true, .cp = 32},
       "micro_batch x sequence = 128 is no multiple of tp x cp"},
      {{.dp = 2, .micro_batch = 2, .global_batch = 6},
       "global_batch = 6 is no multiple of dp x micro_batch = 4"},
      {{.global_batch = 0}, "global_batch = 0 is not from 1"},
      {{.layers_per_checkpoint = 0}, "layers_per_checkpoint = 0 is below 1"},
      {{.layers_per_checkpoint = 2}, "layers_per_checkpoint = 2 needs recompute full"},
      {{.shard_checkpoints = true}, "shard_checkpoints needs recompute full"},
      {{.recompute_window = true}, "recompute_window needs a recompute policy"},
      {{.block_layers = 2}, "block_layers = 2 needs recompute full"},
      {{.recompute = PlanRecompute::kFull, .block_layers = -1}, "block_layers = -1 is below 0"},
      {{.recompute = PlanRecompute::kFull, .layers_per_checkpoint = 2, .block_layers = 2},
       "block_layers = 2 keeps every input: layers_per_checkpoint = 2 does not go with it"},
      {{.recompute_mlp = true}, "recompute_mlp needs recompute selective"},
      {{.window_pairs = -1}, "window_pairs = -1 is below 0"},
      {{.window_pairs = 1}, "window_pairs = 1 needs recompute_window"},
      {{.zero = 4}, "zero = 4 is not from 0 to 3"},
      {{.order = "tp-cp-dp"}, "order 'tp-cp-dp' lacks the axis 'pp'"},
      {{.order = "tp-cp-dp-pp-ep"}, "order 'tp-cp-dp-pp-ep' has more than the axes tp, cp, dp and pp"},
  };
  for (const Broken& broken : cases)
    EXPECT_THAT(layout_violations(small_gpt(), broken.layout),
                testing::Contains(HasSubstr(broken.violation)));
}

TEST(PlanLayout, ChecksMambaSizesAndNamedStages) {
  PlanModel model = hybrid_8b();
  EXPECT_THAT(layout_violations(model, {.tp = 8}), IsEmpty());
  EXPECT_THAT(layout_violations(model, {.tp = 8, .cp = 32}),
              testing::Contains("mamba heads = 128 is no multiple of tp x cp = 256"));
  EXPECT_THAT(layout_violations(model, {.pp = 57}),
              testing::Contains("residual layers = 56 are fewer than pp x chunks = 57"));
  model.mamba.groups = 3;
  EXPECT_THAT(layout_violations(model, {}),
              testing::Contains("mamba heads = 128 is no multiple of mamba.groups = 3"));
  PlanModel named = small_gpt();
  named.pattern = parse_pattern("*-|*-*-");
  EXPECT_THAT(layout_violations(named, {.pp = 2}), IsEmpty());
  EXPECT_THAT(layout_violations(named, {.pp = 3}),
              testing::Contains("the pattern names 2 stages, pp x chunks = 3"));
}

TEST(PlanLayout, FewerKeyHeadsThanRanksAreLegal) {
  PlanModel model = small_gpt();
  model.kv_groups = 2;
  EXPECT_THAT(layout_violations(model, {.tp = 8}), IsEmpty());
}

TEST(PlanLayout, OneErrorListsAll) {
  try {
    check_layout(small_gpt(), {.tp = 3, .pp = 3, .zero = 9});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    for (const char* part : {"layout of small", "tp = 3", "pp x chunks = 3", "zero = 9"})
      EXPECT_THAT(error.what(), HasSubstr(part));
  }
  EXPECT_NO_THROW(check_layout(small_gpt(), {.tp = 2, .pp = 4}));
}

TEST(PlanLayout, MarksALayerThatCannotBePlanned) {
  PlanModel model = small_gpt();
  model.pattern = parse_pattern("*-|*E");
  try {
    check_layout(model, {.pp = 2});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("layer 3 of kind E (experts)"));
    EXPECT_THAT(error.what(), HasSubstr("\n    *-|*E\n        ^"));
  }
  model.pattern = parse_pattern("(M-)x60X(M-)x60");
  try {
    check_plannable(model.pattern, "model.pattern");
    FAIL() << "no error";
  } catch (const Error& error) {
    const std::string text = error.what();
    const size_t mark = text.rfind('^') - text.rfind('\n');
    const size_t line_begin = text.rfind('\n', text.rfind('\n') - 1);
    EXPECT_EQ(text[line_begin + mark], 'X') << text;
  }
}

TEST(PlanLayout, GptStagesAreEqual) {
  const std::vector<StageSlice> slices = stage_slices(small_gpt(), {.pp = 2, .chunks = 2});
  EXPECT_THAT(slices, ElementsAre(StageSlice{0, 4}, StageSlice{4, 8}, StageSlice{8, 12}, StageSlice{12, 16}));
  PlanModel named = small_gpt();
  named.pattern = parse_pattern("*-||*-*-");
  EXPECT_THAT(stage_slices(named, {.pp = 3}),
              ElementsAre(StageSlice{0, 2}, StageSlice{2, 2}, StageSlice{2, 6}));
}

TEST(PlanLayout, NamedStagesOfAHybridStand) {
  PlanModel model = hybrid_8b();
  model.pattern = parse_pattern("M-|M-M-M*-");
  EXPECT_THAT(stage_slices(model, {.pp = 2}), ElementsAre(StageSlice{0, 2}, StageSlice{2, 9}));
}

double stage_work(const PlanModel& model, const std::vector<StageSlice>& slices, size_t stage) {
  const TokenBatch batch = token_batch(1, model.sequence);
  double work = stage + 1 == slices.size() ? head_flops(model, batch) : 0.0;
  for (size_t i = slices[stage].begin; i < slices[stage].end; ++i)
    work += layer_flops(model, model.pattern.layers[i], batch, AttentionSpan::kCausal);
  return work;
}

// The best largest stage by trying every cut of four stages.
double best_of_four(const PlanModel& model) {
  const size_t n = model.pattern.layers.size();
  double best = 1e300;
  for (size_t a = 0; a <= n; ++a) {
    for (size_t b = a; b <= n; ++b) {
      for (size_t c = b; c <= n; ++c) {
        const std::vector<StageSlice> slices = {{0, a}, {a, b}, {b, c}, {c, n}};
        double largest = 0;
        for (size_t s = 0; s < 4; ++s) largest = std::max(largest, stage_work(model, slices, s));
        best = std::min(best, largest);
      }
    }
  }
  return best;
}

TEST(PlanLayout, HybridStagesAreAsEvenAsCanBe) {
  PlanModel model = hybrid_8b();
  model.pattern = parse_pattern("M-M-M--M-M*-M-M-M-M--M*-M-M-");
  for (const int64_t sequence : {4096, 131072}) {
    model.sequence = sequence;
    const std::vector<StageSlice> slices = stage_slices(model, {.pp = 4});
    double largest = 0;
    size_t next = 0;
    for (size_t s = 0; s < 4; ++s) {
      EXPECT_EQ(slices[s].begin, next);
      next = slices[s].end;
      largest = std::max(largest, stage_work(model, slices, s));
    }
    EXPECT_EQ(next, model.pattern.layers.size());
    EXPECT_DOUBLE_EQ(largest, best_of_four(model));
  }
}

TEST(PlanLayout, CutsOfPlainCosts) {
  EXPECT_THAT(balanced_cuts({1, 1, 4}, 2), ElementsAre(0, 2, 3));
  EXPECT_THAT(balanced_cuts({2, 2, 2, 2}, 4), ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(balanced_cuts({5}, 1), ElementsAre(0, 1));
  EXPECT_THAT(balanced_cuts({9, 1, 1}, 3), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(balanced_cuts({1, 1, 1, 1, 1, 1, 1}, 3), ElementsAre(0, 2, 4, 7));
  EXPECT_THAT(balanced_cuts({1, 1, 1, 9}, 3), ElementsAre(0, 2, 3, 4)) << "no piece is empty";
}

TEST(PlanLayout, PlacesChunksByTheSchedule) {
  EXPECT_EQ(layout_placement({.pp = 2, .chunks = 2, .schedule = "interleaved"}), (Placement{{0, 2}, {1, 3}}));
  EXPECT_EQ(layout_placement({.pp = 2, .chunks = 2, .schedule = "zb-v"}), (Placement{{0, 3}, {1, 2}}));
}

}  // namespace
}  // namespace phalanx
