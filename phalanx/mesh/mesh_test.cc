#include "phalanx/mesh/mesh.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace phalanx {
namespace {

std::vector<MeshAxis> axes_in_order(const std::vector<std::string>& order, int tp, int cp, int dp, int pp) {
  std::vector<MeshAxis> axes;
  for (const std::string& name : order) {
    axes.push_back({name, name == "tp" ? tp : name == "cp" ? cp : name == "dp" ? dp : pp});
  }
  return axes;
}

const std::vector<AxisList>& axis_sets() {
  static const std::vector<AxisList> sets = {{},
                                             {"tp"},
                                             {"cp"},
                                             {"dp"},
                                             {"pp"},
                                             {"dp", "cp"},
                                             {"tp", "pp"},
                                             {"pp", "tp"},
                                             {"cp", "tp"},
                                             {"tp", "cp", "dp"},
                                             {"tp", "cp", "dp", "pp"}};
  return sets;
}

// Ranks are in one group exactly when they agree on every other axis; groups partition the world.
void check_groups(const Mesh& mesh) {
  for (const AxisList& set : axis_sets()) {
    std::set<int> seen;
    int previous_first = -1;
    for (const RankList& group : mesh.groups(set)) {
      ASSERT_GT(group.front(), previous_first);
      previous_first = group.front();
      ASSERT_TRUE(std::is_sorted(group.begin(), group.end()));
      ASSERT_EQ(static_cast<int>(group.size()), mesh.size(set));
      for (size_t i = 0; i < group.size(); ++i) {
        ASSERT_TRUE(seen.insert(group[i]).second) << "rank in two groups";
        if (mesh.world_size() <= 16 || i + 1 == group.size()) {  // in larger worlds one member a group
          ASSERT_EQ(mesh.group(group[i], set), group);
          ASSERT_EQ(mesh.index_in_group(group[i], set), static_cast<int>(i));
        }
        for (const MeshAxis& axis : mesh.axes()) {
          if (std::find(set.begin(), set.end(), axis.name) != set.end()) continue;
          ASSERT_EQ(mesh.coordinate(group[i], axis.name), mesh.coordinate(group[0], axis.name));
        }
      }
    }
    ASSERT_EQ(static_cast<int>(seen.size()), mesh.world_size());
  }
}

void check_coordinates(const Mesh& mesh) {
  for (int rank = 0; rank < mesh.world_size(); ++rank) {
    const std::vector<int> at = mesh.coordinates(rank);
    ASSERT_EQ(mesh.rank_of(at), rank);
    for (size_t i = 0; i < at.size(); ++i) ASSERT_EQ(mesh.coordinate(rank, mesh.axes()[i].name), at[i]);
    ASSERT_EQ(mesh.is_first_stage(rank), !mesh.previous_stage(rank).has_value());
    ASSERT_EQ(mesh.is_last_stage(rank), !mesh.next_stage(rank).has_value());
    if (const auto next = mesh.next_stage(rank)) {
      ASSERT_EQ(mesh.previous_stage(*next), rank);
      ASSERT_EQ(mesh.coordinate(*next, "pp"), mesh.coordinate(rank, "pp") + 1);
      ASSERT_EQ(mesh.coordinate(*next, "tp"), mesh.coordinate(rank, "tp"));
      ASSERT_EQ(mesh.coordinate(*next, "dp"), mesh.coordinate(rank, "dp"));
    }
  }
}

// Every factorisation of every world up to `max_world`.
template <typename F>
void for_each_size(int max_world, F visit) {
  for (int tp = 1; tp <= max_world; ++tp) {
    for (int cp = 1; tp * cp <= max_world; ++cp) {
      for (int dp = 1; tp * cp * dp <= max_world; ++dp) {
        for (int pp = 1; tp * cp * dp * pp <= max_world; ++pp) visit(tp, cp, dp, pp);
      }
    }
  }
}

TEST(Mesh, EveryWorldUpTo64InTheDefaultOrder) {
  int meshes = 0;
  for_each_size(64, [&](int tp, int cp, int dp, int pp) {
    const Mesh mesh(axes_in_order({"tp", "cp", "dp", "pp"}, tp, cp, dp, pp));
    ASSERT_EQ(mesh.world_size(), tp * cp * dp * pp);
    check_coordinates(mesh);
    check_groups(mesh);
    ++meshes;
  });
  EXPECT_GT(meshes, 1000);
}

TEST(Mesh, EveryOrderOfWorldsUpTo12) {
  std::vector<std::string> order = {"cp", "dp", "pp", "tp"};
  int orders = 0;
  do {
    ++orders;
    for_each_size(12, [&](int tp, int cp, int dp, int pp) {
      const Mesh mesh(axes_in_order(order, tp, cp, dp, pp));
      ASSERT_EQ(mesh.order(), order[0] + "-" + order[1] + "-" + order[2] + "-" + order[3]);
      check_coordinates(mesh);
      check_groups(mesh);
      // The first axis is the fastest: its groups are runs of consecutive ranks.
      const RankList first = mesh.group(0, {mesh.axes()[0].name});
      ASSERT_EQ(first.back() - first.front() + 1, static_cast<int>(first.size()));
    });
  } while (std::next_permutation(order.begin(), order.end()));
  EXPECT_EQ(orders, 24);
}

// Written out by hand from the rule: rank = tp + 2 cp' + ... for tp 2, dp 2, pp 2.
TEST(Mesh, KnownGroups) {
  const Mesh mesh(axes_in_order({"tp", "cp", "dp", "pp"}, 2, 1, 2, 2));
  EXPECT_EQ(mesh.groups({"tp"}), (std::vector<RankList>{{0, 1}, {2, 3}, {4, 5}, {6, 7}}));
  EXPECT_EQ(mesh.groups({"dp"}), (std::vector<RankList>{{0, 2}, {1, 3}, {4, 6}, {5, 7}}));
  EXPECT_EQ(mesh.groups({"pp"}), (std::vector<RankList>{{0, 4}, {1, 5}, {2, 6}, {3, 7}}));
  EXPECT_EQ(mesh.groups({"tp", "pp"}), (std::vector<RankList>{{0, 1, 4, 5}, {2, 3, 6, 7}}));
  const Mesh swapped(axes_in_order({"tp", "cp", "pp", "dp"}, 2, 1, 2, 2));
  EXPECT_EQ(swapped.groups({"pp"}), (std::vector<RankList>{{0, 2}, {1, 3}, {4, 6}, {5, 7}}));
  EXPECT_EQ(mesh.rank_at(3, "pp", 1), 7);
}

TEST(Mesh, Table) {
  const Mesh mesh(axes_in_order({"tp", "cp", "dp", "pp"}, 2, 1, 16, 2));
  EXPECT_EQ(mesh.table(),
            "64 ranks, order tp-cp-dp-pp\n"
            "axis  size  stride  group of rank 0\n"
            "tp       2       1  0 1\n"
            "cp       1       2  0\n"
            "dp      16       2  0 2 4 6 8 10 12 14 ...\n"
            "pp       2      32  0 32\n");
  EXPECT_EQ(Mesh().world_size(), 1);
}

TEST(MeshDeathTest, BugsAbort) {
  const Mesh mesh(axes_in_order({"tp", "cp", "dp", "pp"}, 2, 1, 1, 1));
  EXPECT_DEATH(mesh.size("ep"), "mesh tp-cp-dp-pp has no axis 'ep'");
  EXPECT_DEATH(mesh.coordinates(2), "rank 2 in a world of 2");
  EXPECT_DEATH(mesh.group(0, {"tp", "tp"}), "axis given twice");
  EXPECT_DEATH(Mesh({{"tp", 0}}), "axis tp of size 0");
}

}  // namespace
}  // namespace phalanx
