// File: phalanx/config/config_toml.h
//
// Purpose: a config tree from and to TOML: one table a section, one key a field.
// Contract: every error is Error(kBadInput) whose `where` is "PATH:LINE:COLUMN" and, past the syntax, the key. Unknown
//   sections and keys are errors with the nearest known name; types must match, but an integer suits a number. An
//   absent optional is the text "none". to_toml(kChanged) read over defaults gives the same tree, doubles bit for bit.
// Errors: kBadInput as above, kIo from apply_toml_file.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "phalanx/config/config_tree.h"

namespace phalanx {

void apply_toml(ConfigTree& tree, std::string_view text, const std::string& path, Origin origin);
void apply_toml_file(ConfigTree& tree, const std::string& path, Origin origin);

std::string to_toml(const ConfigTree& tree, ConfigScope scope, const std::set<std::string>& without = {});

}  // namespace phalanx
