// File: phalanx/checkpoint/checkpoint.h
//
// Purpose: a folder of logical tensors (DESIGN 2.10): boxes in safetensors files, manifest last. Layout is never part of
//   its meaning: a reader asks for boxes of logical tensors and gets them from whatever files hold them.
// Contract: a checkpoint appears under its name only when it is complete (output_folder.h): a failed or killed save
//   leaves earlier checkpoints intact. Opening checks sizes, and checksums unless told not to. read converts to the
//   dtype of the destination. Writing holds one tensor at a time beside what the caller holds.
// Errors: Error(kIo) for the disk; Error(kBadInput) naming file, tensor and box for content.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "phalanx/checkpoint/file_tensor.h"
#include "phalanx/checkpoint/output_folder.h"
#include "phalanx/shard/manifest.h"
#include "phalanx/shard/safetensors.h"

namespace phalanx {

// A box of a logical tensor in memory. `view` has the box's shape and may be strided.
struct TensorBox {
  std::string name;
  Shape global_shape;
  Box box;
  Tensor view;
};

void write_checkpoint(const std::string& folder, const std::vector<TensorBox>& tensors, const Json& metadata,
                      const std::vector<ExtraFile>& extra_files = {});

// A box whose values are made when their turn comes, so that a model larger than memory can be written.
struct LazyBox {
  std::string name;
  Shape global_shape;
  Box box;
  at::ScalarType dtype = at::kFloat;
  std::function<Tensor()> values;  // of the box's shape; converted to `dtype` by convert_checked
};

void write_lazy_checkpoint(const std::string& folder, const std::vector<LazyBox>& tensors,
                           const Json& metadata, const std::vector<ExtraFile>& extra_files,
                           const ByteProgress& progress);

class CheckpointReader {
 public:
  explicit CheckpointReader(const std::string& folder, bool verify_checksums = true);

  const std::string& folder() const { return folder_; }
  const Json& metadata() const { return manifest_.metadata; }
  const Manifest& manifest() const { return manifest_; }
  bool contains(const std::string& name) const { return find(name) != nullptr; }
  const StoredTensor* find(const std::string& name) const { return index_->find(name); }
  void read(const TensorBox& destination);
  // All of a tensor in its stored dtype: over mapped bytes (valid while the reader lives) when one box holds it.
  Tensor read_whole(const std::string& name, const Shape& shape);
  // One box as it is stored, over mapped bytes.
  Tensor stored_box(const StoredTensor& tensor, const StoredBox& box);

 private:
  SafetensorsFile& file(const std::string& name);
  Tensor stored(const std::string& file, const std::string& key, FileDtype dtype, const Shape& shape);

  std::string folder_;
  Manifest manifest_;
  std::unique_ptr<ManifestIndex> index_;
  std::map<std::string, std::unique_ptr<SafetensorsFile>> files_;
};

// RUN/checkpoints/step_N. Only folders with a manifest count; others are what a killed save left.
std::string step_folder(const std::string& checkpoints, int64_t step);
std::optional<int64_t> newest_step(const std::string& checkpoints);
std::vector<int64_t> complete_steps(const std::string& checkpoints);

}  // namespace phalanx
