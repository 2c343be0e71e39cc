#include "phalanx/plan/topology.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

// Ranks base + i * stride, i in [0, size).
struct Digit {
  int64_t stride = 1;
  int64_t size = 1;
  int64_t span() const { return stride * size; }
};

struct AxisDigit {
  std::string_view axis;
  Digit digit;
};

[[noreturn]] void refuse_order(const std::string& order, const std::string& why) {
  throw Error(ErrorKind::kBadInput, {.where = "order",
                                     .got = "'" + order + "': " + why,
                                     .needed = "each of tp, cp, dp, pp once, joined by '-'",
                                     .fix = "tp-cp-dp-pp is the usual one"});
}

// The axes of the layout's order with their strides.
class Order {
 public:
  explicit Order(const PlanLayout& layout) {
    int64_t stride = 1;
    std::string_view rest = layout.order;
    while (!rest.empty()) {
      const std::string_view axis = rest.substr(0, rest.find('-'));
      rest.remove_prefix(std::min(rest.size(), axis.size() + 1));
      const bool known = std::find(kMeshAxes.begin(), kMeshAxes.end(), axis) != kMeshAxes.end();
      if (!known) refuse_order(layout.order, "no axis '" + std::string(axis) + "'");
      if (find(axis) != nullptr) refuse_order(layout.order, std::string(axis) + " twice");
      const int64_t size = axis_size(layout, axis);
      axes_[used_++] = {axis, {stride, size}};
      stride *= size;
    }
    for (const std::string_view axis : kMeshAxes) {
      if (axis_size(layout, axis) > 1 && find(axis) == nullptr) {
        refuse_order(layout.order, "no " + std::string(axis));
      }
    }
    world_ = stride;
  }

  int64_t world() const { return world_; }

  // The digits of `axes`, fastest first; neighbours in the order are one digit.
  std::vector<Digit> digits(const AxisList& axes) const {
    std::vector<Digit> out;
    for (size_t i = 0; i < used_; ++i) {
      const auto& [axis, digit] = axes_[i];
      if (digit.size == 1 || std::find(axes.begin(), axes.end(), axis) == axes.end()) continue;
      if (!out.empty() && out.back().span() == digit.stride) {
        out.back().size *= digit.size;
      } else {
        out.push_back(digit);
      }
    }
    return out;
  }

 private:
  const AxisDigit* find(std::string_view axis) const {
    for (size_t i = 0; i < used_; ++i) {
      if (axes_[i].axis == axis) return &axes_[i];
    }
    return nullptr;
  }

  std::array<AxisDigit, 4> axes_{};
  size_t used_ = 0;
  int64_t world_ = 1;
};

// Fills ranks_per_node and nodes where every group lies alike; false where node and group boundaries disagree.
// A digit lies inside a node when a whole number of its spans fills one, across when its steps are at least a node,
// and is cut evenly when a whole number of its steps fills a node and a whole number of nodes its span. Above a
// digit that crosses, every step is at least a node.
bool lies_evenly(const std::vector<Digit>& digits, int64_t node, GroupTopology& group) {
  for (const Digit& digit : digits) {
    if (digit.stride >= node) {
      group.nodes *= digit.size;
    } else if (node % digit.span() == 0) {
      group.ranks_per_node *= digit.size;
    } else if (node % digit.stride == 0 && digit.span() % node == 0) {
      group.ranks_per_node *= node / digit.stride;
      group.nodes = digit.span() / node;
    } else {
      return false;
    }
  }
  return true;
}

// Looks at every group of the first `ranks` ranks, which is a whole number of groups.
class Counter {
 public:
  Counter(const std::vector<Digit>& digits, int64_t node, int64_t ranks)
      : digits_(digits),
        node_(node),
        leaving_(static_cast<size_t>((ranks + node - 1) / node), 0),
        ranks_(ranks) {}

  void count(GroupTopology& group) {
    group.nodes = 1;
    group.ranks_per_node = 1;
    int64_t fewest = group.size;
    for (int64_t base = 0; base < ranks_; ++base) {
      if (!is_first(base)) continue;
      list_nodes(base, group.size);
      for (const auto& [node, ranks] : touched_) {
        group.ranks_per_node = std::max(group.ranks_per_node, ranks);
        fewest = std::min(fewest, ranks);
        if (touched_.size() > 1) ++leaving_[static_cast<size_t>(node)];
      }
      group.nodes = std::max(group.nodes, static_cast<int64_t>(touched_.size()));
    }
    group.groups_per_node = *std::max_element(leaving_.begin(), leaving_.end());
    group.even = fewest == group.ranks_per_node;
  }

