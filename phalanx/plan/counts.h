// File: phalanx/plan/counts.h
//
// Purpose: how many parameters a model has, and how many of them each rank stores.
// Equation: Narayanan et al. 2021, eq. 2, tied head:  P = 12 l h^2 (1 + 13 / 12h + (V + s) / 12 l h).
//   It leaves out the final norm, 2 h.
//   Mamba-2 layer, d inner, G groups of N states, H heads, K taps, D = h:  D (2d + 2GN + H) + (d + 2GN)(K + 1) + 3H
//   + d + d D + norm.
// Contract: counts are exact. `count_parameters` counts logical elements, each once, and equals arch's parameter
//   table for every model that can be built; what ranks store counts padding, replicas over tensor-parallel ranks
//   (norms, row biases, key/value heads where there are fewer than ranks) and the second copy of a tied embedding.
// Errors: a kind of layer that cannot be planned is Error(kBadInput). The layout must have passed check_layout.
//   Mamba-1 layer, d inner, N states, r the rank of dt:  3dD + d(K + 1) + d(r + 2N) + dr + 2d + dN  + norm
// Source: eq. 2; Mamba-1 as in models.md 1.2; Mamba-2 shapes as in Megatron-LM's mixer.
#pragma once

#include <cstdint>
#include <vector>

#include "phalanx/plan/plan_layout.h"
#include "phalanx/plan/plan_model.h"

namespace phalanx {

int64_t paper_parameters(int64_t layers, int64_t hidden, int64_t vocab, int64_t sequence);

struct ParameterCounts {
  int64_t token_embedding = 0;
  int64_t position_embedding = 0;
  int64_t attention = 0;  // of all layers of the kind, norms included
  int64_t mlp = 0;
  int64_t mamba = 0;
  int64_t final_norm = 0;
  int64_t head = 0;  // 0 when tied

  int64_t total() const {
    return token_embedding + position_embedding + attention + mlp + mamba + final_norm + head;
  }
};

ParameterCounts count_parameters(const PlanModel& model);

// One layer with its norm, as a rank of `tp` stores it.
int64_t layer_parameters(const PlanModel& model, LayerKind kind, int64_t tp = 1);

struct StageParameters {
  int64_t embedding = 0;  // tokens and positions; of the first stage
  int64_t layers = 0;
  int64_t largest_layer = 0;
  int64_t head = 0;  // final norm and output weight; of the last stage

  int64_t total() const { return embedding + layers + head; }
};

// By stage of pp x chunks: what one tensor-parallel rank stores.
std::vector<StageParameters> stage_parameters(const PlanModel& model, const PlanLayout& layout);

// The sum over the chunks of a rank, given as its stages. A tied embedding is stored once where a rank holds both
//   ends.
int64_t rank_parameter_count(const PlanModel& model, const PlanLayout& layout,
                             const std::vector<StageParameters>& stages, const std::vector<int>& chunks);

// By pipeline rank.
std::vector<int64_t> rank_parameters(const PlanModel& model, const PlanLayout& layout);

}  // namespace phalanx
