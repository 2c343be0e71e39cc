// File: phalanx/plan/collective.h
//
// Purpose: seconds of a collective in a group of ranks, by algorithm, from latency and bandwidth of the links it
//   uses.
// Contract: pure; a group of one rank takes 0. `bytes` n is the whole vector: what each rank contributes to an
//   all-reduce or a reduce-scatter, what each holds after an all-gather or a broadcast, what each sends in an
//   all-to-all (its own part included), the message of a send.
// Equations: p ranks on m nodes with r on each (p, m, r of GroupTopology); a, A seconds a message inside a node and
//   between nodes; B bytes/s of a rank in its node; R bytes/s of the group out of a node and into it: that of one
//   NIC, or its share of one, for a ring, that of all NICs it has to itself for the others. n/B times a share of n is
//   written (share)/B. A ring runs at W = min(B, R), or B in one node; its latency is that of a chunk's way,
//   H = (p - m) a + (m - 1) A. T = ceil(lg r) a + ceil(lg m) A. L = (r - 1) a.
//
//                     ring, multi-rail ring       tree                        hierarchical
//     all-gather      H + ((p-1)/p)/W             2 T + ((p-1)/p + 1)/V       L + ((r-1)/r)/B + (m-1) A + ((m-1)/m)/R
//     reduce-scatter  as all-gather               as all-gather               as all-gather
//     all-reduce      2 all-gather                2 T + 2/V                   2 all-gather
//     broadcast       H + 1/W                     T + 1/V                     2 L + 2 ((r-1)/r)/B + (m-1) A + 1/R
//     all-to-all      L + ((r-1)/p)/B             T + (lg r / 2)/B            L + ((r-1)/r)/B + (m-1) A
//                     + (p-r) A + (r (p-r)/p)/R   + (r lg m / 2)/R            + (r (m-1)/m)/R
//     send            A + 1/W where the group crosses nodes, a + 1/B where it does not, by any algorithm
//
//   lg is rounded up. A broadcast in one node has no 1/R. Trees are pairs that keep each link busy both ways, hence
//   2/V and not 2 lg p / V; V = 0.9 W.
// Units: bytes, seconds. intra_efficiency scales B, inter_efficiency R; launch_latency comes on top.
// Source: Thakur, Rabenseifner and Gropp 2005 (ring, pairwise and Bruck's all-to-all, gather and broadcast by trees);
//   Sanders, Speck and Traeff 2009 (pairs of trees); Narayanan et al. 2021, section 3: 2 (t - 1)/t; NCCL's cost model
//   for a ring's latency (hops between nodes counted apart) and for V (github.com/NVIDIA/nccl, src/graph/tuning.cc).
// Example: collective_seconds(Collective::kAllReduce, Algorithm::kRing, bytes, topology.tp, cluster)
#pragma once

#include <array>
#include <string_view>

#include "phalanx/plan/cluster.h"
#include "phalanx/plan/topology.h"

namespace phalanx {

enum class Collective { kAllReduce, kAllGather, kReduceScatter, kAllToAll, kBroadcast, kSendRecv };
enum class Algorithm { kRing, kMultiRail, kTree, kHierarchical };

inline constexpr std::array<Collective, 6> kCollectives = {Collective::kAllReduce,     Collective::kAllGather,
                                                           Collective::kReduceScatter, Collective::kAllToAll,
                                                           Collective::kBroadcast,     Collective::kSendRecv};
inline constexpr std::array<Algorithm, 4> kAlgorithms = {Algorithm::kRing, Algorithm::kMultiRail,
                                                         Algorithm::kTree, Algorithm::kHierarchical};

std::string_view collective_name(Collective kind);     // "all-reduce"
std::string_view algorithm_name(Algorithm algorithm);  // "multi-rail ring"

double collective_seconds(Collective kind, Algorithm algorithm, double bytes, const GroupTopology& group,
                          const Cluster& cluster);

// The fastest; of equals the first of kAlgorithms.
Algorithm best_algorithm(Collective kind, double bytes, const GroupTopology& group, const Cluster& cluster);
double best_seconds(Collective kind, double bytes, const GroupTopology& group, const Cluster& cluster);

}  // namespace phalanx
