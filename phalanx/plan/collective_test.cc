#include "phalanx/plan/collective.h"

#include <gtest/gtest.h>

#include <string>

namespace phalanx {
namespace {

using enum Algorithm;
using enum Collective;

// Numbers that can be worked out by hand: 1 s and 100 B/s in a node, 10 s and 20 B/s a NIC.
Cluster slow_cluster() {
  Cluster cluster = load_cluster("a100-selene");
  cluster.gpus_per_node = 4;
  cluster.nics_per_node = 4;
  cluster.intra_latency = 1;
  cluster.intra_bandwidth = 100;
  cluster.inter_latency = 10;
  cluster.inter_bandwidth = 20;
  cluster.intra_efficiency = 1;
  cluster.inter_efficiency = 1;
  cluster.launch_latency = 0;
  return cluster;
}

constexpr GroupTopology kOneNode{.size = 4, .ranks_per_node = 4};
constexpr GroupTopology kTwoNodes{
    .size = 8, .ranks_per_node = 4, .nodes = 2, .groups_per_node = 1, .nics_per_group = 4};

struct Case {
  Collective kind;
  Algorithm algorithm;
  double seconds;
};

TEST(Collective, FourRanksOfOneNodeByHand) {
  const Case cases[] = {
      {kAllGather, kRing, 3 + 0.75 * 4},
      {kReduceScatter, kRing, 6},
      {kAllReduce, kRing, 12},
      {kAllReduce, kMultiRail, 12},
      {kAllGather, kTree, 2 * 2 + 1.75 * 4 / 0.9},
      {kAllReduce, kTree, 2 * 2 + 2 * 4 / 0.9},
      {kAllReduce, kHierarchical, 12},
      {kBroadcast, kRing, 3 + 4},
      {kBroadcast, kTree, 2 + 4 / 0.9},
      {kBroadcast, kHierarchical, 2 * 3 + 2 * 0.75 * 4},
      {kAllToAll, kRing, 3 + 0.75 * 4},
      {kAllToAll, kTree, 2 + 1 * 4},
      {kAllToAll, kHierarchical, 3 + 0.75 * 4},
      {kSendRecv, kRing, 1 + 4},
      {kSendRecv, kHierarchical, 5},
  };
  for (const Case& c : cases) {
    EXPECT_NEAR(collective_seconds(c.kind, c.algorithm, 400, kOneNode, slow_cluster()), c.seconds, 1e-12)
        << collective_name(c.kind) << " " << algorithm_name(c.algorithm);
  }
}

TEST(Collective, EightRanksOnTwoNodesByHand) {
  const Case cases[] = {
      {kAllGather, kRing, 6 + 10 + 0.875 * 20},                  // one NIC: 400 / 20
      {kAllReduce, kRing, 2 * 33.5},                             //
      {kAllGather, kMultiRail, 6 + 10 + 0.875 * 5},              // four NICs: 400 / 80
      {kReduceScatter, kMultiRail, 20.375},                      //
      {kAllGather, kTree, 2 * 12 + 1.875 * 5 / 0.9},             // two steps in a node, one between
      {kAllReduce, kTree, 2 * 12 + 2 * 5 / 0.9},                 //
      {kAllGather, kHierarchical, 3 + 0.75 * 4 + 10 + 0.5 * 5},  //
      {kAllReduce, kHierarchical, 37},                           //
      {kBroadcast, kRing, 16 + 20},                              //
      {kBroadcast, kMultiRail, 16 + 5},                          //
      {kBroadcast, kTree, 12 + 5 / 0.9},                         //
      {kBroadcast, kHierarchical, 6 + 6 + 10 + 5},               //
      {kAllToAll, kRing, 3 + 3 / 8.0 * 4 + 4 * 10 + 4 * 0.5 * 20},
      {kAllToAll, kMultiRail, 3 + 3 / 8.0 * 4 + 4 * 10 + 4 * 0.5 * 5},
      {kAllToAll, kTree, 12 + 1 * 4 + 4 * 0.5 * 5},
      {kAllToAll, kHierarchical, 3 + 0.75 * 4 + 10 + 4 * 0.5 * 5},
      {kSendRecv, kRing, 10 + 20},
  };
  for (const Case& c : cases) {
    EXPECT_NEAR(collective_seconds(c.kind, c.algorithm, 400, kTwoNodes, slow_cluster()), c.seconds, 1e-12)
        << collective_name(c.kind) << " " << algorithm_name(c.algorithm);
  }
}

TEST(Collective, GroupsThatShareANicGetTheirPart) {
  const GroupTopology group{.size = 3, .nodes = 3, .groups_per_node = 4, .groups_per_nic = 4};
  const Cluster cluster = slow_cluster();  // 20 / 4 = 5 B/s
  EXPECT_DOUBLE_EQ(collective_seconds(kAllReduce, kRing, 30, group, cluster),
                   2 * (2 * 10 + 2 / 3.0 * 30 / 5));
  EXPECT_DOUBLE_EQ(collective_seconds(kSendRecv, kMultiRail, 30, group, cluster), 10 + 30 / 5.0);
}

TEST(Collective, EfficiencyScalesBandwidthAndALinkFeedsNoFasterThanItsRank) {
  Cluster cluster = slow_cluster();
  cluster.intra_efficiency = 0.5;
  cluster.inter_efficiency = 0.25;
  EXPECT_DOUBLE_EQ(collective_seconds(kAllReduce, kRing, 400, kOneNode, cluster), 2 * (3 + 0.75 * 8));
  EXPECT_DOUBLE_EQ(collective_seconds(kSendRecv, kRing, 400, kTwoNodes, cluster), 10 + 80);
  cluster.inter_bandwidth = 1e6;
  const GroupTopology pair{.size = 2, .nodes = 2, .groups_per_node = 4};
  EXPECT_DOUBLE_EQ(collective_seconds(kAllGather, kHierarchical, 400, pair, cluster), 10 + 0.5 * 8);
}

// Narayanan et al. 2021, section 3.2: a tensor-parallel all-reduce moves 2 (t - 1)/t of its vector.
TEST(Collective, WithoutLatencyARingMovesTwiceTheOtherRanksShare) {
  Cluster cluster = load_cluster("a100-selene");
  cluster.intra_latency = 0;
  cluster.launch_latency = 0;
  for (int64_t t = 2; t <= 8; ++t) {
    const GroupTopology group{.size = t, .ranks_per_node = t};
    const auto share = static_cast<double>(t - 1) / static_cast<double>(t);
    EXPECT_DOUBLE_EQ(collective_seconds(kAllReduce, kRing, 1e9, group, cluster),
                     2 * share * 1e9 / (cluster.intra_bandwidth * cluster.intra_efficiency));
  }
}

TEST(Collective, LaunchLatencyComesOnceOnTop) {
  Cluster cluster = slow_cluster();
  cluster.launch_latency = 7;
  for (const Collective kind : kCollectives) {
    for (const Algorithm algorithm : kAlgorithms) {
      EXPECT_DOUBLE_EQ(collective_seconds(kind, algorithm, 400, kTwoNodes, cluster),
                       7 + collective_seconds(kind, algorithm, 400, kTwoNodes, slow_cluster()));
    }
  }
}

TEST(Collective, OneRankWaitsForNobody) {
  for (const Collective kind : kCollectives) {
    for (const Algorithm algorithm : kAlgorithms) {
      EXPECT_EQ(collective_seconds(kind, algorithm, 1e9, {}, slow_cluster()), 0);
    }
    EXPECT_EQ(best_seconds(kind, 1e9, {}, slow_cluster()), 0);
  }
}

TEST(Collective, TheBestIsTheFastestAndChangesWithSize) {
  const Cluster cluster = load_cluster("a100-selene");
  const GroupTopology wide{
      .size = 512, .ranks_per_node = 8, .nodes = 64, .groups_per_node = 1, .nics_per_group = 8};
  for (const Collective kind : kCollectives) {
    double before = 0;
    for (double bytes = 1; bytes < 1e11; bytes *= 10) {
      const double best = best_seconds(kind, bytes, wide, cluster);
      EXPECT_GE(best, before);
      before = best;
      for (const Algorithm algorithm : kAlgorithms) {
        EXPECT_LE(best, collective_seconds(kind, algorithm, bytes, wide, cluster)) << collective_name(kind);
      }
    }
  }
  EXPECT_EQ(best_algorithm(kAllReduce, 1e3, wide, cluster), kTree);        // latency decides
  EXPECT_EQ(best_algorithm(kAllReduce, 10e9, wide, cluster), kMultiRail);  // bandwidth decides
  EXPECT_EQ(best_algorithm(kAllReduce, 0, kOneNode, slow_cluster()), kTree);
  EXPECT_EQ(best_algorithm(kSendRecv, 1e6, GroupTopology{.size = 2, .ranks_per_node = 2}, cluster), kRing)
      << "all are equal: the first";
}

TEST(Collective, Names) {
  EXPECT_EQ(collective_name(kAllReduce), "all-reduce");
  EXPECT_EQ(algorithm_name(kMultiRail), "multi-rail ring");
}

}  // namespace
}  // namespace phalanx
