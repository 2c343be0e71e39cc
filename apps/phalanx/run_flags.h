// File: apps/phalanx/run_flags.h
//
// Purpose: a run's config from the command line: preset, file or run folder, flags, in this order, resolved; and the model
//   that one word names.
// Contract: `config` must not move while the tree points into it. The tokenizer is the one that the config names, or null.
// Errors: Error(kUsage) for flags, Error(kBadInput) for what they say.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "phalanx/config/config_tree.h"
#include "phalanx/config/flags.h"
#include "phalanx/train/run_config.h"

namespace phalanx::apps {

std::unique_ptr<Tokenizer> read_run_config(const ParsedFlags& flags, ConfigTree& tree, RunConfig& config,
                                           const std::string& verb);

// The model, finalized, of a preset, a config file (*.toml) or a run folder; nullopt when `name` is none of them.
std::optional<ModelConfig> find_model(const std::string& name);

}  // namespace phalanx::apps
