// File: phalanx/infer/load_model.h
//
// Purpose: a model to use, from whatever folder a person has: a run, a checkpoint, or a Hugging Face folder.
// Contract: computes in the stored dtype unless told otherwise. The tokenizer is the run's, or a tokenizer.json that
//   travelled with the weights; null when there is none (token ids still work). Of
//   a stored run's settings only the model and the tokenizer are read, so settings that came or went since do not matter.
// Errors: Error(kBadInput) naming the folder and what it lacks, or a stored model setting that this version does not know.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "phalanx/model/model.h"
#include "phalanx/tokenizer/tokenizer.h"

namespace phalanx {

struct LoadedModel {
  kernels::Gemm gemm;
  std::unique_ptr<comm::Group> tensor_group;
  std::unique_ptr<Model> model;
  std::unique_ptr<Tokenizer> tokenizer;
  std::string tokenizer_problem;  // why there is no tokenizer
  // Ids that end a text: the tokenizer's, else those of the Hugging Face folder that the weights come from.
  std::vector<int64_t> end_tokens;
};

struct LoadOptions {
  std::optional<at::ScalarType> dtype;
  at::Device device = at::kCPU;
};

std::unique_ptr<LoadedModel> load_model(const std::string& folder, const LoadOptions& options);

// Throws when the model came without a tokenizer.
const Tokenizer& require_tokenizer(const LoadedModel& loaded, const std::string& folder);

}  // namespace phalanx
