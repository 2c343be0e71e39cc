// File: phalanx/arch/hf_config.h
//
// Purpose: Hugging Face config.json to our model config and back, for model_type gpt2, llama, mistral, qwen2, mamba,
//   mamba2 and nemotron_h (more on the last three in hf_mamba.h).
// Contract: every field of the JSON is understood: implemented, known not to change the function computed, or required
//   to have the one value we implement. Anything else is Error(kBadInput) that names the field, so that no model is
//   silently another one. Missing fields take the defaults of the transformers classes, except the sizes, which must be
//   there. Both spellings of rotary settings are read: rope_theta + rope_scaling (transformers 4), rope_parameters (5).
//   Written files use the first, which both versions read. What a file cannot say is lost on the way: seq_length (read
//   back as max_position_embeddings, or, where there is none, as its default), make_vocab_size_divisible_by, stage
//   boundaries, hidden_dropout outside gpt2, ratios of a hybrid, and of nemotron_h the smallest initial step.
//   Token ids are left null for the caller to fill: the class defaults would stop generation at token 2.
// Source: transformers 5.23 configuration_{gpt2,llama,mistral,qwen2,mamba,mamba2,nemotron_h}.py, modeling_rope_utils.py,
//   masking_utils.py; the window w there lets a query see itself and the w - 1 tokens before it, as window_size does here.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "phalanx/arch/model_config.h"
#include "phalanx/base/json.h"

namespace phalanx {

enum class HfFamily { kGpt2, kLlama, kMistral, kQwen2, kMamba, kMamba2, kNemotronH };

// All of them.
std::span<const HfFamily> hf_families();

std::string_view hf_model_type(HfFamily family);

// By "model_type"; an unknown one is an error that lists these, and says what a known relative has.
HfFamily hf_family_of(const Json& config_json, const std::string& where);

// Finalized and valid.
ModelConfig model_config_from_hf(const Json& config_json, const std::string& where);

// Error(kBadInput) that lists what `family` cannot express, one line each.
void require_hf_family(const ModelConfig& config, HfFamily family);

// The family that expresses `config`; an error, for the nearest family, when there is none.
HfFamily hf_family_for(const ModelConfig& config);

// `config` must be finalized and valid.
Json hf_config_from_model(const ModelConfig& config, HfFamily family);

}  // namespace phalanx
