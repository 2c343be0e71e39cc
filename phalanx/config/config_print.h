// File: phalanx/config/config_print.h
//
// Purpose: the config for human eyes: the start-up table (key, value, where the value came from) and the help text.
// Contract: plain text, one line a field, grouped by section, no trailing blanks.
#pragma once

#include <string>

#include "phalanx/config/config_tree.h"

namespace phalanx {

// kChanged shows what differs from the default or was set explicitly.
std::string config_table(const ConfigTree& tree, ConfigScope scope = ConfigScope::kAll);
std::string config_help(const ConfigTree& tree);

}  // namespace phalanx
