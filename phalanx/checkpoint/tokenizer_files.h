// File: phalanx/checkpoint/tokenizer_files.h
//
// Purpose: the files of a tokenizer that travel with a model: from a Hugging Face folder into the `tokenizer` subfolder
//   of a checkpoint, and from there into an exported folder.
// Contract: known names and endings only, regular files (links are followed); bytes are kept as they are.
// Source: the names that save_pretrained of transformers writes for tokenizers.
#pragma once

#include <string>
#include <vector>

#include "phalanx/checkpoint/output_folder.h"

namespace phalanx {

inline constexpr const char* kTokenizerFolder = "tokenizer";

bool is_tokenizer_file(const std::string& name);

// The tokenizer files of `folder`; each gets `prefix` before its name ("tokenizer/"). None when there is no such folder.
std::vector<ExtraFile> tokenizer_files(const std::string& folder, const std::string& prefix);

}  // namespace phalanx
