// File: phalanx/mesh/plan_mesh.h
//
// Purpose: from the config section `parallel` to a mesh, before a rank starts.
// Contract: everything is checked; all violations stand in one Error(kBadInput), separated by "; ". The zeros of the
//   config (data, world_size) are filled, sequence_parallel without tensor parallelism is switched off with a note.
//   plan_mesh is pure: the same config gives the same mesh on every rank.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "phalanx/mesh/mesh.h"
#include "phalanx/mesh/parallel_config.h"

namespace phalanx {

struct MeshPlan {
  ParallelConfig config;           // with data and world_size filled in
  Mesh mesh;                       // axes tp, cp, dp, pp in the config's order
  std::vector<std::string> notes;  // what was changed, for the log
};

MeshPlan plan_mesh(const ParallelConfig& config);

// The numbers of a model that a mesh has to divide. Those of a kind of layer that it lacks are 0.
struct ModelNumbers {
  int64_t num_attention_heads = 0;
  int64_t num_query_groups = 0;  // key/value heads
  int64_t ffn_hidden_size = 0;
  int64_t padded_vocab_size = 0;
  int64_t seq_length = 0;
  int64_t micro_batch_size = 1;
  int64_t num_layers = 0;
  int64_t stages_in_pattern = 0;  // stages the model's pattern names with `|`; 0: it names none
  int64_t mamba_num_heads = 0;    // Mamba-2
  int64_t mamba_num_groups = 0;
  int64_t mamba1_inner = 0;  // channels
};

// `config` as plan_mesh returned it. All violations in one Error(kBadInput).
void validate_model_on_mesh(const ModelNumbers& model, const ParallelConfig& config);

}  // namespace phalanx
