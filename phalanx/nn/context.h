// File: phalanx/nn/context.h
//
// Purpose: what the builders of layers need besides sizes: where parameters come from, which matrix product, which group.
// Contract: `parameter(name)` returns the fused parameter of that name in the table, as this rank of the tensor group
//   holds it (shard/parameter_layout.h); it outlives the module. A frozen or absent bias is nullptr. With
//   `sequence_parallel`, batches that get a backward shard their rows over the tensor group (Batch::row_shards); others
//   (step, score, evaluation) may, or may not.
#pragma once

#include <functional>
#include <string>

#include "phalanx/arch/model_config.h"
#include "phalanx/comm/group.h"
#include "phalanx/kernels/gemm/gemm.h"
#include "phalanx/tensor/parameter.h"

namespace phalanx::nn {

struct BuildContext {
  const ModelConfig& config;
  std::function<Parameter*(const std::string& fused_name)>
      parameter;  // nullptr when the table has no such name
  const kernels::Gemm& gemm;
  comm::Group& tensor_group;
  bool sequence_parallel = false;
  bool paper_stash = false;     // layers keep what paper 2 counts (nn/paper_layers.h)
  bool recompute_core = false;  // and of that not the attention core
};

}  // namespace phalanx::nn
