#include "phalanx/checkpoint/checkpoint.h"

#include <ATen/ATen.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "phalanx/base/error.h"
#include "phalanx/base/log.h"
#include "phalanx/shard/reshard.h"
#include "phalanx/tensor/parameter.h"

namespace phalanx {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFileName = "rank_00000.safetensors";

// Removed unless it was renamed to its final name.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(const std::string& final_path)
      : final_path_(final_path), path_(final_path + ".tmp." + std::to_string(::getpid())) {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
    make_directories(path_);
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }

  void commit() {
    std::error_code error;
    fs::remove_all(final_path_, error);  // saving the same step again replaces it
    fs::rename(path_, final_path_, error);
    if (error) {
      throw Error(ErrorKind::kIo, {.where = final_path_, .got = "rename failed: " + error.message(),
                                   .fix = "check that you may write to that folder"});
    }
    path_.clear();
    sync_directory(fs::path(final_path_).parent_path().string());
  }

 private:
  std::string final_path_;
  std::string path_;
};

std::span<const std::byte> bytes_of(const Tensor& contiguous) {
  return {static_cast<const std::byte*>(contiguous.data_ptr()), contiguous.nbytes()};
}

}  // namespace

FileDtype file_dtype_of(at::ScalarType dtype) {
  switch (dtype) {
    case at::kDouble: return FileDtype::kF64;
    case at::kFloat: return FileDtype::kF32;
    case at::kBFloat16: return FileDtype::kBF16;
    case at::kHalf: return FileDtype::kF16;
    case at::kLong: return FileDtype::kI64;
    case at::kInt: return FileDtype::kI32;
    default: break;
  }
  PHALANX_CHECK(false, "no file dtype for this tensor");
}

at::ScalarType scalar_type_of(FileDtype dtype) {
  switch (dtype) {
    case FileDtype::kBool: return at::kBool;
    case FileDtype::kU8: return at::kByte;
    case FileDtype::kI8: return at::kChar;
    case FileDtype::kI16: return at::kShort;
    case FileDtype::kU16: return at::kUInt16;
    case FileDtype::kI32: return at::kInt;
    case FileDtype::kU32: return at::kUInt32;
    case FileDtype::kI64: return at::kLong;
    case FileDtype::kU64: return at::kUInt64;
    case FileDtype::kF16: return at::kHalf;
    case FileDtype::kBF16: return at::kBFloat16;
    case FileDtype::kF32: return at::kFloat;
    case FileDtype::kF64: return at::kDouble;
  }
  PHALANX_CHECK(false, "unknown file dtype");
}

Tensor tensor_over(std::span<const std::byte> bytes, FileDtype dtype, const Shape& shape) {
  const auto options = at::TensorOptions(scalar_type_of(dtype));
  if (bytes.empty()) return at::empty(shape, options);
  const auto address = reinterpret_cast<uintptr_t>(bytes.data());
  if (address % dtype_size(dtype) == 0) {
    return at::from_blob(const_cast<std::byte*>(bytes.data()), shape, options);
  }
  Tensor copy = at::empty(shape, options);
  std::memcpy(copy.data_ptr(), bytes.data(), bytes.size());
  return copy;
}

void write_checkpoint(const std::string& folder, const std::vector<TensorBox>& tensors, const Json& metadata) {
  TemporaryFolder temporary(folder);
  Manifest manifest;
  manifest.metadata = metadata;
  // Wide dtypes first, so that every tensor in the file is aligned and can be mapped without a copy.
  std::vector<const TensorBox*> order;
  for (const TensorBox& item : tensors) order.push_back(&item);
  std::stable_sort(order.begin(), order.end(), [](const TensorBox* a, const TensorBox* b) {
    return a->view.element_size() > b->view.element_size();
  });
  std::vector<SafetensorsDeclaration> declarations;
  for (const TensorBox* item : order) {
    const FileDtype dtype = file_dtype_of(item->view.scalar_type());
    declarations.push_back({item->name, dtype, item->box.shape()});
    manifest.tensors.push_back({item->name, dtype, item->global_shape, {{item->box, kFileName, item->name}}});
  }
  SafetensorsWriter writer(temporary.path() + "/" + kFileName, std::move(declarations));
  for (const TensorBox* item : order) {
    const Tensor contiguous = item->view.cpu().contiguous();
    writer.write(item->name, bytes_of(contiguous));
  }
  const WrittenFile written = writer.commit();
  manifest.files.push_back({kFileName, written.size, written.checksum});
  write_manifest(temporary.path(), manifest);
  temporary.commit();
}

CheckpointReader::CheckpointReader(const std::string& folder, bool verify_checksums)
    : folder_(folder), manifest_(read_manifest(folder)), index_(std::make_unique<ManifestIndex>(manifest_)) {
  if (verify_checksums) verify_checkpoint_files(manifest_, folder_);
}

SafetensorsFile& CheckpointReader::file(const std::string& name) {
  std::unique_ptr<SafetensorsFile>& entry = files_[name];
  if (!entry) entry = std::make_unique<SafetensorsFile>(folder_ + "/" + name);
  return *entry;
}

void CheckpointReader::read(const TensorBox& destination) {
  for (const CopyStep& step :
       plan_copies(*index_, {destination.name, destination.global_shape, destination.box}, folder_)) {
    SafetensorsFile& source = file(step.file);
    const Tensor stored = tensor_over(source.bytes(source.at(step.key)), step.dtype, step.stored_shape);
    view_of(destination.view, step.destination).copy_(view_of(stored, step.source));
  }
}

std::string step_folder(const std::string& checkpoints, int64_t step) {
  return checkpoints + "/step_" + std::to_string(step);
}

std::vector<int64_t> complete_steps(const std::string& checkpoints) {
  std::vector<int64_t> steps;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(checkpoints, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("step_", 0) != 0) continue;
    const std::string digits = name.substr(5);
    if (digits.empty() || digits.size() > 18 || digits.find_first_not_of("0123456789") != std::string::npos) continue;
    if (path_exists(entry.path().string() + "/" + kManifestFileName)) steps.push_back(std::stoll(digits));
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::optional<int64_t> newest_step(const std::string& checkpoints) {
  const std::vector<int64_t> steps = complete_steps(checkpoints);
  if (steps.empty()) return std::nullopt;
  return steps.back();
}

}  // namespace phalanx
