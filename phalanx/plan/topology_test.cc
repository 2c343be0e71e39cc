#include "phalanx/plan/topology.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "phalanx/arch/test_errors.h"

namespace phalanx {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::vector<AxisList> kAxisSets = {{"tp"}, {"cp"}, {"dp"}, {"pp"}, {"dp", "cp"}, {"tp", "pp"}};

Cluster nodes_of(int64_t gpus, int64_t nics) {
  Cluster cluster = load_cluster("a100-selene");
  cluster.gpus_per_node = gpus;
  cluster.nics_per_node = nics;
  return cluster;
}

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

Mesh mesh_of(const PlanLayout& layout) {
  std::vector<MeshAxis> axes;
  std::string rest = layout.order + "-";
  while (!rest.empty()) {
    const std::string axis = rest.substr(0, rest.find('-'));
    axes.push_back({axis, static_cast<int>(axis_size(layout, axis))});
    rest.erase(0, axis.size() + 1);
  }
  return Mesh(axes);
}

// What the header says, from lists of ranks.
GroupTopology from_lists(const Mesh& mesh, const Cluster& cluster, const AxisList& axes) {
  GroupTopology out{.size = mesh.size(axes), .ranks_per_node = 0, .nodes = 0};
  std::map<int64_t, int64_t> leaving;
  int64_t fewest = out.size;
  for (const RankList& ranks : mesh.groups(axes)) {
    std::map<int64_t, int64_t> on;
    for (const int rank : ranks) ++on[rank / cluster.gpus_per_node];
    out.nodes = std::max<int64_t>(out.nodes, static_cast<int64_t>(on.size()));
    for (const auto& [node, count] : on) {
      out.ranks_per_node = std::max(out.ranks_per_node, count);
      fewest = std::min(fewest, count);
      if (on.size() > 1) ++leaving[node];
    }
  }
  out.even = fewest == out.ranks_per_node;
  for (const auto& [node, count] : leaving) out.groups_per_node = std::max(out.groups_per_node, count);
  if (out.groups_per_node > 0) {
    const auto nics = static_cast<double>(cluster.nics_per_node);
    const auto leave = static_cast<double>(out.groups_per_node);
    out.groups_per_nic = static_cast<int64_t>(std::max(1.0, std::ceil(leave / nics)));
    const auto reach = static_cast<double>(out.ranks_per_node) *
                       std::max(1.0, std::floor(nics / static_cast<double>(cluster.gpus_per_node)));
    out.nics_per_group = static_cast<int64_t>(std::max(1.0, std::min(reach, std::floor(nics / leave))));
  }
  return out;
}

std::string text(const GroupTopology& g) {
  return std::to_string(g.size) + " ranks, " + std::to_string(g.ranks_per_node) + " a node, " +
         std::to_string(g.nodes) + " nodes, " + std::to_string(g.groups_per_node) + " groups a node, " +
         std::to_string(g.groups_per_nic) + " a NIC, " + std::to_string(g.nics_per_group) + " NICs" +
         (g.even ? "" : ", uneven");
}

TEST(Topology, EqualsTheRankListsOfRandomLayouts) {
  std::mt19937 random(3);
  std::vector<std::string> axes(kMeshAxes.begin(), kMeshAxes.end());
  const int64_t sizes[] = {1, 1, 2, 2, 3, 4, 5, 6, 8, 12, 16};
  int uneven = 0;
  int crossing = 0;
  for (int round = 0; round < 3000; ++round) {
    std::shuffle(axes.begin(), axes.end(), random);
    const auto pick = [&] { return sizes[random() % std::size(sizes)]; };
    const PlanLayout layout =
        sizes_of(pick(), pick(), pick(), pick(), axes[0] + "-" + axes[1] + "-" + axes[2] + "-" + axes[3]);
    if (layout.world() > 2000) continue;
    const auto gpus = static_cast<int64_t>(1 + random() % 12);
    const int64_t nics[] = {1, gpus, 2 * gpus, gpus % 2 == 0 ? gpus / 2 : 1};
    const Cluster cluster = nodes_of(gpus, nics[random() % 4]);
    const Mesh mesh = mesh_of(layout);
    for (const AxisList& set : kAxisSets) {
      const GroupTopology expected = from_lists(mesh, cluster, set);
      const GroupTopology got = group_topology(layout, cluster, set);
      ASSERT_EQ(text(got), text(expected))
          << layout.order << " " << layout.tp << " " << layout.cp << " " << layout.dp << " " << layout.pp
          << " on " << gpus << " with " << cluster.nics_per_node << " NICs, " << set[0];
      uneven += got.even ? 0 : 1;
      crossing += got.nodes > 1 ? 1 : 0;
    }
  }
  EXPECT_GT(uneven, 500);
  EXPECT_GT(crossing, 5000);
}

TEST(Topology, TheLayoutOfTheTrillionParameterRun) {
  const Topology on = topology_of(sizes_of(8, 1, 6, 64), load_cluster("a100-selene"));
  EXPECT_EQ(on.tp, (GroupTopology{.size = 8, .ranks_per_node = 8}));
  EXPECT_EQ(on.cp, GroupTopology{});
  EXPECT_EQ(on.dp, (GroupTopology{.size = 6, .nodes = 6, .groups_per_node = 8}));
  EXPECT_EQ(on.dp_cp, on.dp);
  EXPECT_EQ(on.pp, (GroupTopology{.size = 64, .nodes = 64, .groups_per_node = 8}));
  EXPECT_EQ(ends_of(on.pp), (GroupTopology{.size = 2, .nodes = 2, .groups_per_node = 8}));
  EXPECT_EQ(ends_of(on.cp), GroupTopology{});
}

TEST(Topology, DataParallelismAloneHasEveryNic) {
  const Topology on = topology_of(sizes_of(1, 1, 32, 1), load_cluster("a100-selene"));
  EXPECT_EQ(on.dp,
            (GroupTopology{
                .size = 32, .ranks_per_node = 8, .nodes = 4, .groups_per_node = 1, .nics_per_group = 8}));
  EXPECT_EQ(topology_of(sizes_of(2, 1, 32, 1), nodes_of(8, 1)).dp.groups_per_nic, 2);
  EXPECT_EQ(ends_of(topology_of(sizes_of(1, 1, 1, 4), nodes_of(8, 8)).pp),
            (GroupTopology{.size = 2, .ranks_per_node = 2}));
}

TEST(Topology, GroupsThatLieDifferently) {
  const GroupTopology tp = topology_of(sizes_of(3, 1, 8, 1), nodes_of(8, 8)).tp;  // 6, 7 | 8 but 0, 1, 2
  EXPECT_EQ(tp.nodes, 2);
  EXPECT_EQ(tp.ranks_per_node, 3);
  EXPECT_FALSE(tp.even);
}

TEST(Topology, OrdersThatAreNone) {
  const Cluster cluster = load_cluster("a100-selene");
  const auto refusal = [&](const std::string& order) {
    return message_of([&] { topology_of(sizes_of(2, 1, 2, 2, order), cluster); });
  };
  EXPECT_THAT(refusal("tp-dp"), HasSubstr("order: got 'tp-dp': no pp; needed each of tp, cp, dp, pp once"));
  EXPECT_THAT(refusal("tp-tp-dp-pp"), HasSubstr("tp twice"));
  EXPECT_THAT(refusal("tp-ep-dp-pp"), HasSubstr("no axis 'ep'"));
  EXPECT_THAT(refusal("tp--dp-pp"), HasSubstr("no axis ''"));
  EXPECT_THAT(refusal(""), HasSubstr("no tp"));
  EXPECT_EQ(topology_of(sizes_of(2, 1, 2, 2, "pp-dp-tp"), cluster).pp.size, 2);
}

TEST(Topology, WorldsLargerThanTheCluster) {
  const Cluster cluster = load_cluster("a100-selene");
  EXPECT_THAT(topology_violations(sizes_of(8, 1, 560, 1), cluster), IsEmpty());
  EXPECT_THAT(topology_violations(sizes_of(8, 1, 561, 1), cluster),
              ElementsAre("tp 8 x dp 561 = 4488 ranks: a100-selene has 560 nodes of 8, 4480 in all"));
  const int64_t huge = int64_t{1} << 62;
  EXPECT_THAT(topology_violations(sizes_of(huge, 1, huge, 2), cluster),
              ElementsAre(HasSubstr("ranks: a100-selene")));
}

}  // namespace
}  // namespace phalanx
