// File: phalanx/arch/mamba_config.h
//
// Purpose: for model_config.cc: the Mamba half of `finalize` and `validate`, and the bounds that both halves share.
// Contract: as there. What the pattern has no layer for is left alone.
#pragma once

#include <cstdint>

#include "phalanx/arch/model_config.h"
#include "phalanx/arch/pattern.h"
#include "phalanx/arch/violations.h"

namespace phalanx {

// With these bounds no product of sizes, and no sum over the largest pattern, leaves int64.
inline constexpr int64_t kMaxWidth = int64_t{1} << 20;  // hidden
inline constexpr int64_t kMaxInner = int64_t{1} << 22;  // ffn, heads * kv_channels, inner width of Mamba

void finalize_mamba(ModelConfig& config, const Pattern& pattern);
void add_mamba_violations(const ModelConfig& config, const Pattern& pattern, Violations& problems);

}  // namespace phalanx
