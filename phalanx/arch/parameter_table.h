// File: phalanx/arch/parameter_table.h
//
// Purpose: one pure table of every parameter of a model. nn, plan, checkpoint and the Hugging Face maps all read it,
//   so that a shape or a name is written down once.
// Contract: a *logical* tensor has a name and a global, unpadded shape that no layout changes; a *fused* parameter is
//   what a module holds: its parts stacked along dim 0 (q, k, v; gate, up). Names (i = index in the expanded pattern):
//     embedding.token.weight [V, H]   embedding.position.weight [P, H]   head.weight [V, H] (untied)
//     layers.i.norm.{weight,bias} [H] final_norm.{weight,bias} [H]
//     layers.i.attention.{q,k,v}.{weight,bias}  fused as layers.i.attention.qkv.{weight,bias}
//     layers.i.attention.{q_norm,k_norm}.weight [D]   layers.i.attention.out.{weight [H, A D], bias [H]}
//     layers.i.mlp.{gate,up}.{weight [F, H], bias [F]}  fused as layers.i.mlp.gate_up.* when gated, else mlp.up.*
//     layers.i.mlp.down.{weight [H, F], bias [H]}
// Source: Megatron conventions: std 0.02, output projections std / sqrt(2 L), no decay on biases and norms. 2 L is the
//   number of residual layers, also where a pattern is not made of `*-` pairs: each adds one branch.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "phalanx/arch/model_config.h"

namespace phalanx {

enum class InitKind { kZero, kOne, kNormal };

// How tensor parallelism cuts a logical tensor.
enum class ShardRule { kReplicated, kColumn /* dim 0 */, kRow /* dim 1 */, kVocab /* dim 0, padded */ };

struct LogicalTensor {
  std::string name;
  std::vector<int64_t> shape;
  ShardRule shard = ShardRule::kReplicated;
  InitKind init = InitKind::kZero;
  double init_std = 0.0;  // for kNormal
  bool decay = false;     // weight decay applies
  int32_t ordinal = 0;    // place in the table; the `layer` word of the Philox counter for its initial values
};

struct FusedParameter {
  std::string name;
  std::vector<LogicalTensor> parts;  // stacked along dim 0
};

struct ParameterTable {
  std::vector<FusedParameter> parameters;

  int64_t num_parameters() const;                           // logical elements, each once
  const FusedParameter& at(const std::string& name) const;  // a fused name; aborts when absent
  bool contains(const std::string& name) const;
  std::vector<const LogicalTensor*> logical_tensors() const;  // in table order
};

// `config` must be finalized and valid.
ParameterTable make_parameter_table(const ModelConfig& config);

}  // namespace phalanx
