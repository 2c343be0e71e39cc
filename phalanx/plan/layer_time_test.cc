#include "phalanx/plan/layer_time.h"

#include <gtest/gtest.h>

#include <cmath>

#include "phalanx/plan/roofline.h"

namespace phalanx {
namespace {

// One unit, so that tiles are all that matters; rates that make seconds easy.
Cluster simple() {
  Cluster cluster = load_cluster("a100-selene");
  cluster.multiprocessors = 4;
  cluster.peak_flops = 2.0 * 256 * 128;  // a tile of depth 1 takes a second on all units together
  cluster.memory_bandwidth = 1e30;
  cluster.matmul_efficiency = cluster.memory_efficiency = 1;
  return cluster;
}

TEST(Roofline, WholeWavesOfTiles) {
  const Cluster cluster = simple();
  EXPECT_DOUBLE_EQ(product_seconds({.m = 256, .n = 128, .k = 3}, cluster), 4 * 3)
      << "one tile costs a wave of four";
  EXPECT_DOUBLE_EQ(product_seconds({.m = 512, .n = 256, .k = 3}, cluster), 4 * 3)
      << "four tiles are one wave";
  EXPECT_DOUBLE_EQ(product_seconds({.m = 513, .n = 256, .k = 3}, cluster), 8 * 3) << "a ragged fifth";
  EXPECT_DOUBLE_EQ(product_seconds({.m = 128, .n = 256, .k = 3}, cluster), 4 * 3) << "the tile lies";
  EXPECT_DOUBLE_EQ(product_seconds({.m = 1, .n = 1, .k = 1, .batch = 5}, cluster), 8);
}

TEST(Roofline, MemoryBoundsThinProducts) {
  Cluster cluster = simple();
  cluster.peak_flops = 1e30;
  cluster.memory_bandwidth = 100;
  cluster.memory_efficiency = 0.5;
  EXPECT_DOUBLE_EQ(product_seconds({.m = 1, .n = 20, .k = 10}, cluster), 2 * (10 + 200 + 20) / 50.0);
  EXPECT_DOUBLE_EQ(memory_seconds(75, cluster), 1.5);
}

struct Fixture22B {
  PlanModel model = paper_gpt("22B", 48, 6144, 64);
  PlanLayout layout{.tp = 8, .micro_batch = 4, .global_batch = 4};
  Cluster cluster = load_cluster("a100-selene");
  Software software = find_software("megatron-2022");

  PriceContext context() const {
    return {.model = model,
            .layout = layout,
            .cluster = cluster,
            .software = software,
            .comm = {.all_reduce = 10, .gather = 5, .context_ring = 0}};
  }
};

double backward(const LayerTime& t) {
  return (t.backward_input + t.backward_weight + t.recompute).total() - t.hidden;
}

TEST(LayerTime, OneRankTalksToNobody) {
  Fixture22B s;
  s.layout.tp = 1;
  for (const LayerKind kind : {LayerKind::kAttention, LayerKind::kMlp}) {
    const LayerTime t = layer_time(kind, s.context());
    EXPECT_EQ(t.forward.tensor, 0);
    EXPECT_EQ(t.backward_input.tensor, 0);
    EXPECT_EQ(t.hidden, 0);
  }
}

TEST(LayerTime, TensorParallelCommunicationByForm) {
  Fixture22B s;
  s.software.overlap_tensor = false;
  LayerTime t = layer_time(LayerKind::kMlp, s.context());
  EXPECT_EQ(t.forward.tensor, 10) << "an all-reduce";
  EXPECT_EQ(t.backward_input.tensor, 10);
  s.layout.sequence_parallel = true;
  t = layer_time(LayerKind::kMlp, s.context());
  EXPECT_EQ(t.forward.tensor, 10) << "a gather and a scatter: the same volume";
  EXPECT_EQ(t.backward_input.tensor, 15) << "and the input gathered again";
  s.software.overlap_tensor = true;
  t = layer_time(LayerKind::kMlp, s.context());
  EXPECT_LT(t.backward_input.tensor, 15);
  EXPECT_GT(t.backward_input.tensor, 10) << "dy is gathered in the open";
  EXPECT_GT(t.hidden, 0) << "the scatter travels beside the weight gradient";
  EXPECT_LE(t.hidden, t.backward_weight.product);
}

TEST(LayerTime, SequenceParallelismCutsNormsAndResiduals) {
  Fixture22B s;
  const double whole = layer_time(LayerKind::kAttention, s.context()).forward.pointwise;
  s.layout.sequence_parallel = true;
  EXPECT_NEAR(layer_time(LayerKind::kAttention, s.context()).forward.pointwise, whole / 8, 1e-12);
}

TEST(LayerTime, RecomputePolicies) {
  Fixture22B s;
  const LayerTime none = layer_time(LayerKind::kAttention, s.context());
  EXPECT_EQ(none.recompute.total(), 0);
  s.layout.recompute = PlanRecompute::kSelective;
  EXPECT_DOUBLE_EQ(layer_time(LayerKind::kAttention, s.context()).recompute.total(), none.forward.core);
  EXPECT_EQ(layer_time(LayerKind::kMlp, s.context()).recompute.total(), 0);
  s.layout.recompute = PlanRecompute::kFull;
  EXPECT_DOUBLE_EQ(layer_time(LayerKind::kAttention, s.context()).recompute.total(), none.forward.total());
  s.software.fused_attention = true;
  s.layout.recompute = PlanRecompute::kSelective;
  EXPECT_EQ(layer_time(LayerKind::kAttention, s.context()).recompute.total(), 0)
      << "fused attention keeps no scores";
}

TEST(LayerTime, FusedAttentionIsFaster) {
  Fixture22B s;
  const double apart = layer_time(LayerKind::kAttention, s.context()).forward.core;
  s.software.fused_attention = true;
  EXPECT_LT(layer_time(LayerKind::kAttention, s.context()).forward.core, apart / 2);
}

TEST(LayerTime, BackwardIsAboutTwiceForward) {
  Fixture22B s;
  s.layout.tp = 1;
  for (const LayerKind kind : {LayerKind::kAttention, LayerKind::kMlp}) {
    const LayerTime t = layer_time(kind, s.context());
    EXPECT_GT(backward(t) / t.forward.total(), 1.6) << "scores move as often backward as forward";
    EXPECT_LT(backward(t) / t.forward.total(), 2.2);
    EXPECT_NEAR(t.backward_weight.product / t.forward.product, 1, 0.1);
  }
}

TEST(LayerTime, ContextRingHidesBehindTheCore) {
  Fixture22B s;
  s.layout.cp = 2;
  PriceContext c = s.context();
  c.comm.context_ring = 1e-9;
  EXPECT_EQ(layer_time(LayerKind::kAttention, c).forward.context, 0);
  c.comm.context_ring = 100;
  const LayerTime t = layer_time(LayerKind::kAttention, c);
  EXPECT_DOUBLE_EQ(t.forward.context, 100 - t.forward.core);
}

TEST(LayerTime, MambaLayersHaveAPrice) {
  Fixture22B s;
  s.layout.tp = 1;
  s.model.mamba = {.inner = 2 * s.model.hidden};
  const LayerTime t = layer_time(LayerKind::kMamba2, s.context());
  EXPECT_GT(t.forward.product, 0);
  EXPECT_GT(t.forward.core, 0);
  const double once = t.forward.core;
  s.layout.tp = 8;
  EXPECT_LT(layer_time(LayerKind::kMamba2, s.context()).forward.core, once) << "heads are split";
}

}  // namespace
}  // namespace phalanx
