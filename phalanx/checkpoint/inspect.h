// File: phalanx/checkpoint/inspect.h
//
// Purpose: what is in a checkpoint folder, a Hugging Face folder or a single safetensors file; and whether it is whole.
// Contract: describe reads headers only and gives
//   {"version": 1, "kind": "checkpoint|huggingface|safetensors", "path", "step" (or null), "parameters", "bytes",
//    "files": [{"name", "size", "xxh3" (checkpoints)}], "model": our model section or null, "metadata",
//    "tensors": [{"name", "dtype", "shape", "boxes": [{"begin", "end", "file", "key"}]}], "problem" (when there is one)}
//   `parameters` counts each logical weight once; without a known model, every element. `problem` says why a Hugging Face
//   folder cannot be imported.
//   verify reads every byte: sizes, checksums, that the boxes cover each tensor exactly, and every value. A Hugging Face
//   folder must be one we can import, with a tied head equal to the embedding. What is not as it should be is an Error;
//   values that are not finite are counted, not refused.
// Units: bytes.
#pragma once

#include <string>
#include <vector>

#include "phalanx/base/json.h"
#include "phalanx/checkpoint/file_tensor.h"

namespace phalanx {

enum class WeightsKind { kCheckpoint, kHuggingFace, kSafetensors };

// By what lies at `path`: a file, a folder with config.json and no manifest, else taken for a checkpoint.
WeightsKind weights_kind(const std::string& path);

Json describe_weights(const std::string& path);
// The same for people: several lines.
std::string weights_text(const Json& description);

struct VerifyReport {
  struct Tensor {
    std::string name;
    NonFinite counted;
  };
  size_t num_files = 0;
  size_t num_tensors = 0;
  uint64_t bytes = 0;
  std::vector<Tensor> non_finite;  // only those that have any
};

// `progress` runs to weights_read_bytes(path).
VerifyReport verify_weights(const std::string& path, const ByteProgress& progress);
uint64_t weights_read_bytes(const std::string& path);

}  // namespace phalanx
