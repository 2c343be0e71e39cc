// File: phalanx/checkpoint/hf_weight_files.h
//
// Purpose: the tensors of a Hugging Face folder, whatever files they lie in: model.safetensors, or shards that
//   model.safetensors.index.json lists. Knows no architecture.
// Contract: every file is mapped and its header checked. The index and the shards must agree: each listed tensor lies in
//   the file it is listed for, no tensor lies in two. As in transformers a single file goes before an index.
// Errors: Error(kBadInput) naming the file or tensor; a folder with weights of another format is told which one it has.
// Source: the layout that save_pretrained of transformers writes.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "phalanx/arch/hf_names.h"
#include "phalanx/checkpoint/file_tensor.h"
#include "phalanx/shard/safetensors.h"

namespace phalanx {

inline constexpr const char* kHfConfigName = "config.json";
inline constexpr const char* kHfSingleName = "model.safetensors";
inline constexpr const char* kHfIndexName = "model.safetensors.index.json";

class HfWeightFiles {
 public:
  explicit HfWeightFiles(const std::string& folder);

  const std::vector<std::unique_ptr<SafetensorsFile>>& files() const { return files_; }
  std::vector<HfTensorInfo> tensors() const;  // file by file, in header order
  uint64_t bytes() const;                     // of all files

  // By the name in the file, which must be there.
  Tensor tensor(std::string_view name) const;
  FileDtype dtype(std::string_view name) const { return at(name).entry->dtype; }

 private:
  struct Place {
    const SafetensorsFile* file = nullptr;
    const SafetensorsEntry* entry = nullptr;
  };
  const Place& at(std::string_view name) const;
  void open(const std::string& path);
  void read_index(const std::string& folder);

  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::unordered_map<std::string_view, Place> places_;
};

}  // namespace phalanx
