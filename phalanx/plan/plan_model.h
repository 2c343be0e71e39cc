// File: phalanx/plan/plan_model.h
//
// Purpose: the numbers of a model that decide its cost, for models that can be trained here and for published ones.
// Contract: plain data. `vocab` is the padded one of the layout in question where that matters (Table 1: 51 200 as
//   given). Layers are those of the pattern language; a kind that cannot be planned (`E`, `X`) is Error(kBadInput) that
//   marks its place. The sizes of a kind that the pattern lacks are not looked at.
// Units: elements; `sequence` and `positions` in tokens.
// Source: Narayanan et al. 2021, section 3 (B, s, l, h, a, V); Waleffe et al. 2024 for the Mamba-2 sizes.
#pragma once

#include <cstdint>
#include <string>

#include "phalanx/arch/model_config.h"
#include "phalanx/arch/pattern.h"

namespace phalanx {

struct MambaSizes {
  int64_t inner = 0;  // d = heads x head_dim
  int64_t state = 128;
  int64_t groups = 8;
  int64_t head_dim = 64;
  int64_t conv = 4;

  int64_t heads() const { return head_dim == 0 ? 0 : inner / head_dim; }
};

struct PlanModel {
  std::string name;
  Pattern pattern;
  int64_t hidden = 0;
  int64_t heads = 0;
  int64_t kv_groups = 0;
  int64_t head_dim = 0;
  int64_t ffn = 0;
  int64_t vocab = 0;
  int64_t sequence = 0;
  int64_t positions = 0;  // rows of a learned position table; 0: none
  bool gated_mlp = false;
  bool bias = true;
  bool norm_bias = true;  // LayerNorm; RMSNorm has a weight alone
  bool tied = true;
  bool dropout = true;  // masks are kept for the backward pass
  MambaSizes mamba;

  int64_t count(LayerKind kind) const;
};

// `config` finalized and valid.
PlanModel plan_model(const ModelConfig& config, std::string name);

// The GPT of papers 1 to 3: `layers` pairs of attention and MLP, f = 4 h, learned positions, tied, biases, dropout.
PlanModel paper_gpt(std::string name, int64_t layers, int64_t hidden, int64_t heads, int64_t vocab = 51200,
                    int64_t sequence = 2048);

}  // namespace phalanx
