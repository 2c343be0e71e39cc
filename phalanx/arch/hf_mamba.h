// File: phalanx/arch/hf_mamba.h
//
// Purpose: for hf_config.cc and hf_config_write.cc: the families with Mamba layers, in and out.
// Contract: as in hf_config.h. What transformers does with a field decides, not its name:
//   The gated norm of mamba2 and nemotron_h is over the channels of one group and comes after the gate. Some files have
//   norm_before_gate, but nothing reads it. Earlier versions normalised all channels of mamba2 at once on
//   the CPU, unlike its kernels and the library that made the weights; with one group both are the same.
//   mamba2 keeps steps inside time_step_limit. nemotron_h raises them to time_step_min and never reads time_step_limit.
//   (Through its cache transformers lets single tokens pass both; we do not.)
//   Attention of nemotron_h has no positions and no biases, and its head is never tied.
//   Nothing in mamba and mamba2 bounds the length of a sequence: seq_length stays at its default.
// Source: transformers 5.23 configuration_ and modeling_{mamba,mamba2,nemotron_h}.py; models.md 2.1 on the norm.
#pragma once

#include <string>
#include <string_view>

#include "phalanx/arch/hf_fields.h"
#include "phalanx/arch/hf_requirements.h"
#include "phalanx/arch/model_config.h"
#include "phalanx/base/json.h"

namespace phalanx {

inline bool is_mamba_family(HfFamily family) {
  return family == HfFamily::kMamba || family == HfFamily::kMamba2 || family == HfFamily::kNemotronH;
}

// What a known relative has that is not implemented, or "" for other names.
std::string_view hf_lacking(std::string_view model_type);

ModelConfig read_mamba(HfFields& fields);
ModelConfig read_mamba2(HfFields& fields);
ModelConfig read_nemotron_h(HfFields& fields);

// Of the MLP: "gelu_new" and the like (hf_config.cc).
ActivationKind plain_activation(HfFields& fields, const char* key, const char* fallback);

void check_mamba_family(Requirements& requirements, const ModelConfig& config, HfFamily family);
Json write_mamba_family(const ModelConfig& config, HfFamily family);

// "gelu_new" and the like (hf_config_write.cc).
std::string hf_activation(ActivationKind kind);

}  // namespace phalanx
