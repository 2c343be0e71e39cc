// File: phalanx/infer/rank_step.h
//
// Purpose: one step of generation on the ranks of a tensor x pipeline mesh: rows go through the stages, one rank chooses
//   the tokens, all learn them.
// Contract: every rank calls the same, with the same rows, and has the model in one chunk a stage. Logits exist on the
//   ranks of the last stage and are equal there; the first of these ranks chooses. No sequence parallelism.
// Shapes: logits [rows, vocab].
// Errors: Error(kPeer) from the groups.
#pragma once

#include <cstdint>
#include <span>

#include "phalanx/engine/rank_groups.h"
#include "phalanx/model/model.h"

namespace phalanx {

struct Choice {
  int64_t token = 0;
  bool go_on = true;
};

// World rank of the one that chooses.
int choosing_rank(const Mesh& mesh);

// Undefined on ranks before the last stage. The cache of each rank grows.
Tensor step_on_ranks(Model& model, const Batch& batch, Cache& cache, RankGroups& groups);

// The choices of choosing_rank, on every rank; what `choices` held counts only there.
void share_choices(std::span<Choice> choices, RankGroups& groups);

}  // namespace phalanx
