// File: phalanx/shard/parameter_layout.h
//
// Purpose: what a rank holds of a fused parameter of a model, who else holds it, and whose gradients must be added.
//   segments.h cuts one tensor by a rule; this page knows the model: which rows stay together, what may be shared, and
//   where a gradient is only a part.
//   kept together  q, k, v rows and columns of attention.out: a head of kv_channels. Of Mamba-2: z, x, the convolution of x,
//                  the gated norm and columns of out: a head of mamba_head_dim; B, C and their convolution: a group of
//                  mamba_state_dim. Everything else one by one. Parts of a fused tensor are each cut on their own, so a
//                  rank's local tensor is e.g. [gate piece | up piece], or [z | x | B | C | dt] of its heads.
//   partial        every replicated tensor under sequence parallelism (norms, biases behind row-parallel linears, learned
//                  positions), because a rank sees its rows only; q_norm and k_norm always, because a rank sees its heads
//                  only; k and v, and Mamba-2's B, C and their convolution, with fewer groups than ranks, over the ranks
//                  that share the group; a tied token embedding over its two copies. All others, and all of a rank that is
//                  alone with its box, are identical.
// Contract: pure. `replicas` are world ranks, ascending, this one included; the gradient of a partial segment is summed
//   over exactly them, and replica 0 writes the checkpoint. Data-parallel copies are not among them.
// Errors: Error(kBadInput) naming the tensor when a size does not divide, or would have to be shared but must not.
// Source: Megatron-LM's tensor parallelism; its padded vocabulary is a multiple of the tensor-parallel ranks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "phalanx/arch/model_config.h"
#include "phalanx/arch/parameter_table.h"
#include "phalanx/shard/box.h"
#include "phalanx/shard/segments.h"

namespace phalanx {

struct ParameterPlace {
  TensorParallelRank tp;
  bool sequence_parallel = false;
  std::vector<int> tp_ranks = {0};  // world ranks of this rank's tensor group
  // World ranks of the tensor group that holds the other copy of a tied token embedding; empty where there is none.
  std::vector<int> tied_ranks = {};
};

struct SlotSegment {
  std::string name;
  Shape global_shape;
  Box global_box;             // in the logical tensor; may be empty (a padded vocabulary)
  Box local_box;              // in the local tensor
  std::vector<int> replicas;  // world ranks
  int replica = 0;            // this rank's place among them
  bool partial = false;
  bool decay = false;
};

// A local tensor: segments one below the other, then padding rows that no logical tensor has.
struct ParameterSlot {
  Shape shape;
  std::vector<SlotSegment> segments;
};

// `config` is finalized and valid, `parameter` a row of its table.
ParameterSlot parameter_slot(const ModelConfig& config, const FusedParameter& parameter,
                             const ParameterPlace& place);

// Stored rows of the vocabulary over all ranks: the config's padding, rounded up to a multiple of the ranks. It changes no
// result: padded columns never count.
int64_t padded_vocab_over(const ModelConfig& config, int tp_size);

// Key/value groups that a rank's attention has, and its cache keeps.
int64_t groups_of_rank(const ModelConfig& config, int tp_size);

// Groups of B and C that a rank's Mamba-2 layer has.
int64_t mamba_groups_of_rank(const ModelConfig& config, int tp_size);

}  // namespace phalanx
