#include "phalanx/plan/collective.h"

#include <algorithm>
#include <cmath>

#include "phalanx/base/error.h"

namespace phalanx {
namespace {

constexpr double kTreeShare = 0.9;

// The letters of the header.
struct Links {
  Links(Algorithm algorithm, const GroupTopology& group, const Cluster& cluster)
      : p(static_cast<double>(group.size)),
        m(static_cast<double>(group.nodes)),
        r(static_cast<double>(group.ranks_per_node)),
        a(cluster.intra_latency),
        A(cluster.inter_latency),
        B(cluster.intra_bandwidth * cluster.intra_efficiency) {
    const double nics = algorithm == Algorithm::kRing ? 1 : static_cast<double>(group.nics_per_group);
    R = cluster.inter_bandwidth * cluster.inter_efficiency * nics / static_cast<double>(group.groups_per_nic);
    R = std::min(R, r * B);  // NICs are fed by the ranks
    W = group.nodes > 1 ? std::min(B, R) : B;
    V = kTreeShare * W;
    H = std::max(0.0, p - m) * a + (m - 1) * A;
    T = steps(r) * a + steps(m) * A;
    L = (r - 1) * a;
  }

  static double steps(double n) { return std::ceil(std::log2(n)); }

  double p, m, r;
  double a, A;
  double B;
  double R = 0, W = 0, V = 0, H = 0, T = 0, L = 0;
};

bool is_ring(Algorithm algorithm) {
  return algorithm == Algorithm::kRing || algorithm == Algorithm::kMultiRail;
}

double all_gather(Algorithm algorithm, double n, const Links& k) {
  const double others = (k.p - 1) / k.p;
  if (is_ring(algorithm)) return k.H + others * n / k.W;
  if (algorithm == Algorithm::kTree) return 2 * k.T + (others + 1) * n / k.V;
  return k.L + (k.r - 1) / k.r * n / k.B + (k.m - 1) * k.A + (k.m - 1) / k.m * n / k.R;
}

double all_reduce(Algorithm algorithm, double n, const Links& k) {
  if (algorithm == Algorithm::kTree) return 2 * k.T + 2 * n / k.V;
  return 2 * all_gather(algorithm, n, k);
}

double broadcast(Algorithm algorithm, double n, const Links& k) {
  if (is_ring(algorithm)) return k.H + n / k.W;
  if (algorithm == Algorithm::kTree) return k.T + n / k.V;
  const double between = k.m > 1 ? (k.m - 1) * k.A + n / k.R : 0;
  return 2 * k.L + 2 * (k.r - 1) / k.r * n / k.B + between;
}

double all_to_all(Algorithm algorithm, double n, const Links& k) {
  const double away = std::max(0.0, k.p - k.r);
  if (is_ring(algorithm)) {
    return k.L + (k.r - 1) / k.p * n / k.B + away * k.A + k.r * away / k.p * n / k.R;
  }
  if (algorithm == Algorithm::kTree) {
    return k.T + Links::steps(k.r) / 2 * n / k.B + k.r * Links::steps(k.m) / 2 * n / k.R;
  }
  return k.L + (k.r - 1) / k.r * n / k.B + (k.m - 1) * k.A + k.r * (k.m - 1) / k.m * n / k.R;
}

double on_the_way(Collective kind, Algorithm algorithm, double bytes, const GroupTopology& group,
                  const Links& k) {
  switch (kind) {
    case Collective::kAllReduce:
      return all_reduce(algorithm, bytes, k);
    case Collective::kAllGather:
    case Collective::kReduceScatter:
      return all_gather(algorithm, bytes, k);
    case Collective::kAllToAll:
      return all_to_all(algorithm, bytes, k);
    case Collective::kBroadcast:
      return broadcast(algorithm, bytes, k);
    case Collective::kSendRecv:
      return (group.nodes > 1 ? k.A : k.a) + bytes / k.W;
  }
  PHALANX_CHECK(false, "a collective of the enum");
}

}  // namespace

std::string_view collective_name(Collective kind) {
  switch (kind) {
    case Collective::kAllReduce:
      return "all-reduce";
    case Collective::kAllGather:
      return "all-gather";
    case Collective::kReduceScatter:
      return "reduce-scatter";
    case Collective::kAllToAll:
      return "all-to-all";
    case Collective::kBroadcast:
      return "broadcast";
    case Collective::kSendRecv:
      return "send";
  }
  return "?";
}

std::string_view algorithm_name(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::kRing:
      return "ring";
    case Algorithm::kMultiRail:
      return "multi-rail ring";
    case Algorithm::kTree:
      return "tree";
    case Algorithm::kHierarchical:
      return "hierarchical";
  }
  return "?";
}

double collective_seconds(Collective kind, Algorithm algorithm, double bytes, const GroupTopology& group,
                          const Cluster& cluster) {
  if (group.size <= 1) return 0;
  return cluster.launch_latency + on_the_way(kind, algorithm, bytes, group, Links(algorithm, group, cluster));
}

Algorithm best_algorithm(Collective kind, double bytes, const GroupTopology& group, const Cluster& cluster) {
  return *std::min_element(kAlgorithms.begin(), kAlgorithms.end(), [&](Algorithm x, Algorithm y) {
    return collective_seconds(kind, x, bytes, group, cluster) <
           collective_seconds(kind, y, bytes, group, cluster);
  });
}

double best_seconds(Collective kind, double bytes, const GroupTopology& group, const Cluster& cluster) {
  return collective_seconds(kind, best_algorithm(kind, bytes, group, cluster), bytes, group, cluster);
}

}  // namespace phalanx
