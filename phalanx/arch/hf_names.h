// File: phalanx/arch/hf_names.h
//
// Purpose: which tensor of a Hugging Face file holds which of our logical tensors, in both directions.
// Contract: logical = (transpose ? tensor^T : tensor)[rows], the rows being those of the transposed tensor; without
//   `rows`, all of it. With `unit_middle` the tensor is [C, 1, K] and ours [C, K]. hf_mapping lists every logical tensor
//   of the table once, in table order, and the rows of a shared tensor (gpt2's c_attn) cover it without a gap. A tied head
//   has no tensor of its own. Rotary needs no permutation: both sides rotate halves.
//   plan_hf_import fits the map to the tensors a file has: names with or without the base model's prefix, the names of
//   the state-spaces library and both prefixes that models with Mamba layers have had, buffers of old versions ignored,
//   a stored copy of a tied head named so that the reader can compare it. Missing, unknown, doubled and wrongly shaped
//   tensors are one Error(kBadInput) that names them.
// Shapes: gpt2 stores linear weights as [in, out]; all others as [out, in]. Rows of mamba's in_proj are x, z; those of
//   mamba2's are z, x, B, C, dt (models.md 1.1, 2.1).
// Source: names and shapes as transformers 5.23 writes them (see hf_names_test.cc).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "phalanx/arch/hf_config.h"
#include "phalanx/arch/parameter_table.h"

namespace phalanx {

struct HfRows {
  int64_t begin = 0;
  int64_t end = 0;
  bool operator==(const HfRows&) const = default;
};

struct HfMapping {
  std::string logical;
  std::string hf_name;
  std::vector<int64_t> hf_shape;  // of the whole tensor hf_name
  bool transpose = false;
  bool unit_middle = false;
  std::optional<HfRows> rows;
};

// `table` is config's; an error when `family` cannot express `config`.
std::vector<HfMapping> hf_mapping(const ModelConfig& config, HfFamily family, const ParameterTable& table);

struct HfTensorInfo {
  std::string name;
  std::vector<int64_t> shape;
};

struct HfImportPlan {
  std::vector<HfMapping> tensors;        // hf_name is the name in the file
  std::optional<std::string> tied_head;  // a tensor of the file that must equal embedding.token.weight
};

HfImportPlan plan_hf_import(const ModelConfig& config, HfFamily family, const ParameterTable& table,
                            std::span<const HfTensorInfo> file, const std::string& where);

}  // namespace phalanx
