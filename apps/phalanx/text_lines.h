// File: apps/phalanx/text_lines.h
//
// Purpose: the texts that `score` and `generate --input` read: a JSON object a line, with "tokens", or with text under
//   "text" or "prompt".
// Contract: empty lines are skipped; '-' is standard input or output. `where` of a text is FILE:LINE.
// Errors: Error(kBadInput) naming the line; a text without a tokenizer is refused.
#pragma once

#include <string>
#include <vector>

#include "phalanx/infer/generate.h"
#include "phalanx/infer/load_model.h"

namespace phalanx::apps {

std::string read_input(const std::string& path);
void write_output(const std::string& path, const std::string& text);

std::vector<ScoreText> texts_of(const std::string& input, const std::string& path, const ModelFolder& folder);

}  // namespace phalanx::apps
