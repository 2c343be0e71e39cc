// File: phalanx/checkpoint/checkpoint.h
//
// Purpose: a folder of logical tensors (DESIGN 2.10): boxes in safetensors files, manifest last. Layout is never part of
//   its meaning: a reader asks for boxes of logical tensors and gets them from whatever files hold them.
// Contract: a checkpoint appears under its name only when it is complete: files go into a temporary folder beside it,
//   which is renamed after the manifest is on disk. A failed save leaves earlier checkpoints intact and nothing behind.
//   Opening checks sizes, and checksums unless told not to. read converts to the dtype of the destination.
// Errors: Error(kIo) for the disk; Error(kBadInput) naming file, tensor and box for content.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "phalanx/shard/manifest.h"
#include "phalanx/shard/safetensors.h"

namespace phalanx {

using at::Tensor;

// A box of a logical tensor in memory. `view` has the box's shape and may be strided.
struct TensorBox {
  std::string name;
  Shape global_shape;
  Box box;
  Tensor view;
};

void write_checkpoint(const std::string& folder, const std::vector<TensorBox>& tensors, const Json& metadata);

class CheckpointReader {
 public:
  explicit CheckpointReader(const std::string& folder, bool verify_checksums = true);

  const std::string& folder() const { return folder_; }
  const Json& metadata() const { return manifest_.metadata; }
  const Manifest& manifest() const { return manifest_; }
  bool contains(const std::string& name) const { return index_->find(name) != nullptr; }
  void read(const TensorBox& destination);

 private:
  SafetensorsFile& file(const std::string& name);

  std::string folder_;
  Manifest manifest_;
  std::unique_ptr<ManifestIndex> index_;
  std::map<std::string, std::unique_ptr<SafetensorsFile>> files_;
};

// RUN/checkpoints/step_N. Only folders with a manifest count; others are what a killed save left.
std::string step_folder(const std::string& checkpoints, int64_t step);
std::optional<int64_t> newest_step(const std::string& checkpoints);
std::vector<int64_t> complete_steps(const std::string& checkpoints);

// Between the words of files and of LibTorch.
FileDtype file_dtype_of(at::ScalarType dtype);
at::ScalarType scalar_type_of(FileDtype dtype);

// A tensor over mapped bytes (copied only when they are not aligned for the dtype). Lives as long as the map.
Tensor tensor_over(std::span<const std::byte> bytes, FileDtype dtype, const Shape& shape);

}  // namespace phalanx
