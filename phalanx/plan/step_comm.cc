#include "phalanx/plan/step_comm.h"

#include <algorithm>

#include "phalanx/plan/collective.h"

namespace phalanx {
namespace {

double seconds(Collective kind, double bytes, const GroupTopology& group, const Cluster& cluster,
               const Software& software) {
  return collective_seconds(kind, software.single_rail ? Algorithm::kRing : Algorithm::kMultiRail, bytes,
                            group, cluster);
}

// Boundary tensor of one micro-batch, 16 bits.
double boundary_bytes(const PlanModel& model, const PlanLayout& layout) {
  const int64_t rows = layout.micro_batch * model.sequence / layout.cp;
  return 2.0 * static_cast<double>(rows) * static_cast<double>(model.hidden);
}

LayerComm layer_comm(const PlanModel& model, const PlanLayout& layout, const Cluster& cluster,
                     const Software& software, const Topology& topology) {
  const double bytes = boundary_bytes(model, layout);
  LayerComm comm;
  comm.all_reduce = seconds(Collective::kAllReduce, bytes, topology.tp, cluster, software);
  comm.gather = seconds(Collective::kAllGather, bytes, topology.tp, cluster, software);
  if (layout.cp > 1) {
    const int64_t groups = std::max<int64_t>(model.kv_groups / layout.tp, 1);
    const double kv = 2 * 2.0 * static_cast<double>(layout.micro_batch * model.sequence) *
                      static_cast<double>(groups * model.head_dim);
    comm.context_ring = seconds(Collective::kAllGather, kv, topology.cp, cluster, software);
  }
  return comm;
}

double boundary_seconds(const PlanModel& model, const PlanLayout& layout, const Cluster& cluster,
                        const Software& software, const Topology& topology) {
  if (layout.pp == 1) return 0;
  const double bytes = boundary_bytes(model, layout);
  const bool split = layout.sequence_parallel || layout.scatter_gather;
  const double sent = split ? bytes / static_cast<double>(layout.tp) : bytes;
  const double gather = split && !layout.sequence_parallel
                            ? seconds(Collective::kAllGather, bytes, topology.tp, cluster, software)
                            : 0;
  return seconds(Collective::kSendRecv, sent, topology.pp, cluster, software) + gather;
}

}  // namespace

StepComm step_comm(const PlanModel& model, const PlanLayout& layout, const Cluster& cluster,
                   const Software& software, int64_t rank_parameters) {
  const Topology topology = topology_of(layout, cluster);
  StepComm comm;
  comm.layer = layer_comm(model, layout, cluster, software, topology);
  comm.boundary = boundary_seconds(model, layout, cluster, software, topology);
  const auto parameters = static_cast<double>(rank_parameters);
  const double gradients = software.gradient_bytes * parameters;
  if (layout.zero == 0) {
    comm.data = seconds(Collective::kAllReduce, gradients, topology.dp_cp, cluster, software);
  } else {
    comm.data = seconds(Collective::kReduceScatter, gradients, topology.dp_cp, cluster, software) +
                seconds(Collective::kAllGather, 2 * parameters, topology.dp_cp, cluster, software);
  }
  if (layout.pp > 1 && model.tied) {
    const int64_t rows = model.vocab / layout.tp;
    const double copy = software.gradient_bytes * static_cast<double>(rows * model.hidden);
    comm.tied = seconds(Collective::kAllReduce, copy, ends_of(topology.pp), cluster, software);
  }
  return comm;
}

double zero3_seconds(const PlanLayout& layout, const Cluster& cluster, const Software& software,
                     double parameters) {
  const GroupTopology group = group_topology(layout, cluster, {"dp", "cp"});
  return seconds(Collective::kAllGather, 2 * parameters, group, cluster, software);
}

}  // namespace phalanx
