// File: phalanx/infer/batcher.h
//
// Purpose: tokens after many prompts at once: sequences of different lengths share each step, and one that has ended makes
//   room for the next prompt.
// Contract: a sequence's tokens do not depend on what runs beside it, but for rounding. Prompts are read in pieces of at
//   most `prefill_rows` rows, and logits are made of a prompt's last row only; then every running sequence grows by one
//   token a step. `on_token(sequence, token)` is called as soon as a token is known; false ends that sequence. What else
//   ends one, sampling and several ranks: see generate.h; the random number's element is the sequence's place.
// Errors: those of generate.h; `where` names a prompt by its place when there are several.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "phalanx/infer/generate.h"

namespace phalanx {

struct BatchLimits {
  int64_t sequences = 32;      // running at a time
  int64_t prefill_rows = 512;  // of prompts, in a step
};

using OnToken = std::function<bool(size_t sequence, int64_t token)>;

std::vector<std::vector<int64_t>> generate_all(Model& model, std::span<const std::vector<int64_t>> prompts,
                                               const GenerateOptions& options, const BatchLimits& limits,
                                               const OnToken& on_token, RankGroups* groups = nullptr);

}  // namespace phalanx
