// File: phalanx/plan/plan_flops.h
//
// Purpose: how many floating-point operations a step takes: those of the model, and those that the hardware executes
//   when activations are recomputed.
// Equations, forward, of one layer for T tokens whose squared document lengths sum to Q:
//     attention  2 T (h (q + 2k) + q h) + 2 Q q  (causal: half the square; 4 Q q for the whole)
//     MLP        2 T c f h, c = 3 gated, else 2
//     Mamba-2    2 T D (2d + 2GN + H) + 2 T K (d + 2GN) + 7 T d N + 2 T d D
//     Mamba-1    2 T D 2d + 2 T K d + 2 T d (r + 2N) + 2 T r d + 9 T d N + 2 T d D
//     head       2 T h V, once
//   A step is three forwards (forward, input gradient, weight gradient). Full recompute adds the layers' forward once
//   more, selective recompute the attention core's.
//   Papers' forms, whole square, f = 4h:
//     model      72 B s l h^2 (1 + s/6h + V/12lh)    full recompute  96 B s l h^2 (1 + s/6h + V/16lh)  (2021, eq. 3)
//     selective  72 B s l h^2 (1 + s/3h + V/12lh)    (2022, appendix A)
//   The last one counts 12 B s^2 l h for recomputing the attention cores, three times the 4 B s^2 l h of their
//   forward; the 2.7% and 1.6% of the paper and the HFU of its table 5 come from it. `step_flops` counts the
//   forward, once.
// Contract: sliding windows count as full attention. Kinds of layer must be plannable.
// Units: FLOP of all ranks together.
// Source: as named; Mamba-2: Megatron-LM's meter plus its convolution.
// Example: const StepFlops f = step_flops(model, PlanRecompute::kFull, token_batch(512, 2048), AttentionSpan::kFull);
#pragma once

#include <cstdint>

#include "phalanx/plan/plan_layout.h"
#include "phalanx/plan/plan_model.h"

namespace phalanx {

enum class AttentionSpan { kCausal, kFull };

struct TokenBatch {
  double tokens = 0;
  double squared_lengths = 0;
};
TokenBatch token_batch(int64_t batch, int64_t sequence);

// The scan of a Mamba-2 layer, forward: as Megatron's meter counts it (7 T d N), and as its products in chunks of Q rows
// are, the masked half of a chunk once: T (Q G N + Q d + 4 d N).
double meter_scan_flops(const MambaSizes& mamba, double tokens);
double ssd_flops(const MambaSizes& mamba, double tokens, int64_t chunk);

// Forward.
double layer_flops(const PlanModel& model, LayerKind kind, const TokenBatch& batch, AttentionSpan span);
double core_flops(const PlanModel& model, const TokenBatch& batch,
                  AttentionSpan span);  // of one attention layer
double head_flops(const PlanModel& model, const TokenBatch& batch);
double forward_flops(const PlanModel& model, const TokenBatch& batch, AttentionSpan span);

struct StepFlops {
  double model = 0;
  double hardware = 0;
};

// `recomputed`: the share of micro-batches that are recomputed; below 1 with the window of appendix C.
StepFlops step_flops(const PlanModel& model, PlanRecompute policy, const TokenBatch& batch,
                     AttentionSpan span, double recomputed = 1.0);

struct PaperFlops {
  double model = 0;
  double selective = 0;
  double full = 0;
};
PaperFlops paper_flops(int64_t batch, int64_t sequence, int64_t layers, int64_t hidden, int64_t vocab);

}  // namespace phalanx
