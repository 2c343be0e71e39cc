// File: phalanx/shard/manifest.h
//
// Purpose: what a checkpoint is: logical tensors, each cut into boxes, each box a tensor of a safetensors
// file. It is
//   written last, so a folder with a manifest is a complete checkpoint. No layout is part of it.
//   {"format": "phalanx-checkpoint", "version": 1, "metadata": {...},
//    "files": [{"name": "rank_00000.safetensors", "size": 1024, "xxh3": "16 hex digits"}],
//    "tensors": [{"name": "embedding.token.weight", "dtype": "F32", "shape": [512, 64],
//                 "boxes": [{"begin": [0, 0], "end": [512, 64], "file": "rank_00000.safetensors", "key":
//                 "..."}]}]}
// Contract: read and written alike only after validation: names unique, boxes inside the tensor and covering
// it exactly
//   once, files listed once and lying beside the manifest. Faults are Error(kBadInput) naming tensor and box.
//   A newer version is refused by number. `metadata` (step, config, ...) is the caller's and kept as it is.
// Units: sizes in bytes, boxes in elements.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "phalanx/base/json.h"
#include "phalanx/shard/file_dtype.h"

namespace phalanx {

inline constexpr int64_t kManifestVersion = 1;
inline constexpr const char* kManifestFileName = "manifest.json";

struct StoredFile {
  std::string name;  // relative to the manifest's folder, no separators
  uint64_t size = 0;
  uint64_t checksum = 0;
};

struct StoredBox {
  Box box;
  std::string file;
  std::string key;  // the name inside the file; that tensor has exactly the box's shape
};

struct StoredTensor {
  std::string name;
  FileDtype dtype = FileDtype::kF32;
  Shape shape;
  std::vector<StoredBox> boxes;
};

struct Manifest {
  Json metadata = Json::object();
  std::vector<StoredFile> files;
  std::vector<StoredTensor> tensors;
};

// Error(kBadInput) at `where` for the first rule of the contract that is broken.
void validate_manifest(const Manifest& manifest, const std::string& where);

Manifest parse_manifest(std::string_view text, const std::string& where);
std::string manifest_to_text(const Manifest& manifest);

// `folder` is the checkpoint's folder; the file is kManifestFileName in it.
Manifest read_manifest(const std::string& folder);
void write_manifest(const std::string& folder, const Manifest& manifest);

// Reads every file: size, checksum, and that each box is there with its dtype and shape. Error(kBadInput)
// names the first file or tensor that is not as the manifest says; a missing file is Error(kIo).
void verify_checkpoint_files(const Manifest& manifest, const std::string& folder);

// Finds tensors by name in constant time. The manifest must outlive it.
class ManifestIndex {
 public:
  explicit ManifestIndex(const Manifest& manifest);
  const StoredTensor* find(std::string_view name) const;  // null when absent
  const Manifest& manifest() const { return *manifest_; }

 private:
  const Manifest* manifest_;
  std::unordered_map<std::string_view, const StoredTensor*> tensors_;
};

}  // namespace phalanx
