#include "phalanx/plan/memory.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phalanx/base/error.h"
#include "phalanx/pipeline/generate.h"
#include "phalanx/plan/counts.h"
#include "phalanx/plan/in_flight.h"
#include "phalanx/plan/published.h"

namespace phalanx {
namespace {

using testing::HasSubstr;

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
constexpr int64_t kA100Bytes = int64_t{80} * 1000 * 1000 * 1000;

const MemoryOptions kPaperAccount{.account = StashAccount::kPaper};

PlanModel small_gpt() {
  return paper_gpt("small", 8, 64, 8, 512, 128);
}

Schedule schedule_of(const PlanLayout& layout) {
  return make_schedule({.kind = layout.schedule,
                        .pp = static_cast<int>(layout.pp),
                        .chunks = static_cast<int>(layout.chunks),
                        .micro_batches = static_cast<int>(layout.micro_batches())});
}

// 18 -> 6 + 12 / d, 20 -> 4 + 16 / d, 16 -> 8 + 8 / d.
TEST(Memory, StateBytesAParameter) {
  const PlanModel model = small_gpt();
  const auto parameters = static_cast<double>(rank_parameters(model, {})[0]);
  const auto state = [&](const ByteSizes& bytes, int64_t zero, int64_t dp, int64_t cp = 1) {
    const PlanLayout layout{.cp = cp, .dp = dp, .global_batch = dp, .zero = zero};
    return static_cast<double>(plan_memory(model, layout, {.bytes = bytes}).ranks[0].state()) / parameters;
  };
  for (const auto& [bytes, fixed, split] :
       {std::tuple{bf16_bytes(), 6.0, 12.0}, std::tuple{fp16_bytes(), 4.0, 16.0},
        std::tuple{fp32_bytes(), 8.0, 8.0}}) {
    const auto all = static_cast<double>(bytes.state());
    const auto gradient = static_cast<double>(bytes.gradient);
    EXPECT_EQ(all, fixed + split);
    EXPECT_NEAR(state(bytes, 0, 8), all, 1e-9);
    EXPECT_NEAR(state(bytes, 1, 8), fixed + split / 8, 1e-3);
    EXPECT_NEAR(state(bytes, 2, 8), fixed - gradient + (split + gradient) / 8, 1e-3);
    EXPECT_NEAR(state(bytes, 3, 8), all / 8, 1e-3);
    EXPECT_NEAR(state(bytes, 1, 4, 2), fixed + split / 8, 1e-3) << "context ranks hold the same weights";
  }
  EXPECT_EQ(bf16_bytes().state(), 18);
  EXPECT_EQ(fp16_bytes().state(), kMtNlgStateBytes);
  EXPECT_EQ(fp32_bytes().state(), 16);
}

TEST(Memory, MtNlgStatesAndKeptInputs) {
  const PlanModel model = mt_nlg_model();
  EXPECT_GT(count_parameters(model).total() * kMtNlgStateBytes, int64_t{10} * 1000 * 1000 * 1000 * 1000);
  const auto all = static_cast<double>(kept_inputs_bytes(model, kMtNlgBatch));
  EXPECT_DOUBLE_EQ(std::round(all * 1e-11) / 10, 16.9);              // TB
  EXPECT_DOUBLE_EQ(std::round(all / kMtNlgBatch * 1e-8) / 10, 8.8);  // GB
  EXPECT_EQ(kept_inputs_bytes(model, 1, 2), int64_t{2} * 2048 * 20480 * 53);
}

TEST(Memory, FirstStageIsThePapers) {
  for (const RecomputeRow& row : recompute_rows()) {
    const PlanModel model = model_of(row);
    for (const PlanRecompute policy :
         {PlanRecompute::kNone, PlanRecompute::kSelective, PlanRecompute::kFull}) {
      PlanLayout layout = layout_of(row);
      layout.recompute = policy;
      const RankMemory first = plan_memory(model, layout, kPaperAccount).ranks[0];
      const PaperFirstStage paper = paper_first_stage(model, layout);
      EXPECT_NEAR(static_cast<double>(first.stash + first.checkpoints) / paper.layers, 1.0, 1e-12)
          << row.name;
      const auto extras = static_cast<double>(first.embedding + first.head + first.logits);
      if (row.chunks == 1) {
        EXPECT_NEAR(extras / paper.extras, 1.0, 1e-12) << row.name;
      } else {
        // Interleaved, 2 p - 1 micro-batches of the first chunk are in flight; the paper's term has p.
        EXPECT_NEAR(extras / paper.extras, 2.0 - 1.0 / static_cast<double>(row.pp), 1e-12) << row.name;
      }
    }
  }
}

TEST(Memory, ExtrasOf22BAreNotBelowAHundredthOfAPercent) {
  const RecomputeRow& row = recompute_rows()[0];
  const PlanModel model = model_of(row);
  PlanLayout layout = layout_of(row);
  const double unit = 2048.0 * 4 * 6144 * 48 / 8;
  const PaperFirstStage selective = paper_first_stage(model, layout);
  EXPECT_EQ(std::round(selective.extras / unit * 100) / 100, 0.80);
  EXPECT_EQ(std::round(selective.extras / selective.layers * 1000) / 10, 2.3);
  layout.recompute = PlanRecompute::kNone;
  const PaperFirstStage none = paper_first_stage(model, layout);
  EXPECT_EQ(std::round(none.extras / none.layers * 10000) / 100, 0.57);
}

TEST(Memory, InterleavingFactor) {
  EXPECT_EQ(interleaving_factor(8, 1), 1.0);
  EXPECT_DOUBLE_EQ(interleaving_factor(8, 3), 1 + 7.0 / 24);
}

// Figure 1: of tensor parallelism alone, with sequence parallelism, with selective recompute and with both, only the
// last brings every model below 80 GB.
TEST(Memory, OnlyBothTechniquesFit) {
  for (const RecomputeRow& row : recompute_rows()) {
    const PlanModel model = model_of(row);
    const auto bytes = [&](bool sp, PlanRecompute policy) {
      PlanLayout layout = layout_of(row);
      layout.sequence_parallel = sp;
      layout.recompute = policy;
      const MemoryPlan plan = plan_memory(model, layout, kPaperAccount);
      return plan.ranks[0].state() + plan.ranks[0].activations();
    };
    EXPECT_GT(bytes(false, PlanRecompute::kNone), kA100Bytes) << row.name;
    EXPECT_GT(bytes(true, PlanRecompute::kNone), kA100Bytes) << row.name;
    EXPECT_GT(bytes(false, PlanRecompute::kSelective), kA100Bytes) << row.name;
    EXPECT_LT(bytes(true, PlanRecompute::kSelective), kA100Bytes) << row.name;
  }
}

TEST(Memory, RunsThatWereMadeFit) {
  const MemoryOptions fp16{.account = StashAccount::kPaper, .bytes = fp16_bytes()};
  for (const WeakScalingRow& row : weak_scaling_rows()) {
    EXPECT_LT(plan_memory(model_of(row), layout_of(row), fp16).peak(), kA100Bytes) << row.params_billion;
  }
  for (const RecomputeRow& row : recompute_rows())
    EXPECT_LT(plan_memory(model_of(row), layout_of(row), kPaperAccount).peak(), kA100Bytes) << row.name;
}

// Appendix B: 530B, not interleaved, p micro-batches on the first stage.
TEST(Memory, KeptOutputsOf530B) {
  const RecomputeRow& row = recompute_rows()[2];
  PlanLayout layout = layout_of(row);
  layout.chunks = 1;
  layout.schedule = "1f1b";
  const PlanModel model = model_of(row);
  EXPECT_EQ(plan_memory(model, layout, kPaperAccount).ranks[0].outputs, 0);
  layout.free_outputs = false;
  const MemoryPlan plan = plan_memory(model, layout, kPaperAccount);
  EXPECT_EQ(std::round(static_cast<double>(plan.ranks[0].outputs) / kGiB * 100) / 100, 2.73);
  const int64_t one = int64_t{2} * 2048 * 20480;
  for (size_t rank = 0; rank + 1 < plan.ranks.size(); ++rank)
    EXPECT_EQ(plan.ranks[rank].outputs, one * (35 - static_cast<int64_t>(rank)));
  EXPECT_EQ(plan.ranks.back().outputs, 0) << "the last stage sends nothing";
  // Figure 9: a straight line over the ranks, and a spike of s b h p / t on rank 0.
  EXPECT_EQ(plan.ranks[0].embedding, int64_t{2048} * 20480 * 35 / 8);
  EXPECT_EQ(plan.ranks[1].embedding, 0);
  for (size_t rank = 1; rank + 1 < plan.ranks.size(); ++rank)
    EXPECT_EQ(plan.ranks[rank - 1].stash - plan.ranks[rank].stash, plan.ranks.back().stash);
}

TEST(Memory, ClosedFormsAreTheSchedules) {
  for (const std::string kind : {"gpipe", "1f1b", "interleaved", "zb-h1", "zb-v", "v-half"}) {
    const bool v_shaped = kind == "zb-v" || kind == "v-half";
    const bool one = kind == "1f1b" || kind == "zb-h1";
    for (const int64_t chunks : v_shaped ? std::vector<int64_t>{2}
                                : one    ? std::vector<int64_t>{1}
                                         : std::vector<int64_t>{1, 2, 3}) {
      for (int64_t pp = 1; pp <= 8; ++pp) {
        for (int64_t m = 1; m <= 20; ++m) {
          const PlanLayout layout{.pp = pp, .chunks = chunks, .schedule = kind, .global_batch = m};
          const Schedule schedule = schedule_of(layout);
          const InFlight closed = closed_in_flight(layout);
          const InFlight walked =
              peak_in_flight(schedule, std::vector<int64_t>(static_cast<size_t>(schedule.num_stages()), 1));
          SCOPED_TRACE(to_string(layout));
          for (size_t rank = 0; rank < closed.size(); ++rank) {
            const auto sum = [&](const InFlight& f) {
              return std::accumulate(f[rank].begin(), f[rank].end(), int64_t{0});
            };
            EXPECT_EQ(sum(walked), schedule.peak_stash[rank]);
            if (kind == "v-half" && m < pp) {
              EXPECT_GE(sum(closed), sum(walked));
              EXPECT_LE(sum(closed), sum(walked) + 2);
            } else {
              EXPECT_EQ(closed[rank], walked[rank]) << "rank " << rank;
            }
          }
        }
      }
    }
  }
}

TEST(Memory, AScheduleGivesWhatItsClosedFormGives) {
  for (const std::string kind : {"gpipe", "1f1b", "interleaved", "zb-h1", "zb-v", "v-half"}) {
    const bool one = kind == "1f1b" || kind == "zb-h1";
    const PlanLayout layout{
        .tp = 2, .pp = 4, .chunks = one ? 1 : 2, .schedule = kind, .micro_batch = 2, .global_batch = 16};
    const Schedule schedule = schedule_of(layout);
    const MemoryPlan closed = plan_memory(small_gpt(), layout);
    const MemoryPlan walked = plan_memory(small_gpt(), layout, {}, &schedule);
    ASSERT_EQ(closed.ranks.size(), 4U);
    for (size_t rank = 0; rank < 4; ++rank) {
      SCOPED_TRACE(kind + " " + std::to_string(rank));
      if (kind == "zb-v") {
        const auto exact = static_cast<double>(walked.ranks[rank].activations());
        EXPECT_NEAR(static_cast<double>(closed.ranks[rank].activations()), exact, 0.12 * exact);
        continue;
      }
      EXPECT_EQ(closed.ranks[rank].stash, walked.ranks[rank].stash);
      EXPECT_EQ(closed.ranks[rank].deferred, walked.ranks[rank].deferred);
    }
    if (kind != "zb-v") {
      EXPECT_GE(walked.peak(), closed.peak());
    }
  }
}

// Three of chunk 0 at first, later two of each chunk: which is more depends on what they weigh.
TEST(Memory, AScheduleIsPricedWhereItWeighsMost) {
  Schedule schedule{.kind = "by hand", .chunks = 2, .micro_batches = 3, .placement = {{0, 1}}};
  const auto act = [](Op op, int micro_batch, int chunk) {
    return Action{.op = op, .micro_batch = micro_batch, .chunk = chunk};
  };
  schedule.ranks = {{act(Op::kForward, 0, 0), act(Op::kForward, 1, 0), act(Op::kForward, 2, 0),
                     act(Op::kBackwardInput, 0, 0), act(Op::kBackwardWeight, 0, 0), act(Op::kForward, 0, 1),
                     act(Op::kForward, 1, 1), act(Op::kBackward, 1, 0)}};
  EXPECT_EQ(peak_in_flight(schedule, {9, 1})[0], (std::vector<int64_t>{3, 0}));
  EXPECT_EQ(peak_in_flight(schedule, {1, 1})[0], (std::vector<int64_t>{2, 2}));
  // W frees the stash, not B: until then three are held.
  schedule.ranks[0].erase(schedule.ranks[0].begin() + 4);
  EXPECT_EQ(peak_in_flight(schedule, {9, 1})[0], (std::vector<int64_t>{3, 2}));
  const Schedule forward = make_schedule({.kind = "1f1b", .pp = 2, .micro_batches = 3, .forward_only = true});
  EXPECT_EQ(peak_in_flight(forward, {1, 1})[0][0], 0);
}

// A schedule file may put stages anywhere.
TEST(Memory, RanksHoldWhatTheScheduleSays) {
  const PlanLayout layout{.pp = 2, .schedule = "mine.json", .global_batch = 4};
  Schedule schedule = make_schedule({.kind = "1f1b", .pp = 2, .micro_batches = 4});
  const MemoryPlan straight = plan_memory(small_gpt(), layout, kPaperAccount, &schedule);
  EXPECT_GT(straight.ranks[0].embedding, 0);
  EXPECT_EQ(straight.worst, 0U);
  schedule.placement = {{1}, {0}};
  const MemoryPlan turned = plan_memory(small_gpt(), layout, kPaperAccount, &schedule);
  EXPECT_EQ(turned.ranks[0].embedding, 0);
  EXPECT_GT(turned.ranks[1].embedding, 0);
  EXPECT_EQ(turned.ranks[0].weights, straight.ranks[1].weights);
  const std::vector<ByteItem> labels = rank_stash(small_gpt(), layout, 0, kPaperAccount, &schedule);
  EXPECT_EQ(total_bytes(labels), turned.ranks[0].activations());
}

TEST(Memory, LabelsAddUpToTheRank) {
  PlanModel hybrid = hybrid_8b();
  hybrid.dropout = true;
  const std::vector<PlanModel> models = {small_gpt(), hybrid};
  for (const PlanModel& model : models) {
    for (const PlanRecompute policy :
         {PlanRecompute::kNone, PlanRecompute::kSelective, PlanRecompute::kFull}) {
      for (const StashAccount account : {StashAccount::kPaper, StashAccount::kPhalanx}) {
        const PlanLayout layout{.tp = 2,
                                .sequence_parallel = true,
                                .pp = 2,
                                .chunks = 2,
                                .schedule = "interleaved",
                                .global_batch = 4,
                                .recompute = policy,
                                .free_outputs = false};
        const MemoryOptions options{.account = account};
        const MemoryPlan plan = plan_memory(model, layout, options);
        for (size_t rank = 0; rank < 2; ++rank) {
          const std::vector<ByteItem> items = rank_stash(model, layout, rank, options);
          EXPECT_EQ(total_bytes(items), plan.ranks[rank].activations());
          EXPECT_TRUE(std::is_sorted(items.begin(), items.end(),
                                     [](const ByteItem& a, const ByteItem& b) { return a.bytes > b.bytes; }));
          EXPECT_EQ(total_bytes(memory_items(plan.ranks[rank])), plan.ranks[rank].total());
        }
      }
    }
  }
}

TEST(Memory, CheckpointsEverySecondLayer) {
  const PlanModel model = small_gpt();
  const auto kept = [&](int64_t every, int64_t pp) {
    const PlanLayout layout{
        .pp = pp, .global_batch = 8, .recompute = PlanRecompute::kFull, .layers_per_checkpoint = every};
    return plan_memory(model, layout).ranks[0].checkpoints / (2 * 128 * 64);
  };
  EXPECT_EQ(kept(1, 1), 8);
  EXPECT_EQ(kept(3, 1), 3);
  EXPECT_EQ(kept(3, 2), 2 * 2) << "4 layers a stage, two micro-batches in flight";
  const auto buffers = [&](int64_t every) {
    return plan_memory(model, {.recompute = PlanRecompute::kFull, .layers_per_checkpoint = every})
        .ranks[0]
        .buffers;
  };
  const PlanLayout plain;
  const int64_t layer =
      total_bytes(
          layer_stash(model, plain, LayerKind::kAttention, PlanRecompute::kNone, StashAccount::kPhalanx)) +
      total_bytes(layer_stash(model, plain, LayerKind::kMlp, PlanRecompute::kNone, StashAccount::kPhalanx));
  EXPECT_EQ(buffers(3) - buffers(1), 2 * layer);
}

// 175B, not interleaved: stage S has 8 - S micro-batches in flight, and late stages keep them whole.
TEST(Memory, WindowKeepsWhatFits) {
  const RecomputeRow& row = recompute_rows()[1];
  PlanLayout layout = layout_of(row);
  layout.chunks = 1;
  layout.schedule = "1f1b";
  const PlanModel model = model_of(row);
  const MemoryPlan without = plan_memory(model, layout, kPaperAccount);
  layout.recompute_window = true;
  const auto plan = [&](int64_t capacity) {
    return plan_memory(model, layout, {.account = StashAccount::kPaper, .capacity = capacity});
  };
  EXPECT_EQ(plan(0).peak(), without.peak());
  const int64_t core = int64_t{12} * (342 - 102) * 1024 * 1024;  // of one micro-batch: 12 layers a stage
  const MemoryPlan tight = plan(without.peak() + 2 * core + core / 2);
  EXPECT_EQ(tight.ranks[0].whole_pairs, 2);
  EXPECT_EQ(tight.ranks[0].total(), without.ranks[0].total() + 2 * core);
  EXPECT_DOUBLE_EQ(tight.ranks[0].recomputed(), 6.0 / 8);
  for (const RankMemory& rank : tight.ranks) EXPECT_LE(rank.total(), without.peak() + 2 * core + core / 2);
  EXPECT_EQ(tight.ranks.back().recomputed(), 0.0);
  EXPECT_EQ(tight.ranks.back().pairs, 1);
  for (size_t i = 1; i < tight.ranks.size(); ++i)
    EXPECT_LE(tight.ranks[i].recomputed(), tight.ranks[i - 1].recomputed());
  // Full recompute: a whole pair also lets its kept inputs go.
  layout.recompute = PlanRecompute::kFull;
  const MemoryPlan full = plan(int64_t{1} << 50);
  EXPECT_EQ(full.ranks[0].checkpoints, 0);
  EXPECT_EQ(full.ranks[0].stash, int64_t{8} * 12 * 342 * 1024 * 1024);
}

TEST(Memory, ShardedWeightsAreGatheredForUse) {
  const PlanModel model = small_gpt();
  const auto buffers = [&](int64_t zero, int64_t dp) {
    return plan_memory(model, {.dp = dp, .global_batch = dp, .zero = zero}).ranks[0].buffers;
  };
  const int64_t layer = layer_parameters(model, LayerKind::kMlp);
  const int64_t embedding = (512 + 128) * 64;
  EXPECT_EQ(buffers(1, 4), buffers(0, 4));
  EXPECT_EQ(buffers(2, 4), buffers(0, 4) + 4 * layer);
  EXPECT_EQ(buffers(3, 4), buffers(2, 4) + 2 * (layer + embedding));
  EXPECT_EQ(buffers(3, 1), buffers(0, 1));
}

// e (2 T h + 2 T w / t) + e T h gathered + 2 e T h boundary; 128 rows of logits in 4 + 2 bytes on the last stage.
TEST(Memory, BuffersByHand) {
  const PlanModel model = small_gpt();
  const MemoryPlan one = plan_memory(model, {});
  const int64_t T = 128;
  const int64_t logits = T * 512 * (4 + 2);
  EXPECT_EQ(one.ranks[0].buffers, 2 * (2 * T * 64 + 2 * T * 256) + logits);
  const MemoryPlan split =
      plan_memory(model, {.tp = 4, .sequence_parallel = true, .pp = 2, .global_batch = 2});
  const int64_t common = 2 * (2 * T * 16 + 2 * T * 64 + T * 64 + 2 * T * 16);
  EXPECT_EQ(split.ranks[0].buffers, common);
  EXPECT_EQ(split.ranks[1].buffers, common + logits / 4);
  const RankMemory paper = plan_memory(model, {}, kPaperAccount).ranks[0];
  EXPECT_EQ(paper.buffers, one.ranks[0].buffers - logits);
  EXPECT_EQ(paper.logits, 4 * T * 512);
  EXPECT_EQ(paper.head, 2 * 2 * T * 64);
  EXPECT_EQ(one.ranks[0].logits, 0);
  EXPECT_EQ(one.ranks[0].head, 2 * 2 * T * 64 + 4 * 2 * T);
  // No more than 512 rows of logits are there at a time.
  const auto extra = [&](int64_t micro_batch) {
    const PlanLayout layout{.micro_batch = micro_batch, .global_batch = micro_batch};
    return plan_memory(model, layout).ranks[0].buffers -
           plan_memory(model, layout, kPaperAccount).ranks[0].buffers;
  };
  EXPECT_EQ(extra(2), 2 * logits);
  EXPECT_EQ(extra(8), 4 * logits);
}

TEST(Memory, WhatCannotBePlannedSaysSo) {
  PlanModel model = small_gpt();
  try {
    plan_memory(model, {.pp = 2, .schedule = "mine.json", .global_batch = 2});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    EXPECT_THAT(error.what(), HasSubstr("memory of schedule mine.json"));
  }
  model.pattern = parse_pattern("*-X");
  EXPECT_THROW(plan_memory(model, {}), Error);
}

}  // namespace
}  // namespace phalanx
