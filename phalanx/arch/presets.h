// File: phalanx/arch/presets.h
//
// Purpose: model configs by name: public models, the ten of the Megatron-LM weak-scaling table, the Mamba
//   models and hybrids of Waleffe et al. and state-spaces, small ones for a CPU.
// Contract: a preset states sizes only; what follows from them (size of a head, ffn of a GPT) stays 0, so that changing
//   one size of a preset changes what depends on it. Call `finalize` before use. seq_length is the longest context of
//   the model; dropout is 0 (the published pre-training values are not part of an architecture).
// Sources: cited in presets.cc, one line a group. No size here is from memory.
// Example: ModelConfig config = *find_preset("llama-2-7b");
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "phalanx/arch/model_config.h"

namespace phalanx {

std::optional<ModelConfig> find_preset(std::string_view name);

// In the order they are best listed: small ones first, then by family and size.
std::vector<std::string> preset_names();

}  // namespace phalanx
