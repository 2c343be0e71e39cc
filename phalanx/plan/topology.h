// File: phalanx/plan/topology.h
//
// Purpose: which ranks of a layout share a node, a NIC or nothing: what decides whether a collective is fast.
// Contract: ranks are those of phalanx/mesh (the first axis of layout.order fastest); rank r runs on node r /
//   gpus_per_node. Groups of one set of axes may lie differently (tp 3 on nodes of 8): each figure is the worst that
//   any group has. Where node and group boundaries agree the answer is a closed form; otherwise the groups of one
//   period of the pattern are counted, at most a node times the group's span. A world larger than the cluster is
//   answered as if there were more nodes; topology_violations says so.
// Units: ranks, nodes, groups.
// Errors: Error(kBadInput) for an order that does not name every axis longer than 1 once.
// Example: topology_of(layout, cluster).tp.nodes == 1: tensor parallelism stays inside nodes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "phalanx/mesh/mesh.h"
#include "phalanx/plan/cluster.h"
#include "phalanx/plan/plan_layout.h"

namespace phalanx {

struct GroupTopology {
  int64_t size = 1;
  int64_t ranks_per_node = 1;   // most ranks of one group on one node
  int64_t nodes = 1;            // most nodes that one group touches
  int64_t groups_per_node = 0;  // most groups with a rank on one node and another elsewhere
  int64_t groups_per_nic = 1;   // of those, how many share a NIC at once; at least 1
  int64_t nics_per_group = 1;   // NICs of a node that one group has to itself; at least 1
  bool even = true;             // ranks_per_node ranks of each group on each node that it touches

  bool operator==(const GroupTopology&) const = default;
};

struct Topology {
  GroupTopology tp;
  GroupTopology cp;
  GroupTopology dp;
  GroupTopology dp_cp;  // ranks that hold the same weights
  GroupTopology pp;
};

// One group of `axes`, whatever their order in the layout.
GroupTopology group_topology(const PlanLayout& layout, const Cluster& cluster, const AxisList& axes);

Topology topology_of(const PlanLayout& layout, const Cluster& cluster);

// The first and last rank of such a group: where tied embeddings are summed.
GroupTopology ends_of(const GroupTopology& group);

int64_t axis_size(const PlanLayout& layout, std::string_view axis);

// What keeps this layout off this cluster, as sentences; empty: it fits.
std::vector<std::string> topology_violations(const PlanLayout& layout, const Cluster& cluster);

}  // namespace phalanx
