// File: apps/phalanx/preset_flag.h
//
// Purpose: --preset NAME: the sizes of a known model as a recipe, under what a file and other flags say.
// Errors: Error(kUsage) with the nearest known name.
#pragma once

#include <string>

#include "phalanx/config/config_tree.h"

namespace phalanx::apps {

void apply_preset(ConfigTree& tree, const std::string& name);

}  // namespace phalanx::apps
