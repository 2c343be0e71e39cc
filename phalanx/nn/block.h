// File: phalanx/nn/block.h
//
// Purpose: from a pattern character and the parameter table to a residual layer; and what stands around them.
// Contract: `index` is the layer's place in the expanded pattern: it names the parameters (layers.<index>.*)
//   and the dropout key. `cache_layer` is where generation keeps the layer's keys in Cache; kSameAsIndex
//   means `index`, which fits a cache with one LayerShape a pattern character (empty ones cost nothing). The config
//   is finalized and valid. A kind that the design names but nobody has built is Error(kBadInput) naming it.
#pragma once

#include "phalanx/nn/context.h"
#include "phalanx/nn/module.h"

namespace phalanx::nn {

inline constexpr int64_t kSameAsIndex = -1;

ModulePtr make_layer(char kind, int index, const BuildContext& context, int64_t cache_layer = kSameAsIndex);
ModulePtr make_embedding(const BuildContext& context);
ModulePtr make_final_norm(const BuildContext& context);
// Untied: head.weight; tied: embedding.token.weight, which the embedding visits too.
ModulePtr make_head(const BuildContext& context);

}  // namespace phalanx::nn
