// File: phalanx/config/config_json.h
//
// Purpose: a config tree from and to JSON, for checkpoint metadata: {"section": {"field": value}}.
// Contract: an unknown section or key is an error that names it (a checkpoint made by a newer or other program must
//   not lose a setting silently); a missing key keeps its value. An absent optional is null. Doubles keep their bits.
// Errors: Error(kBadInput) whose `where` is "WHERE: section.field".
#pragma once

#include <string>

#include "phalanx/base/json.h"
#include "phalanx/config/config_tree.h"

namespace phalanx {

void apply_json(ConfigTree& tree, const Json& json, const std::string& where, Origin origin);
Json to_json(const ConfigTree& tree, ConfigScope scope = ConfigScope::kAll);

}  // namespace phalanx
