// File: phalanx/checkpoint/hf_import.h
//
// Purpose: a Hugging Face folder into a checkpoint folder that training and generation load.
// Contract: tensors go under model.NAME in one dtype (scan parameters of Mamba in at least fp32), tensor by tensor from
//   mapped files, so memory holds one tensor.
//   metadata = {"kind": "import", "step": 0, "config": {"model": ..}, "hf": {"family", "dtype", "token_ids",
//   "generation_config"}}; `hf` is what an export needs to give back what our config cannot say.
//   Beside the manifest: tokenizer/ (tokenizer_files.h) and config.toml, the model section for `phalanx train`.
// Errors: as HfFolder and write_checkpoint.
#pragma once

#include <optional>
#include <string>

#include "phalanx/checkpoint/checkpoint.h"
#include "phalanx/checkpoint/hf_folder.h"

namespace phalanx {

struct HfImportOptions {
  std::optional<at::ScalarType> dtype;  // none: the folder's
  bool overwrite = false;
  ByteProgress progress;
};

struct HfImportReport {
  at::ScalarType dtype = at::kFloat;
  int64_t num_parameters = 0;
  uint64_t bytes = 0;  // of weights as written
  size_t num_tokenizer_files = 0;
};

HfImportReport import_hf(const HfFolder& folder, const std::string& out, const HfImportOptions& options);

}  // namespace phalanx
