#include "phalanx/plan/time_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "phalanx/base/error.h"
#include "phalanx/pipeline/generate.h"
#include "phalanx/plan/published.h"
#include "phalanx/plan/search.h"
#include "phalanx/plan/step_comm.h"

namespace phalanx {
namespace {

const Cluster& selene() {
  static const Cluster cluster = load_cluster("a100-selene");
  return cluster;
}

double sum(const StepTime& time) {
  const std::vector<TimePart> parts = time_parts(time);
  return std::accumulate(parts.begin(), parts.end(), 0.0,
                         [](double s, const TimePart& p) { return s + p.seconds; });
}

std::vector<PlanLayout> some_layouts() {
  std::vector<PlanLayout> list;
  for (const int64_t tp : {1, 8}) {
    for (const int64_t pp : {1, 4, 12}) {
      for (const PlanRecompute policy :
           {PlanRecompute::kNone, PlanRecompute::kSelective, PlanRecompute::kFull}) {
        PlanLayout layout{
            .tp = tp, .pp = pp, .dp = 2, .micro_batch = 1, .global_batch = 96, .recompute = policy};
        list.push_back(layout);
        if (pp == 1) continue;
        layout.schedule = "interleaved";
        layout.chunks = 2;
        layout.sequence_parallel = tp > 1;
        list.push_back(layout);
        layout.schedule = "zb-v";
        list.push_back(layout);
        layout.schedule = "zb-h1";
        layout.chunks = 1;
        list.push_back(layout);
      }
    }
  }
  return list;
}

const PlanModel& gpt3() {
  static const PlanModel model = paper_gpt("175B", 96, 12288, 96);
  return model;
}

TEST(TimeModel, PartsAddUp) {
  for (const std::string program :
       {"phalanx", "megatron-2021", "megatron-2022", "deepspeed-2021", "megatron-deepspeed-2022"}) {
    const Software& software = find_software(program);
    for (const PlanLayout& layout : some_layouts()) {
      const StepTime time = step_time(gpt3(), layout, selene(), software);
      EXPECT_TRUE(time.simulated);
      EXPECT_NEAR(sum(time) / time.seconds, 1, 1e-6) << program << " " << to_string(layout);
      EXPECT_GE(time.bubble, 0);
    }
  }
}

TEST(TimeModel, TheEstimateIsCloseToTheSimulation) {
  for (const std::string program : {"phalanx", "megatron-2021"}) {
    const Software& software = find_software(program);
    for (const PlanLayout& layout : some_layouts()) {
      const StepTime exact = step_time(gpt3(), layout, selene(), software);
      const StepTime near = estimate_step_time(gpt3(), layout, selene(), software);
      EXPECT_FALSE(near.simulated);
      EXPECT_NEAR(sum(near) / near.seconds, 1, 1e-9);
      EXPECT_NEAR(near.seconds / exact.seconds, 1, 0.08) << program << " " << to_string(layout);
    }
  }
}

TEST(TimeModel, TheBubbleIsTheSchedules) {
  // Uniform stages but for embedding and head, which are small here: (p - 1) / m, and 1 / v of it.
  PlanModel model = paper_gpt("deep", 96, 12288, 96, 1024);
  PlanLayout layout{.tp = 8, .pp = 8, .micro_batch = 1, .global_batch = 32};
  const Software& software = find_software("phalanx");
  EXPECT_NEAR(step_time(model, layout, selene(), software).bubble_share(), 7.0 / 32, 0.01);
  layout.schedule = "interleaved";
  layout.chunks = 3;
  EXPECT_NEAR(step_time(model, layout, selene(), software).bubble_share(), 7.0 / 32 / 3, 0.01);
  layout.chunks = 1;
  layout.schedule = "zb-h1";
  EXPECT_LT(step_time(model, layout, selene(), software).bubble_share(), 0.6 * 7.0 / 32);
}

TEST(TimeModel, EveryOverlapHelps) {
  const Software& base = find_software("megatron-2021");
  const PlanLayout layout{.tp = 8, .pp = 4, .dp = 4, .micro_batch = 1, .global_batch = 64};
  const double before = step_time(gpt3(), layout, selene(), base).seconds;
  for (bool Software::*habit : {&Software::fused_attention, &Software::overlap_tensor,
                                &Software::overlap_pipeline, &Software::overlap_gradients}) {
    Software better = base;
    better.*habit = true;
    EXPECT_LT(step_time(gpt3(), layout, selene(), better).seconds, before);
  }
}

TEST(TimeModel, SlowerPartsMakeSlowerSteps) {
  const Software& software = find_software("megatron-2021");
  const PlanLayout layout{.tp = 8, .pp = 4, .dp = 4, .micro_batch = 1, .global_batch = 64};
  const double before = step_time(gpt3(), layout, selene(), software).seconds;
  for (double Cluster::*rate : {&Cluster::peak_flops, &Cluster::memory_bandwidth, &Cluster::intra_bandwidth,
                                &Cluster::inter_bandwidth}) {
    Cluster slow = selene();
    slow.*rate /= 2;
    EXPECT_GT(step_time(gpt3(), layout, slow, software).seconds, before);
  }
}

TEST(TimeModel, MessagesCostByForm) {
  const Software& software = find_software("megatron-2021");
  PlanLayout layout{.tp = 8, .pp = 4, .micro_batch = 1, .global_batch = 16};
  const StepTime split = step_time(gpt3(), layout, selene(), software);
  layout.scatter_gather = false;
  const StepTime whole = step_time(gpt3(), layout, selene(), software);
  EXPECT_GT(whole.messages, 3 * split.messages);
  EXPECT_EQ(step_time(gpt3(), layout, selene(), find_software("phalanx")).messages, 0);
}

TEST(TimeModel, Zero3GathersMoreThanZero1) {
  const Software& software = find_software("phalanx");
  PlanLayout layout{.dp = 64, .micro_batch = 1, .global_batch = 64, .zero = 1};
  const PlanModel model = paper_gpt("7.5B", 36, 4096, 32);
  const StepTime one = step_time(model, layout, selene(), software);
  EXPECT_EQ(one.weights, 0);
  layout.zero = 3;
  const StepTime three = step_time(model, layout, selene(), software);
  EXPECT_GT(three.weights, 0);
  EXPECT_EQ(three.data, 0);
  Software eager = software;
  eager.prefetch_weights = eager.overlap_gradients = false;
  EXPECT_GT(step_time(model, layout, selene(), eager).weights, three.weights);
}

TEST(TimeModel, AScheduleOfOnesOwnIsPriced) {
  const PlanLayout layout{.tp = 8, .pp = 4, .micro_batch = 1, .global_batch = 8};
  const Software& software = find_software("phalanx");
  const Schedule mine = make_schedule({.kind = "gpipe", .pp = 4, .chunks = 1, .micro_batches = 8});
  EXPECT_NEAR(step_time(gpt3(), layout, selene(), software, mine).seconds,
              step_time(gpt3(), layout, selene(), software).seconds, 0.02);
}

TEST(TimeModel, WhatDoesNotDivideIsRefused) {
  const PlanLayout layout{.tp = 7, .pp = 5, .micro_batch = 1, .global_batch = 8};
  EXPECT_THROW(step_time(gpt3(), layout, selene(), find_software("phalanx")), Error);
  EXPECT_THROW(find_software("megatron-2012"), Error);
}

TEST(StepComm, DataParallelForms) {
  PlanLayout layout{.tp = 8, .dp = 16, .micro_batch = 1, .global_batch = 16};
  const Software& software = find_software("megatron-2021");
  const double plain = step_comm(gpt3(), layout, selene(), software, 1'000'000'000).data;
  layout.zero = 1;
  const double split = step_comm(gpt3(), layout, selene(), software, 1'000'000'000).data;
  EXPECT_NEAR(split / plain, 1, 0.02) << "16-bit gradients and weights: the volume of an all-reduce";
  EXPECT_EQ(step_comm(gpt3(), layout, selene(), software, 0).tied, 0) << "one rank holds both";
  layout.pp = 2;
  EXPECT_GT(step_comm(gpt3(), layout, selene(), software, 0).tied, 0);
}

}  // namespace
}  // namespace phalanx
