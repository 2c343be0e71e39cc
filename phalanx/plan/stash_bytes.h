// File: phalanx/plan/stash_bytes.h
//
// Purpose: what a layer keeps of one micro-batch for its backward, by label, in two ways of accounting.
// Equation (kPaper), a transformer layer, times s b h:
//     34 + 5 a s / h                   one rank
//     10 + 24 / t + 5 a s / (h t)      tensor parallelism; with sequence parallelism (34 + 5 a s / h) / t
//   Selective recompute drops the 5 a s / h; full recompute keeps 2. Generalised: q and k widths of grouped heads, c f
//   of a (gated) MLP, no masks without dropout, s / cp tokens. Scores are held in full, [b, a, s / cp, s].
// kPhalanx counts what phalanx/nn pushes. It differs because norm and activation outputs are rebuilt, dropout masks
//   are functions of the token, attention is fused (output and log-sum-exp, no scores), and the head stashes its
//   input gradient instead of logits:
//     attention  2 T h + 2 T (q + 2k) + 2 T q + 4 T a, MLP  2 T h + 2 T c' f (c' = 2 gated), each + norm statistics
//   The fused kernel recomputes the scores anyway, so selective recompute changes nothing there. Labels are those of
//   the pushes.
// Mamba-2 (own formula; no paper gives one). kPaper without recompute: norm input and its output, z x B C dt, the
//   convolved x B C, steps and decays in fp32, a state of [d, N] in fp32 every 128 tokens, scan output, gated
//   output, mask. Selective recompute keeps z x B C dt and the scan output of these and rebuilds the rest, as
//   upstream's memory-efficient scan does; kPhalanx is that, with rebuilt norms.
// Contract: a rank of tp and cp; the layout has passed check_layout. In kPhalanx a kept input is 1 / t under sequence
//   parallelism; in kPaper only with shard_checkpoints (their 2 s b h).
// Units: bytes of one rank; an activation of 2 bytes and a mask of 1 unless told otherwise.
// Source: Korthikanti et al. 2022, section 4; phalanx/nn; Dao and Gu 2024 for the scan.
// Example: total_bytes(layer_stash(model, layout, LayerKind::kMlp, PlanRecompute::kNone, StashAccount::kPaper)).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "phalanx/plan/plan_layout.h"
#include "phalanx/plan/plan_model.h"

namespace phalanx {

enum class StashAccount { kPaper, kPhalanx };

inline constexpr int64_t kMamba1StateTokens = 64;  // tokens between the states that Mamba-1 keeps

// Bytes an element of what a rank holds. `optimizer` is what ZeRO-1 splits.
struct ByteSizes {
  int64_t weight = 2;
  int64_t gradient = 4;
  int64_t optimizer = 12;  // master, two moments; with fp16 gradients their fp32 copy too
  int64_t activation = 2;
  int64_t statistic = 4;

  int64_t state() const { return weight + gradient + optimizer; }
  bool operator==(const ByteSizes&) const = default;
};
ByteSizes bf16_bytes();  // 18 a parameter: gradients in fp32
ByteSizes fp16_bytes();  // 20
ByteSizes fp32_bytes();  // 16: the weight is its own master

struct ByteItem {
  std::string_view label;
  int64_t bytes = 0;
};
int64_t total_bytes(const std::vector<ByteItem>& items);

// Empty under full recompute: what is kept then is checkpoint_bytes.
std::vector<ByteItem> layer_stash(const PlanModel& model, const PlanLayout& layout, LayerKind kind,
                                  PlanRecompute policy, StashAccount account, const ByteSizes& bytes = {});

// kPhalanx: what the weight gradients of a layer hold between B and W: the input and the output's gradient of each product,
// as nn/linear.h defers them.
//     attention  2 T h + T (q + 2k) + T q      MLP  2 T h + T (c' f + f)      embedding  T h
int64_t deferred_bytes(const PlanModel& model, const PlanLayout& layout, LayerKind kind,
                       const ByteSizes& bytes = {});
int64_t deferred_embedding_bytes(const PlanModel& model, const PlanLayout& layout,
                                 const ByteSizes& bytes = {});

// Final norm, output layer and loss.
std::vector<ByteItem> head_stash(const PlanModel& model, const PlanLayout& layout, StashAccount account,
                                 const ByteSizes& bytes = {});

// The dropout mask of the embedding.
int64_t embedding_stash(const PlanModel& model, const PlanLayout& layout, StashAccount account);

// One input that full recompute keeps.
int64_t checkpoint_bytes(const PlanModel& model, const PlanLayout& layout, StashAccount account,
                         const ByteSizes& bytes = {});

// A boundary tensor. The paper does not divide it by t (its 2.73 GiB of 530B); ours is 1 / t under sequence
// parallelism.
int64_t output_bytes(const PlanModel& model, const PlanLayout& layout, StashAccount account,
                     const ByteSizes& bytes = {});

// Places at which full recompute may keep an input: a `*-` pair, else a residual layer, in [begin, end).
int64_t count_units(const Pattern& pattern, const StageSlice& slice);

}  // namespace phalanx
