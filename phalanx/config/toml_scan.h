// File: phalanx/config/toml_scan.h
//
// Purpose: refuses, before toml++ sees it, the one kind of text on which toml++ 3.3 runs into undefined behaviour:
//   non-ASCII characters outside strings and comments (TOML forbids them; a typographic quote or a no-break space
//   pasted from a document is the usual case) and right after a backslash in a string.
// Contract: knows strings and comments only; a text it passes may still be bad TOML. A mark at the start is allowed.
// Errors: Error(kBadInput) whose `where` is "PATH:LINE:COLUMN", columns in characters.
#pragma once

#include <string>
#include <string_view>

namespace phalanx {

void refuse_stray_characters(std::string_view text, const std::string& path);

}  // namespace phalanx
