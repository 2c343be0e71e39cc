// File: phalanx/infer/load_model.h
//
// Purpose: a model to use, from whatever folder a person has: a run, a checkpoint, or a Hugging Face folder.
// Contract: open_model reads no weight. The tokenizer is the run's, or a tokenizer.json that travelled with the weights;
//   null when there is none (token ids still work). Of a stored run's settings only the model and the tokenizer are
//   read, so settings that came or went since do not matter.
//   load fills what a model of `config` holds, whatever its layout, and may be called by several ranks at once; one of
//   them `checks` all of the folder (checksums, a tied head), the others read their boxes alone.
// Errors: Error(kBadInput) naming the folder and what it lacks, or a stored model setting that this version does not know.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "phalanx/model/model.h"
#include "phalanx/tokenizer/tokenizer.h"

namespace phalanx {

struct ModelFolder {
  std::string path;
  ModelConfig config;
  at::ScalarType dtype = at::kFloat;  // as stored
  std::unique_ptr<Tokenizer> tokenizer;
  std::string tokenizer_problem;  // why there is no tokenizer
  // Ids that end a text: the tokenizer's, else those of the Hugging Face folder that the weights come from.
  std::vector<int64_t> end_tokens;
  std::function<void(Model& model, bool checks)> load;
};

ModelFolder open_model(const std::string& path);

// Throws when the model came without a tokenizer.
const Tokenizer& require_tokenizer(const ModelFolder& folder);

}  // namespace phalanx
