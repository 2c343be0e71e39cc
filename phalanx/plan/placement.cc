#include "phalanx/plan/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "phalanx/plan/topology.h"
#include "phalanx/telemetry/human.h"

namespace phalanx {
namespace {

constexpr double kActivationBytes = 2;

double ring_share(const GroupTopology& group) {
  if (group.nodes <= 1) return 0;
  return static_cast<double>(group.nodes) / static_cast<double>(group.size);
}

double chain_share(const GroupTopology& group) {
  if (group.nodes <= 1) return 0;
  return static_cast<double>(group.nodes - 1) / static_cast<double>(group.size - 1);
}

// Of an axis that would fit a node, beside those inside it, and does not lie in one.
void note_crossing(std::string_view axis, const GroupTopology& group, int64_t inside,
                   const PlanLayout& layout, const Cluster& cluster, std::vector<std::string>& notes) {
  if (group.nodes <= 1) return;
  const double ratio = cluster.intra_bandwidth * cluster.intra_efficiency /
                       (cluster.inter_bandwidth * cluster.inter_efficiency);
  const std::string slower = fmt::format("links between nodes are {:.0f} times slower", ratio);
  const int64_t gpus = cluster.gpus_per_node;
  if (group.size > gpus) {
    if (axis == "tp") {
      notes.push_back(fmt::format("tp {} spans {} nodes of {}: {}. Keep tp at {} or less", group.size,
                                  group.nodes, gpus, slower, gpus));
    }
  } else if (!group.even) {
    notes.push_back(fmt::format("{} {} does not divide nodes of {}: some groups cross. {}", axis, group.size,
                                gpus, slower));
  } else if (group.size * inside <= gpus) {
    notes.push_back(fmt::format("{} {} would fit a node of {}, but the order {} puts it on {} nodes: {}",
                                axis, group.size, gpus, layout.order, group.nodes, slower));
  }
}

}  // namespace

AxisBytes axis_bytes(const PlanModel& model, const PlanLayout& layout, double rank_parameters,
                     double gradient_bytes) {
  const auto t = static_cast<double>(layout.tp);
  const auto c = static_cast<double>(layout.cp);
  const double group = static_cast<double>(layout.dp) * c;
  const auto micro = static_cast<double>(layout.micro_batches());
  const auto layers = static_cast<double>(model.pattern.layers.size()) / static_cast<double>(layout.pp);
  const auto attention = static_cast<double>(std::count(model.pattern.layers.begin(),
                                                        model.pattern.layers.end(), LayerKind::kAttention)) /
                         static_cast<double>(layout.pp);
  const double tokens = static_cast<double>(layout.micro_batch * model.sequence) / c;
  const double tensor = tokens * static_cast<double>(model.hidden) * kActivationBytes;
  const double forward = layout.recompute == PlanRecompute::kFull ? 2 : 1;  // it runs so often

  AxisBytes bytes;
  bytes.tp = micro * layers * (forward + 1) * 2 * (t - 1) / t * tensor;
  const double pair =
      tokens * 2 * static_cast<double>(model.kv_groups * model.head_dim) / t * kActivationBytes;
  bytes.cp = micro * attention * (forward + 2) * (c - 1) * pair;
  bytes.dp_cp = 2 * (group - 1) / group * rank_parameters * gradient_bytes;
  if (layout.pp > 1) {
    const bool split = layout.sequence_parallel || layout.scatter_gather;
    bytes.pp = micro * static_cast<double>(layout.chunks) * 2 * tensor / (split ? t : 1);
  }
  return bytes;
}

double slow_bytes(const PlanLayout& layout, const Cluster& cluster, const AxisBytes& bytes) {
  const Topology on = topology_of(layout, cluster);
  // With several chunks the last stage sends to the first: a ring.
  const double stages = layout.chunks > 1 ? ring_share(on.pp) : chain_share(on.pp);
  return bytes.tp * ring_share(on.tp) + bytes.cp * ring_share(on.cp) + bytes.dp_cp * ring_share(on.dp_cp) +
         bytes.pp * stages;
}

std::string best_order(const PlanLayout& layout, const Cluster& cluster, const AxisBytes& bytes) {
  std::array<size_t, kMeshAxes.size()> places = {0, 1, 2, 3};
  std::string best;
  double least = 0;
  PlanLayout tried = layout;
  do {
    tried.order.clear();
    for (const size_t place : places) {
      tried.order += (tried.order.empty() ? "" : "-") + std::string(kMeshAxes[place]);
    }
    const double slow = slow_bytes(tried, cluster, bytes);
    if (best.empty() || slow < least * (1 - 1e-12)) {
      best = tried.order;
      least = slow;
    }
  } while (std::next_permutation(places.begin(), places.end()));
  return best;
}

std::vector<std::string> placement_notes(const PlanLayout& layout, const Cluster& cluster,
                                         const AxisBytes& bytes) {
  const Topology on = topology_of(layout, cluster);
  std::vector<std::string> notes;
  note_crossing("tp", on.tp, 1, layout, cluster, notes);
  note_crossing("cp", on.cp, layout.tp, layout, cluster, notes);
  if (on.dp_cp.nodes > 1 && on.pp.size > 1 && on.pp.nodes < on.pp.size && on.dp_cp.ranks_per_node == 1) {
    notes.push_back(
        fmt::format("the order {} puts pipeline stages nearer than data-parallel ranks: all gradients "
                    "cross nodes",
                    layout.order));
  }
  if (on.dp_cp.groups_per_nic > 1) {
    notes.push_back(fmt::format("{} data-parallel groups share a NIC", on.dp_cp.groups_per_nic));
  }
  PlanLayout other = layout;
  other.order = best_order(layout, cluster, bytes);
  const double here = slow_bytes(layout, cluster, bytes);
  const double there = slow_bytes(other, cluster, bytes);
  if (there < here * 0.99) {
    notes.push_back(fmt::format("the order {} sends {} a rank and step between nodes, {} would send {}",
                                layout.order, human_bytes(here), other.order, human_bytes(there)));
  }
  return notes;
}

}  // namespace phalanx
