// File: phalanx/plan/layer_time.h
//
// Purpose: seconds of one residual layer for one micro-batch on one rank, by what they are spent on.
// Equation: T = b s / cp rows. Products by roofline.h; memory-bound parts by the bytes they move at least:
//     norm 4 T h forward, 8 T h backward; bias, dropout, residual 7 T h and 5 T h (6 and 4 without dropout);
//     activation 4 T f / t and 6 T f / t (6 and 10 when gated); scores that are not fused 9 and 11 bytes each with
//     dropout, else 4 and 6
//   under sequence parallelism h becomes h / t in norm and residual. Tensor-parallel communication, t > 1:
//     without sequence parallelism: an all-reduce of T h forward, one backward, which may travel beside the weight
//       gradient of the column-parallel product;
//     with it: an all-gather and a reduce-scatter each way. Backward, dy is gathered in the open, the input is gathered
//       again beside the input gradient, dx is scattered beside the weight gradient.
//   Context parallelism passes keys and values round the ring beside the attention core.
// Contract: pure. `backward_input` is what B costs alone; a BW saves `hidden` of backward_input + backward_weight, the
//   communication that travels beside W. Rotary embedding and dropout of scores on chip are taken as free.
// Source: Korthikanti et al. 2022, sections 4 and 6, table 4; Narayanan et al. 2021, section 3.2; models.md 2.3 for
//   the scan of Mamba-2.
// Units: seconds.
#pragma once

#include "phalanx/plan/cluster.h"
#include "phalanx/plan/plan_layout.h"
#include "phalanx/plan/plan_model.h"
#include "phalanx/plan/software.h"

namespace phalanx {

struct Work {
  double product = 0;    // matrix products of linears
  double core = 0;       // attention core or scan
  double pointwise = 0;  // norms, activations, residuals
  double tensor = 0;     // communication of tensor and sequence parallelism
  double context = 0;    // communication of context parallelism that the core does not hide

  double total() const { return product + core + pointwise + tensor + context; }
};
Work operator+(const Work& a, const Work& b);
Work operator*(double factor, const Work& work);

// Seconds of the collectives that layers call, for the boundary tensor of one micro-batch.
struct LayerComm {
  double all_reduce = 0;    // T h
  double gather = 0;        // all-gather or reduce-scatter of T h
  double context_ring = 0;  // keys and values of one micro-batch all the way round
};

struct LayerTime {
  Work forward;
  Work backward_input;
  Work backward_weight;
  Work recompute;
  double hidden = 0;
};
LayerTime operator+(const LayerTime& a, const LayerTime& b);

// What one price needs to know.
struct PriceContext {
  const PlanModel& model;
  const PlanLayout& layout;
  const Cluster& cluster;
  const Software& software;
  LayerComm comm;
};

LayerTime layer_time(LayerKind kind, const PriceContext& context);

// Final norm, logits and loss.
LayerTime head_time(const PriceContext& context);
LayerTime embedding_time(const PriceContext& context);

}  // namespace phalanx
