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
//   Mamba-2 (d = R P inner channels, R heads of P, G groups, N states, K taps):
//     layers.i.mamba.{z [d, H], x [d, H], B [G N, H], C [G N, H], dt [R, H]}.weight  fused as mamba.in.weight
//     layers.i.mamba.{conv_x [d, K], conv_B [G N, K], conv_C [G N, K]}.weight  fused as mamba.conv.weight; .bias likewise
//     layers.i.mamba.{dt_bias, A_log, D} [R]  layers.i.mamba.norm.weight [d]   layers.i.mamba.out.weight [H, d]
//   Mamba-1 (d inner channels, r the rank of dt):
//     layers.i.mamba1.{x, z}.weight [d, H]  fused as mamba1.in.weight   layers.i.mamba1.conv.{weight [d, K], bias [d]}
//     layers.i.mamba1.{dt_low [r, d], B [N, d], C [N, d]}.weight  fused as mamba1.x_proj.weight
//     layers.i.mamba1.dt_proj.weight [d, r]  layers.i.mamba1.{dt_bias [d], A_log [d, N], D [d]}
//     layers.i.mamba1.out.weight [H, d]
//   A linear of a Mamba layer never has a bias, and its gated norm stores w itself, whatever `bias` and `norm_1p` say.
// Source: Megatron conventions: std 0.02, output projections std / sqrt(2 L), no decay on biases and norms. 2 L is the
//   number of residual layers, also where a pattern is not made of `*-` pairs: each adds one branch. Initial values of
//   Mamba-2 are Megatron's, those of Mamba-1 state-spaces/mamba's, but with normal weights in its linears (models.md 1.2,
//   2.2). Decay only on matrices; A_log is none, although that of Mamba-1 has two dims.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "phalanx/arch/model_config.h"

namespace phalanx {

// What the values of a tensor are before the first step; init_value.h has the formulas. u is uniform in [0, 1).
enum class InitKind {
  kZero,
  kOne,
  kNormal,           // init_std times a standard normal number
  kUniform,          // low + u (high - low)
  kLogUniform,       // log of that
  kInverseSoftplus,  // softplus gives it back: the larger of init_floor and exp(log low + u (log high - log low))
  kLogCount,         // log(1 + column)
};

// How tensor parallelism cuts a logical tensor.
enum class ShardRule { kReplicated, kColumn /* dim 0 */, kRow /* dim 1 */, kVocab /* dim 0, padded */ };

struct LogicalTensor {
  std::string name;
  std::vector<int64_t> shape;
  ShardRule shard = ShardRule::kReplicated;
  InitKind init = InitKind::kZero;
  double init_std = 0.0;  // for kNormal
  double init_low = 0.0;  // for the kinds that have a range
  double init_high = 0.0;
  double init_floor = 0.0;  // for kInverseSoftplus
  bool decay = false;       // weight decay applies
  bool keep_fp32 = false;   // is stored in fp32 (fp64 in an fp64 run) whatever the dtype of the run
  int32_t ordinal = 0;  // place in the table; the `layer` word of the Philox counter for its initial values
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
