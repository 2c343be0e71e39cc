// File: phalanx/plan/placement.h
//
// Purpose: in which order to number the ranks, so that the groups that talk most share nodes; and what is wrong with
//   an order.
// Contract: slow_bytes is what an average rank sends over the network between nodes in a step: each axis's bytes
//   times the share of its hops that leave a node (a ring over m nodes and p ranks: m/p; a chain of stages:
//   (m-1)/(p-1)). best_order has the least of it; of equals the first in the order tp-cp-dp-pp, ..., that is: tensor
//   parallelism inside a node, then context and data parallelism near, pipeline stages across.
// Units: bytes a rank sends in a step.
// Source: Narayanan et al. 2021, section 3 (8 b s h (t-1)/t a pair of layers, b s h a boundary, 2 (d-1)/d of the
//   gradients); Smith et al. 2022 for the rule. Context parallelism passes keys and values round a ring, and with
//   their gradients back.
// Example: for (const std::string& note : placement_notes(layout, cluster, bytes)) log_warning(note);
#pragma once

#include <string>
#include <vector>

#include "phalanx/plan/cluster.h"
#include "phalanx/plan/plan_layout.h"

namespace phalanx {

struct AxisBytes {
  double tp = 0;
  double cp = 0;
  double dp_cp = 0;  // gradients, over dp x cp
  double pp = 0;
};

// `rank_parameters`: those of a rank; `gradient_bytes` of one parameter, in the reduction.
AxisBytes axis_bytes(const PlanModel& model, const PlanLayout& layout, double rank_parameters,
                     double gradient_bytes = 2);

double slow_bytes(const PlanLayout& layout, const Cluster& cluster, const AxisBytes& bytes);

// An order such as "tp-cp-dp-pp".
std::string best_order(const PlanLayout& layout, const Cluster& cluster, const AxisBytes& bytes);

// Warnings, as sentences; empty: nothing to say. Without bytes, nothing is said about other orders.
std::vector<std::string> placement_notes(const PlanLayout& layout, const Cluster& cluster,
                                         const AxisBytes& bytes = {});

}  // namespace phalanx
