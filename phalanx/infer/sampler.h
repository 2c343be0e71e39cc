// File: phalanx/infer/sampler.h
//
// Purpose: one token out of logits: greedy, temperature, top-k, top-p.
// Contract: a pure function of (logits, options, uniform). Filters come in Hugging Face's order: temperature, top-k,
//   top-p; ties at the border of top-k keep the lower id. temperature 0 or top_k 1 is greedy (lowest id on ties).
//   Tokens are walked in falling order of probability, so equal logits give equal tokens on every machine type.
//   Logits are numbers or minus infinity; NaN has no order and is the caller's bug.
// Units: temperature > 0 divides the logits; top_k 0 and top_p 1 are off; uniform in [0, 1).
#pragma once

#include <cstdint>
#include <span>

namespace phalanx {

struct SamplingOptions {
  double temperature = 1.0;
  int64_t top_k = 0;
  double top_p = 1.0;
  uint64_t seed = 1234;
};

// Error(kUsage) for values out of range.
void validate(const SamplingOptions& options);

int64_t sample_token(std::span<const float> logits, const SamplingOptions& options, double uniform);

}  // namespace phalanx
