#include "phalanx/checkpoint/checkpoint.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/shard/reshard.h"
#include "phalanx/tensor/parameter.h"

namespace phalanx {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFileName = "rank_00000.safetensors";

[[noreturn]] void throw_damaged(const std::string& where, const std::string& got, const std::string& needed) {
  throw Error(ErrorKind::kBadInput, {.where = where,
                                     .got = got,
                                     .needed = needed + ", as the manifest says",
                                     .fix = "the checkpoint is damaged; use an earlier one"});
}

}  // namespace

void write_lazy_checkpoint(const std::string& folder, const std::vector<LazyBox>& tensors,
                           const Json& metadata, const std::vector<ExtraFile>& extra_files,
                           const ByteProgress& progress) {
  OutputFolder output(folder);
  Manifest manifest;
  manifest.metadata = metadata;
  // Wide dtypes first, so that every tensor in the file is aligned and can be mapped without a copy.
  std::vector<const LazyBox*> order;
  for (const LazyBox& item : tensors) order.push_back(&item);
  std::stable_sort(order.begin(), order.end(), [](const LazyBox* a, const LazyBox* b) {
    return c10::elementSize(a->dtype) > c10::elementSize(b->dtype);
  });
  std::vector<SafetensorsDeclaration> declarations;
  for (const LazyBox* item : order) {
    const FileDtype dtype = file_dtype_of(item->dtype);
    declarations.push_back({item->name, dtype, item->box.shape()});
    manifest.tensors.push_back({item->name, dtype, item->global_shape, {{item->box, kFileName, item->name}}});
  }
  SafetensorsWriter writer(output.path() + "/" + kFileName, std::move(declarations));
  uint64_t done = 0;
  for (const LazyBox* item : order) {
    const Tensor values = convert_checked(item->values(), item->dtype, item->name);
    PHALANX_CHECK(values.sizes().equals(item->box.shape()), "values of another shape for " + item->name);
    writer.write(item->name, bytes_of(values));
    done += values.nbytes();
    if (progress) progress(done);
  }
  const WrittenFile written = writer.commit();
  manifest.files.push_back({kFileName, written.size, written.checksum});
  for (const ExtraFile& file : extra_files) output.add(file);
  write_manifest(output.path(), manifest);
  output.publish();
}

void write_checkpoint(const std::string& folder, const std::vector<TensorBox>& tensors, const Json& metadata,
                      const std::vector<ExtraFile>& extra_files) {
  std::vector<LazyBox> lazy;
  for (const TensorBox& item : tensors) {
    lazy.push_back(
        {item.name, item.global_shape, item.box, item.view.scalar_type(), [&item] { return item.view; }});
  }
  write_lazy_checkpoint(folder, lazy, metadata, extra_files, {});
}

CheckpointReader::CheckpointReader(const std::string& folder, bool verify_checksums)
    : folder_(folder), manifest_(read_manifest(folder)), index_(std::make_unique<ManifestIndex>(manifest_)) {
  if (verify_checksums) {
    verify_checkpoint_files(manifest_, folder_);
    return;
  }
  for (const StoredFile& listed : manifest_.files) {
    const std::string path = folder_ + "/" + listed.name;
    std::error_code error;
    const uint64_t size = fs::file_size(path, error);
    if (error) {
      throw Error(ErrorKind::kIo, {.where = path,
                                   .got = "no size: " + error.message(),
                                   .fix = "the checkpoint lacks a file; use an earlier one"});
    }
    if (size != listed.size)
      throw_damaged(path, fmt::format("{} bytes", size), fmt::format("{} bytes", listed.size));
  }
}

SafetensorsFile& CheckpointReader::file(const std::string& name) {
  std::unique_ptr<SafetensorsFile>& entry = files_[name];
  if (!entry) entry = std::make_unique<SafetensorsFile>(folder_ + "/" + name);
  return *entry;
}

// The manifest and the file must agree before bytes are taken for a tensor.
Tensor CheckpointReader::stored(const std::string& name, const std::string& key, FileDtype dtype,
                                const Shape& shape) {
  SafetensorsFile& source = file(name);
  const SafetensorsEntry& entry = source.at(key);
  if (entry.dtype != dtype || entry.shape != shape) {
    throw_damaged(fmt::format("{}: tensor '{}'", source.path(), key),
                  fmt::format("{} of shape {}", dtype_name(entry.dtype), to_string(entry.shape)),
                  fmt::format("{} of shape {}", dtype_name(dtype), to_string(shape)));
  }
  return tensor_over(source.bytes(entry), dtype, shape);
}

Tensor CheckpointReader::stored_box(const StoredTensor& tensor, const StoredBox& box) {
  return stored(box.file, box.key, tensor.dtype, box.box.shape());
}

void CheckpointReader::read(const TensorBox& destination) {
  for (const CopyStep& step :
       plan_copies(*index_, {destination.name, destination.global_shape, destination.box}, folder_)) {
    const Tensor source = stored(step.file, step.key, step.dtype, step.stored_shape);
    view_of(destination.view, step.destination).copy_(view_of(source, step.source));
  }
}

Tensor CheckpointReader::read_whole(const std::string& name, const Shape& shape) {
  const StoredTensor* tensor = find(name);
  if (tensor != nullptr && tensor->shape == shape && tensor->boxes.size() == 1) {
    return stored_box(*tensor, tensor->boxes.front());
  }
  const FileDtype dtype = tensor != nullptr ? tensor->dtype : FileDtype::kF32;
  const Tensor whole = at::empty(shape, at::TensorOptions(scalar_type_of(dtype)));
  read({name, shape, Box::whole(shape), whole});
  return whole;
}

std::string step_folder(const std::string& checkpoints, int64_t step) {
  return checkpoints + "/step_" + std::to_string(step);
}

std::vector<int64_t> complete_steps(const std::string& checkpoints) {
  std::vector<int64_t> steps;
  for (const std::string& name : names_in(checkpoints)) {
    if (!name.starts_with("step_")) continue;
    const std::string digits = name.substr(5);
    if (digits.empty() || digits.size() > 18 || digits.find_first_not_of("0123456789") != std::string::npos)
      continue;
    if (path_exists(checkpoints + "/" + name + "/" + kManifestFileName)) steps.push_back(std::stoll(digits));
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
