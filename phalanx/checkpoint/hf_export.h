// File: phalanx/checkpoint/hf_export.h
//
// Purpose: a model or checkpoint as a Hugging Face folder that AutoModelForCausalLM loads.
// Contract: config.json (dtype and architectures set), model.safetensors with {"format": "pt"}, or shards of at most
//   max_shard_bytes and their index, tokenizer files, generation_config.json where the source had one. The folder
//   appears complete or not at all (output_folder.h). Memory holds one tensor of the result at a time.
//   weights_of(reader, dtype) takes the masters of a run where they say more than the weights and `dtype` can hold it.
// Errors: Error(kUsage) for a folder that must not be replaced, Error(kBadInput) for a config that `family` cannot
//   express or a value too large for `dtype`, Error(kIo).
// Source: the layout that save_pretrained of transformers 5.23 writes.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "phalanx/arch/hf_config.h"
#include "phalanx/checkpoint/checkpoint.h"
#include "phalanx/model/model.h"

namespace phalanx {

// The whole logical tensor, in any floating dtype.
using WeightSource = std::function<Tensor(const LogicalTensor&)>;

WeightSource weights_of(Model& model);
WeightSource weights_of(CheckpointReader& reader, at::ScalarType dtype);

struct HfExportOptions {
  std::optional<HfFamily> family;     // none: the one that expresses the config
  at::ScalarType dtype = at::kFloat;  // of the files, but for what keeps fp32 (hf_folder.h)
  uint64_t max_shard_bytes = 5'000'000'000;
  Json token_ids = Json::object();  // as HfFolder::token_ids
  Json generation_config = nullptr;
  std::vector<ExtraFile> tokenizer_files;
  bool overwrite = false;
  ByteProgress progress;
};

struct HfExportReport {
  HfFamily family = HfFamily::kGpt2;
  std::vector<std::string> weight_files;
  int64_t num_parameters = 0;
  uint64_t bytes = 0;  // of weights
};

HfExportReport export_hf(const ModelConfig& config, const WeightSource& weights, const std::string& folder,
                         const HfExportOptions& options);

// "5GB", "500 MB", "2GiB", "1000000"; Error(kUsage) at `where`.
uint64_t parse_byte_size(const std::string& text, const std::string& where);

}  // namespace phalanx