 private:
  struct Touched {
    int64_t node = 0;
    int64_t ranks = 0;
  };

  bool is_first(int64_t rank) const {
    return std::all_of(digits_.begin(), digits_.end(),
                       [&](const Digit& d) { return rank / d.stride % d.size == 0; });
  }

  // Ranks come in ascending order, hence nodes too.
  void list_nodes(int64_t base, int64_t size) {
    touched_.clear();
    for (int64_t i = 0; i < size; ++i) {
      int64_t rank = base;
      int64_t rest = i;
      for (const Digit& digit : digits_) {
        rank += rest % digit.size * digit.stride;
        rest /= digit.size;
      }
      const int64_t node = rank / node_;
      if (touched_.empty() || touched_.back().node != node) touched_.push_back({node, 0});
      ++touched_.back().ranks;
    }
  }

  const std::vector<Digit>& digits_;
  int64_t node_;
  std::vector<int64_t> leaving_;  // groups a node
  std::vector<Touched> touched_;
  int64_t ranks_;
};

void share_nics(const Cluster& cluster, GroupTopology& group) {
  if (group.groups_per_node == 0) return;
  const int64_t nics = cluster.nics_per_node;
  group.groups_per_nic = (group.groups_per_node + nics - 1) / nics;
  const int64_t reachable = group.ranks_per_node * std::max<int64_t>(1, nics / cluster.gpus_per_node);
  group.nics_per_group = std::clamp<int64_t>(nics / group.groups_per_node, 1, reachable);
}

GroupTopology group_of(const Order& order, const Cluster& cluster, const AxisList& axes) {
  const int64_t node = cluster.gpus_per_node;
  GroupTopology group;
  const std::vector<Digit> digits = order.digits(axes);
  for (const Digit& digit : digits) group.size *= digit.size;
  if (group.size == 1) return group;
  if (order.world() <= node) {
    group.ranks_per_node = group.size;
  } else if (lies_evenly(digits, node, group)) {
    group.groups_per_node = group.nodes > 1 ? node / group.ranks_per_node : 0;
  } else {
    const int64_t period = std::lcm(node, digits.back().span());
    Counter(digits, node, std::min(order.world(), period)).count(group);
  }
  share_nics(cluster, group);
  return group;
}

}  // namespace

int64_t axis_size(const PlanLayout& layout, std::string_view axis) {
  if (axis == "tp") return layout.tp;
  if (axis == "cp") return layout.cp;
  if (axis == "dp") return layout.dp;
  PHALANX_CHECK(axis == "pp", "an axis of the mesh");
  return layout.pp;
}

GroupTopology group_topology(const PlanLayout& layout, const Cluster& cluster, const AxisList& axes) {
  return group_of(Order(layout), cluster, axes);
}

Topology topology_of(const PlanLayout& layout, const Cluster& cluster) {
  const Order order(layout);
  return {.tp = group_of(order, cluster, {"tp"}),
          .cp = group_of(order, cluster, {"cp"}),
          .dp = group_of(order, cluster, {"dp"}),
          .dp_cp = group_of(order, cluster, {"dp", "cp"}),
          .pp = group_of(order, cluster, {"pp"})};
}

GroupTopology ends_of(const GroupTopology& group) {
  if (group.size <= 1) return {};
  GroupTopology ends = group;
  ends.size = 2;
  ends.nodes = std::min<int64_t>(2, group.nodes);
  ends.ranks_per_node = ends.nodes == 2 ? 1 : 2;
  ends.even = true;
  return ends;
}

std::vector<std::string> topology_violations(const PlanLayout& layout, const Cluster& cluster) {
  double world = 1;  // sizes come from outside: their product may not fit an integer
  std::string sizes;
  for (const std::string_view axis : kMeshAxes) {
    const int64_t size = axis_size(layout, axis);
    world *= static_cast<double>(size);
    if (size != 1) sizes += fmt::format("{}{} {}", sizes.empty() ? "" : " x ", axis, size);
  }
  if (world <= static_cast<double>(cluster.world())) return {};
  return {fmt::format("{} = {} ranks: {} has {} nodes of {}, {} in all", sizes, world, cluster.name,
                      cluster.nodes, cluster.gpus_per_node, cluster.world())};
}

}  // namespace phalanx
