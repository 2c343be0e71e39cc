// File: phalanx/plan/plan_model.h
//
// Purpose: the numbers of a model that decide its cost, for models that can be trained here and for published ones.
// Contract: plain data. Layers are those of the pattern language; of them attention, MLP, Mamba-2 and Mamba-1 can be
//   planned, and any other kind is Error(kBadInput) that marks its place. The sizes of a kind that the pattern lacks are not
//   looked at. `vocab` counts the rows that are stored and multiplied, padding included; `true_vocab` those that
//   mean a token.
// Units: elements; `sequence` and `positions` in tokens.
// Source: Narayanan et al. 2021, section 3 (B, s, l, h, a, V); Waleffe et al. 2024 for the Mamba-2 sizes.
// Example: const PlanModel gpt3 = paper_gpt("175B", 96, 12288, 96);
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "phalanx/arch/model_config.h"
#include "phalanx/arch/pattern.h"

namespace phalanx {

struct MambaSizes {
  int64_t inner = 0;  // d = heads x head_dim
  int64_t state = 128;
  int64_t groups = 8;
  int64_t head_dim = 64;
  int64_t conv = 4;
  bool conv_bias = true;
  int64_t norm_group = 0;  // channels of a group of the gated norm; 0: inner / groups

  int64_t heads() const { return head_dim == 0 ? 0 : inner / head_dim; }
  int64_t conv_width() const { return inner + 2 * groups * state; }    // x, B, C
  int64_t in_width() const { return inner + conv_width() + heads(); }  // z, x, B, C, dt
  bool operator==(const MambaSizes&) const = default;
};

struct Mamba1Sizes {
  int64_t inner = 0;
  int64_t state = 16;
  int64_t dt_rank = 0;
  int64_t conv = 4;
  bool conv_bias = true;

  int64_t low_width() const { return dt_rank + 2 * state; }  // delta, B, C
  bool operator==(const Mamba1Sizes&) const = default;
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
  int64_t true_vocab = 0;  // 0: vocab
  int64_t sequence = 0;
  int64_t positions = 0;  // rows of a learned position table; 0: none
  bool gated_mlp = false;
  bool bias = true;
  bool qkv_bias = false;  // biases of q, k, v although `bias` is off
  bool qk_norm = false;
  bool norm_bias = true;  // LayerNorm; RMSNorm has a weight alone
  bool tied = true;
  bool dropout = true;  // masks are kept for the backward pass
  MambaSizes mamba;
  Mamba1Sizes mamba1;

  int64_t count(LayerKind kind) const;
  int64_t query_width() const { return heads * head_dim; }
  int64_t key_width() const { return kv_groups * head_dim; }  // and that of the values
  int64_t token_rows() const { return true_vocab == 0 ? vocab : true_vocab; }
};

// `config` finalized and valid.
PlanModel plan_model(const ModelConfig& config, std::string name);

// The GPT of papers 1 to 3: `layers` pairs of attention and MLP, f = 4 h, learned positions, tied, biases, dropout.
PlanModel paper_gpt(std::string name, int64_t layers, int64_t hidden, int64_t heads, int64_t vocab = 51200,
                    int64_t sequence = 2048);

inline constexpr std::array kPlannableKinds = {LayerKind::kAttention, LayerKind::kMlp, LayerKind::kMamba2,
                                               LayerKind::kMamba1};
bool is_plannable(LayerKind kind);

// Error(kBadInput) with a caret under the first layer that cannot be planned.
void check_plannable(const Pattern& pattern, const std::string& where);

// Every size of `model` that makes no sense, as sentences; empty: usable. Kinds of layers included.
std::vector<std::string> model_violations(const PlanModel& model);

}  // namespace phalanx
