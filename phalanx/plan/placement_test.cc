#include "phalanx/plan/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "phalanx/mesh/mesh.h"
#include "phalanx/plan/topology.h"

namespace phalanx {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

PlanLayout sizes_of(int64_t tp, int64_t cp, int64_t dp, int64_t pp,
                    const std::string& order = "tp-cp-dp-pp") {
  PlanLayout layout;
  layout.tp = tp;
  layout.cp = cp;
  layout.dp = dp;
  layout.pp = pp;
  layout.order = order;
  return layout;
}

Cluster nodes_of(int64_t gpus) {
  Cluster cluster = load_cluster("a100-selene");
  cluster.gpus_per_node = gpus;
  cluster.nics_per_node = gpus;
  return cluster;
}

// The share of the hops of all groups that leave a node.
double counted_share(const Mesh& mesh, const AxisList& axes, int64_t gpus, bool ring) {
  double hops = 0;
  double slow = 0;
  for (const RankList& ranks : mesh.groups(axes)) {
    const size_t count = ring ? ranks.size() : ranks.size() - 1;
    if (ranks.size() == 1) continue;
    for (size_t i = 0; i < count; ++i) {
      hops += 1;
      slow += ranks[i] / gpus != ranks[(i + 1) % ranks.size()] / gpus ? 1 : 0;
    }
  }
  return hops == 0 ? 0 : slow / hops;
}

double counted_bytes(const PlanLayout& layout, const std::string& order, int64_t gpus,
                     const AxisBytes& bytes) {
  std::vector<MeshAxis> axes;
  for (size_t at = 0; at < order.size(); at += 3) {
    const std::string axis = order.substr(at, 2);
    axes.push_back({axis, static_cast<int>(axis_size(layout, axis))});
  }
  const Mesh mesh(axes);
  return bytes.tp * counted_share(mesh, {"tp"}, gpus, true) +
         bytes.cp * counted_share(mesh, {"cp"}, gpus, true) +
         bytes.dp_cp * counted_share(mesh, {"dp", "cp"}, gpus, true) +
         bytes.pp * counted_share(mesh, {"pp"}, gpus, layout.chunks > 1);
}

TEST(Placement, BytesOfTheTrillionParameterRun) {
  const PlanModel model = paper_gpt("1T", 128, 25600, 160);
  PlanLayout layout = sizes_of(8, 1, 6, 64);
  layout.global_batch = 3072;
  const double boundary = 2048.0 * 25600;  // b s h
  AxisBytes bytes = axis_bytes(model, layout, 2e9);
  EXPECT_DOUBLE_EQ(bytes.tp, 512 * 2 * 8 * boundary * 7 / 8 * 2);  // two transformer layers a stage
  EXPECT_EQ(bytes.cp, 0);
  EXPECT_DOUBLE_EQ(bytes.dp_cp, 2 * 5 / 6.0 * 2e9 * 2);
  EXPECT_DOUBLE_EQ(bytes.pp, 512 * 2 * boundary * 2 / 8);  // scatter-gather: an eighth of both ways
  EXPECT_EQ(best_order(layout, load_cluster("a100-selene"), bytes), "tp-cp-dp-pp");
  layout.recompute = PlanRecompute::kFull;
  layout.scatter_gather = false;
  layout.chunks = 2;
  layout.cp = 2;
  bytes = axis_bytes(model, layout, 2e9, 4);
  EXPECT_DOUBLE_EQ(bytes.tp, 512 * 2 * 12 * boundary / 2 * 7 / 8 * 2);
  EXPECT_DOUBLE_EQ(bytes.pp, 512 * 2 * 2 * boundary / 2 * 2);
  EXPECT_DOUBLE_EQ(bytes.dp_cp, 2 * 11 / 12.0 * 2e9 * 4);
  EXPECT_DOUBLE_EQ(bytes.cp, 512 * 2 * 4 * (1024.0 * 2 * 25600 / 8 * 2));
  EXPECT_EQ(axis_bytes(model, sizes_of(1, 1, 1, 1), 1e9).pp, 0);
}

TEST(Placement, SlowBytesAreThoseOfTheHopsBetweenNodes) {
  std::mt19937 random(5);
  std::vector<std::string> axes(kMeshAxes.begin(), kMeshAxes.end());
  const int64_t sizes[] = {1, 2, 2, 4, 8, 3};
  int even = 0;
  for (int round = 0; round < 600; ++round) {
    std::shuffle(axes.begin(), axes.end(), random);
    const auto pick = [&] { return sizes[random() % std::size(sizes)]; };
    const std::string order = axes[0] + "-" + axes[1] + "-" + axes[2] + "-" + axes[3];
    PlanLayout layout = sizes_of(pick(), pick(), pick(), pick(), order);
    layout.chunks = static_cast<int64_t>(1 + random() % 2);
    const Cluster cluster = nodes_of(int64_t{1} << (random() % 4));
    const AxisBytes bytes{.tp = 1e9, .cp = 3e8, .dp_cp = 7e7, .pp = 5e6};
    const double counted = counted_bytes(layout, order, cluster.gpus_per_node, bytes);
    const double got = slow_bytes(layout, cluster, bytes);
    const Topology on = topology_of(layout, cluster);
    if (on.tp.even && on.cp.even && on.dp_cp.even && on.pp.even) {
      EXPECT_NEAR(got, counted, 1e-9 * (counted + 1)) << order;
      ++even;
    } else {
      EXPECT_GE(got, counted * (1 - 1e-9)) << "the worst group's share";
    }
  }
  EXPECT_GT(even, 200);
}

TEST(Placement, TheBestOrderHasTheFewestSlowBytes) {
  std::mt19937 random(9);
  const int64_t sizes[] = {1, 2, 4, 8};
  for (int round = 0; round < 60; ++round) {
    const auto pick = [&] { return sizes[random() % std::size(sizes)]; };
    const PlanLayout layout = sizes_of(pick(), pick(), pick(), pick());
    const auto draw = [&] { return static_cast<double>(random() % 1000); };
    const AxisBytes bytes{.tp = draw(), .cp = draw(), .dp_cp = draw(), .pp = draw()};
    const std::string best = best_order(layout, nodes_of(8), bytes);
    std::vector<std::string> axes(kMeshAxes.begin(), kMeshAxes.end());
    std::sort(axes.begin(), axes.end());
    do {
      const std::string order = axes[0] + "-" + axes[1] + "-" + axes[2] + "-" + axes[3];
      EXPECT_LE(counted_bytes(layout, best, 8, bytes), counted_bytes(layout, order, 8, bytes) * (1 + 1e-9))
          << order;
    } while (std::next_permutation(axes.begin(), axes.end()));
  }
}

TEST(Placement, WhatTalksMostIsPutInsideNodes) {
  const Cluster cluster = nodes_of(8);
  const PlanLayout layout = sizes_of(1, 1, 8, 8);
  EXPECT_EQ(best_order(layout, cluster, {.dp_cp = 2, .pp = 1}), "tp-cp-dp-pp");
  EXPECT_EQ(best_order(layout, cluster, {.dp_cp = 1, .pp = 2}), "tp-cp-pp-dp");
  EXPECT_EQ(best_order(sizes_of(8, 1, 8, 8), cluster, {.tp = 9, .dp_cp = 1, .pp = 2}), "tp-cp-dp-pp");
}

TEST(Placement, Notes) {
  const Cluster cluster = load_cluster("a100-selene");
  EXPECT_THAT(placement_notes(sizes_of(8, 1, 6, 64), cluster), IsEmpty());
  EXPECT_THAT(placement_notes(sizes_of(4, 4, 2, 1), cluster), IsEmpty()) << "cp 4 finds no room beside tp 4";
  EXPECT_THAT(placement_notes(sizes_of(16, 1, 2, 2), cluster),
              ElementsAre(AllOf(HasSubstr("tp 16 spans 2 nodes of 8: links between nodes are "),
                                HasSubstr(" times slower. Keep tp at 8 or less"))));
  EXPECT_THAT(
      placement_notes(sizes_of(4, 1, 8, 4, "dp-tp-cp-pp"), cluster),
      ElementsAre(HasSubstr("tp 4 would fit a node of 8, but the order dp-tp-cp-pp puts it on 4 nodes")));
  EXPECT_THAT(placement_notes(sizes_of(3, 1, 8, 1), cluster),
              ElementsAre(HasSubstr("tp 3 does not divide nodes of 8: some groups cross")));
  EXPECT_THAT(placement_notes(sizes_of(2, 4, 2, 2, "tp-dp-pp-cp"), cluster),
              ElementsAre(HasSubstr("cp 4 would fit a node of 8")));
  EXPECT_THAT(placement_notes(sizes_of(1, 1, 8, 8, "tp-cp-pp-dp"), cluster),
              ElementsAre(HasSubstr("puts pipeline stages nearer than data-parallel ranks")));
  EXPECT_THAT(placement_notes(sizes_of(8, 1, 2, 8), cluster, {.tp = 9e9, .dp_cp = 1e9}), IsEmpty());
  EXPECT_THAT(
      placement_notes(sizes_of(4, 1, 8, 4, "tp-cp-pp-dp"), cluster, {.tp = 9e9, .dp_cp = 3e9, .pp = 1e6})
          .back(),
      HasSubstr("the order tp-cp-pp-dp sends 3.00 GB a rank and step between nodes, tp-cp-dp-pp would send "
                "1.50 GB"));
  Cluster one_nic = cluster;
  one_nic.nics_per_node = 1;
  EXPECT_THAT(placement_notes(sizes_of(8, 1, 2, 1), one_nic),
              ElementsAre(HasSubstr("8 data-parallel groups share a NIC")));
}

}  // namespace
}  // namespace phalanx
