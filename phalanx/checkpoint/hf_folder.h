// File: phalanx/checkpoint/hf_folder.h
//
// Purpose: a Hugging Face model folder as our model config and our logical tensors.
// Contract: opening reads config.json and every file header and fits them together (arch/hf_config.h, hf_names.h): a
//   field or tensor we do not implement, a missing or doubled one and a wrong shape are errors before any weight is read.
//   Weights are views of mapped files: transposed and cut to rows, in their stored dtype, valid while the folder lives.
//   Where files mix dtypes, dtype() is the narrowest that holds them all, but for tensors that stay in fp32 whatever the
//   model's dtype (LogicalTensor::keep_fp32): those say nothing about it, and come and go in at least fp32.
// Errors: Error(kBadInput) naming file, field or tensor.
#pragma once

#include <string>
#include <unordered_map>

#include "phalanx/checkpoint/hf_weight_files.h"
#include "phalanx/model/model.h"

namespace phalanx {

class HfFolder {
 public:
  explicit HfFolder(const std::string& folder);

  // Has a config.json and is no checkpoint of ours.
  static bool looks_like(const std::string& path);

  const std::string& path() const { return path_; }
  HfFamily family() const { return family_; }
  const ModelConfig& config() const { return config_; }
  const ParameterTable& table() const { return table_; }
  const HfWeightFiles& files() const { return files_; }
  at::ScalarType dtype() const { return dtype_; }

  bool contains(const std::string& logical) const { return mappings_.contains(logical); }
  Tensor tensor(const std::string& logical) const;
  // A stored copy of a tied head must equal the token embedding bit for bit: reads both.
  void check_tied_head() const;

  // "bos_token_id", "eos_token_id", "pad_token_id" as config.json has them: a number, several, or null.
  Json token_ids() const;
  // generation_config.json, or null.
  Json generation_config() const;

 private:
  at::ScalarType common_dtype(const HfImportPlan& plan) const;

  std::string path_;
  Json config_json_;
  HfFamily family_ = HfFamily::kGpt2;
  ModelConfig config_;
  ParameterTable table_;
  HfWeightFiles files_;
  std::unordered_map<std::string, HfMapping> mappings_;  // by logical name
  std::string tied_head_;                                // its name in the file, or ""
  at::ScalarType dtype_ = at::kFloat;
};

// Of a tensor in files of a model of `dtype`.
at::ScalarType dtype_of(const LogicalTensor& tensor, at::ScalarType dtype);

// Fills every segment of every parameter, in the model's dtype. The model must be the folder's, whatever its layout.
void load_hf_weights(const HfFolder& folder, Model& model);

}  // namespace phalanx
