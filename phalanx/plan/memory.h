// File: phalanx/plan/memory.h
//
// Purpose: the bytes that every pipeline rank needs, by kind, and which rank needs most. Cheap enough to ask for
//   each of a hundred thousand layouts.
// Equations: P parameters of a rank, D = dp x cp ranks that hold the same weights, w + g + o bytes a parameter:
//     ZeRO-0  (w + g + o) P    1  (w + g + o / D) P    2  (w + (g + o) / D) P    3  (w + g + o) P / D
//     stash   sum over its chunks of in-flight micro-batches x what a micro-batch leaves (stash_bytes.h, in_flight.h)
//   Full recompute keeps ceil(units / layers_per_checkpoint) inputs a stage, a unit being a transformer layer (or a
//   residual layer of a hybrid). With outputs kept, each pair in flight holds a boundary tensor as well, but for the
//   last stage.
//   Where backward is split (B, then W), a pair between the two holds its deferred weight gradients instead of its stash
//   (kPhalanx: a GPT layer 16 T h elements instead of 10, so such a schedule peaks on late ranks).
//   Window of appendix C: `window_pairs` pairs at a time keep their whole stash, or as many as fit in `capacity`; the
//   others recompute.
//   Buffers, T = b s / cp tokens, element e, t = tp, h / t in the stream under sequence parallelism:
//     recompute working set  the whole stash of one checkpoint's layers (full) or of one core (selective)
//     layer working set      e (2 T h + 2 T w / t), w the widest inner tensor of a layer
//     gathered input         e T h under sequence parallelism;     boundary  2 e T h when pp > 1
//     logit rows             kLogitRows rows of logits (kPhalanx, last stage), beside their copy in 16 bits
//     ZeRO-2: gradient of the largest layer; ZeRO-3 besides: weights of the largest part and of the largest layer
// Contract: the layout has passed check_layout. All ranks of tp, cp and dp at one place of the pipeline need the
//   same. With a schedule, in-flight counts are those of its actions at the moment when the rank's stash is largest;
//   without, the closed forms. Not counted: the allocator's loss, the framework, buffers of a communication library.
// Units: bytes of one rank. A pair is a micro-batch of a chunk.
// Errors: Error(kBadInput) for a kind of layer or a schedule that cannot be planned.
// Source: Korthikanti et al. 2022, sections 4 and 5, appendices B and C; Rajbhandari et al. 2020; Smith et al. 2022.
// Example: if (plan_memory(model, layout).peak() > cluster.memory) continue;
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "phalanx/pipeline/schedule.h"
#include "phalanx/plan/plan_layout.h"
#include "phalanx/plan/plan_model.h"
#include "phalanx/plan/stash_bytes.h"

namespace phalanx {

inline constexpr int64_t kLogitRows = 512;  // nn/head.h computes logits for so many rows at a time

struct MemoryOptions {
  StashAccount account = StashAccount::kPhalanx;
  ByteSizes bytes;
  int64_t capacity = 0;  // of a device, for recompute_window; 0: the window keeps nothing
};

struct RankMemory {
  int64_t weights = 0;
  int64_t gradients = 0;
  int64_t optimizer = 0;
  int64_t stash = 0;        // of layers
  int64_t checkpoints = 0;  // inputs kept for full recompute
  int64_t embedding = 0;    // dropout mask
  int64_t head = 0;         // final norm and output layer
  int64_t logits = 0;
  int64_t deferred = 0;  // weight gradients between B and W
  int64_t outputs = 0;   // boundary tensors that were not let go
  int64_t buffers = 0;
  int64_t pairs = 0;        // in flight at the peak
  int64_t whole_pairs = 0;  // of these, how many need no recompute; all of them without a policy

  int64_t state() const { return weights + gradients + optimizer; }
  int64_t activations() const { return stash + checkpoints + embedding + head + logits + deferred + outputs; }
  int64_t total() const { return state() + activations() + buffers; }
  // The share of micro-batches that are recomputed.
  double recomputed() const;
};

struct MemoryPlan {
  std::vector<RankMemory> ranks;  // by pipeline rank
  size_t worst = 0;

  int64_t peak() const { return ranks[worst].total(); }
};

MemoryPlan plan_memory(const PlanModel& model, const PlanLayout& layout, const MemoryOptions& options = {},
                       const Schedule* schedule = nullptr);

// What of a rank is which kind, in the order of RankMemory.
std::vector<ByteItem> memory_items(const RankMemory& rank);

// The activations of one rank by label of stash_bytes.h, largest first. The window is left out.
std::vector<ByteItem> rank_stash(const PlanModel& model, const PlanLayout& layout, size_t rank,
                                 const MemoryOptions& options = {}, const Schedule* schedule = nullptr);

// What full recompute keeps of `batch` sequences, all ranks together: 2 B s h a checkpoint.
int64_t kept_inputs_bytes(const PlanModel& model, int64_t batch, int64_t layers_per_checkpoint = 1);

// The first stage as section 4.2.3 of the paper prints it, for a GPT with sequence parallelism: layers
//   (s b h L / t) (34 + 5 a s / h, or what the policy leaves of it) x (1 + (p - 1) / (p v)) where v > 1, and extras
//   (s b h L / t) (p / L + [p = 1] (4 / L) (1 + V / h)).
struct PaperFirstStage {
  double layers = 0;
  double extras = 0;
};
PaperFirstStage paper_first_stage(const PlanModel& model, const PlanLayout& layout);

double interleaving_factor(int64_t pp, int64_t chunks);  // 1 + (p - 1) / (p v); 1 without chunks

}  // namespace phalanx
