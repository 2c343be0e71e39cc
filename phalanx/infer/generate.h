// File: phalanx/infer/generate.h
//
// Purpose: tokens after a prompt, one at a time, through the cache (many prompts at once: batcher.h); and log probabilities of given tokens. On one rank,
//   or on all ranks of a tensor x pipeline mesh.
// Contract: generate calls `on_token` as soon as a token is known and stops when it returns false, at an end token, at
//   max_tokens or when learned positions run out. Ids from vocab_limit on are never sampled (a model's vocabulary may be
//   larger than its tokenizer's). Random numbers: Philox(seed, kSampling, step = position, element = sequence), so a seed
//   gives the same text whatever else runs, under every layout. score pads nothing and keeps no logits.
//   With `groups` every rank makes the same call. `on_token` is called by the rank that chooses (rank_step.h); the tokens
//   are returned on all. Texts to score go through the stages one after another, by a forward-only schedule; the rank
//   that would choose returns the log probabilities, others nothing. No sequence parallelism.
// Units: natural logarithms.
// Errors: a token outside the vocabulary or a prompt longer than the positions is Error(kBadInput); a logit or log
//   probability that is no finite number is Error(kNumeric) naming its position, counted from 0. `where` names the text.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "phalanx/engine/rank_groups.h"
#include "phalanx/infer/sampler.h"
#include "phalanx/model/model.h"

namespace phalanx {

struct GenerateOptions {
  SamplingOptions sampling;
  int64_t max_tokens = 128;
  std::vector<int64_t> end_tokens;  // any of them ends the text
  std::optional<int64_t> vocab_limit;

  bool ends(int64_t token) const;
};

// What generate and score ask of given tokens, before any work.
void check_tokens(const ModelConfig& config, std::span<const int64_t> tokens, const std::string& where);

std::vector<int64_t> generate(Model& model, std::span<const int64_t> prompt, const GenerateOptions& options,
                              const std::function<bool(int64_t)>& on_token, RankGroups* groups = nullptr);

// Log probability of tokens[i + 1] given tokens[0 .. i]: one fewer than tokens.
std::vector<double> score(Model& model, std::span<const int64_t> tokens, const std::string& where = "tokens");

struct ScoreText {
  std::vector<int64_t> tokens;
  std::string where;
};

// Of each text.
std::vector<std::vector<double>> score(Model& model, std::span<const ScoreText> texts, RankGroups& groups);

// Error(kNumeric) for the token at `position` of the text `where`.
[[noreturn]] void throw_not_finite(const std::string& where, const std::string& got, int64_t position);

// Longest sequence the model can see; nothing when positions are not learned.
std::optional<int64_t> position_limit(const ModelConfig& config);

// Whether a text of that length has rotary positions beyond those that the model was made for.
bool beyond_rotary_positions(const ModelConfig& config, int64_t length);
void warn_beyond_rotary_positions(const ModelConfig& config);

}  // namespace phalanx
