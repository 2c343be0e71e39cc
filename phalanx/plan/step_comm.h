// File: phalanx/plan/step_comm.h
//
// Purpose: every collective of a training step priced on its links: what is sent, to whom, over what.
// Equation, 16-bit elements, T = b s / cp rows:
//     tensor       2 T h by ring over the tp group; all-reduce, or all-gather and reduce-scatter
//     context      (cp - 1) / cp of 2 x 2 b s (kv / t) d bytes of keys and values, one hop after another
//     boundary     2 T h, or 1/t of it by each tensor-parallel rank (scatter/gather) and an all-gather at the receiver;
//                  under sequence parallelism it is split already
//     data         gradient_bytes P by all-reduce over dp x cp; from ZeRO-1 on a reduce-scatter of them and an
//                  all-gather of 2 P
//     tied         the two copies of the token embedding, when pp > 1
//   ZeRO-3 gathers each layer's weights before its forward and its backward, and scatters its gradients.
// Contract: pure. `layout` has passed check_layout.
// Source: Narayanan et al. 2021, sections 3.1, 3.2, 4.1; Korthikanti et al. 2022, section 4.2.
// Units: seconds.
#pragma once

#include <cstdint>
#include <string>

#include "phalanx/plan/layer_time.h"
#include "phalanx/plan/topology.h"

namespace phalanx {

struct StepComm {
  LayerComm layer;
  double boundary = 0;  // one message between neighbouring stages, gathered
  double data = 0;      // gradients and, with ZeRO, weights of the fullest rank
  double tied = 0;
};

StepComm step_comm(const PlanModel& model, const PlanLayout& layout, const Cluster& cluster,
                   const Software& software, int64_t rank_parameters);

// One gather of `parameters` weights, or one scatter of their gradients, over dp x cp.
double zero3_seconds(const PlanLayout& layout, const Cluster& cluster, const Software& software,
                     double parameters);

}  // namespace phalanx
