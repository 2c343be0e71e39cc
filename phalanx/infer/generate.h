// File: phalanx/infer/generate.h
//
// Purpose: tokens after a prompt, one at a time, through the cache; and log probabilities of given tokens.
// Contract: generate calls `on_token` as soon as a token is known and stops when it returns false, at an end token, at
//   max_tokens or when learned positions run out. Random numbers: Philox(seed, kSampling, step = position, element =
//   sequence), so a seed gives the same text whatever else runs. score pads nothing and keeps no logits.
// Units: natural logarithms.
// Errors: a token outside the vocabulary or a prompt longer than the positions is Error(kBadInput).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "phalanx/infer/sampler.h"
#include "phalanx/model/model.h"

namespace phalanx {

struct GenerateOptions {
  SamplingOptions sampling;
  int64_t max_tokens = 128;
  std::optional<int64_t> end_token;
};

std::vector<int64_t> generate(Model& model, std::span<const int64_t> prompt, const GenerateOptions& options,
                              const std::function<bool(int64_t)>& on_token);

// Log probability of tokens[i + 1] given tokens[0 .. i]: one fewer than tokens.
std::vector<double> score(Model& model, std::span<const int64_t> tokens);

// Longest sequence the model can see; nothing when positions are not learned.
std::optional<int64_t> position_limit(const ModelConfig& config);

}  // namespace phalanx
