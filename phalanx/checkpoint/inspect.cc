#include "phalanx/checkpoint/inspect.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <filesystem>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/checkpoint/hf_folder.h"
#include "phalanx/checkpoint/model_state.h"
#include "phalanx/shard/checksum.h"

namespace phalanx {
namespace {

namespace fs = std::filesystem;

Json empty_description(const std::string& kind, const std::string& path) {
  return {{"version", 1},
          {"kind", kind},
          {"path", path},
          {"step", nullptr},
          {"parameters", 0},
          {"bytes", 0},
          {"model", nullptr},
          {"files", Json::array()},
          {"metadata", Json::object()},
          {"tensors", Json::array()}};
}

Json box_json(const Box& box, const std::string& file, const std::string& key) {
  return {{"begin", box.begin}, {"end", box.end}, {"file", file}, {"key", key}};
}

Json describe_checkpoint(const std::string& path) {
  const CheckpointReader reader(path, /*verify_checksums=*/false);
  Json out = empty_description("checkpoint", path);
  const Json& metadata = reader.metadata();
  out["metadata"] = metadata;
  if (metadata.is_object() && metadata.contains("step")) out["step"] = metadata["step"];
  if (metadata.is_object() && metadata.contains("config")) {
    out["model"] = model_section(stored_model_config(reader))["model"];
  }
  uint64_t bytes = 0;
  for (const StoredFile& file : reader.manifest().files) {
    out["files"].push_back(
        {{"name", file.name}, {"size", file.size}, {"xxh3", checksum_to_text(file.checksum)}});
    bytes += file.size;
  }
  int64_t weights = 0;
  int64_t all = 0;
  for (const StoredTensor& tensor : reader.manifest().tensors) {
    Json boxes = Json::array();
    for (const StoredBox& stored : tensor.boxes)
      boxes.push_back(box_json(stored.box, stored.file, stored.key));
    out["tensors"].push_back({{"name", tensor.name},
                              {"dtype", dtype_name(tensor.dtype)},
                              {"shape", tensor.shape},
                              {"boxes", std::move(boxes)}});
    all += num_elements(tensor.shape);
    if (tensor.name.starts_with(kWeightPrefix)) weights += num_elements(tensor.shape);
  }
  out["parameters"] = weights > 0 ? weights : all;
  out["bytes"] = bytes;
  return out;
}

// Adds a file and its tensors; returns the number of elements.
int64_t add_file(Json& out, const SafetensorsFile& file) {
  const std::string name = fs::path(file.path()).filename().string();
  out["files"].push_back({{"name", name}, {"size", file.file_bytes().size()}});
  int64_t elements = 0;
  for (const SafetensorsEntry& entry : file.header().entries) {
    out["tensors"].push_back({{"name", entry.name},
                              {"dtype", dtype_name(entry.dtype)},
                              {"shape", entry.shape},
                              {"boxes", Json::array({box_json(Box::whole(entry.shape), name, entry.name)})}});
    elements += num_elements(entry.shape);
  }
  for (const auto& [key, value] : file.header().metadata) out["metadata"][key] = value;
  return elements;
}

Json describe_hf(const std::string& path) {
  Json out = empty_description("huggingface", path);
  const HfWeightFiles files(path);
  int64_t elements = 0;
  for (const auto& file : files.files()) elements += add_file(out, *file);
  out["parameters"] = elements;
  out["bytes"] = files.bytes();
  try {
    const HfFolder folder(path);
    out["model"] = model_section(folder.config())["model"];
    out["parameters"] = folder.table().num_parameters();
  } catch (const Error& error) {
    out["problem"] = error.what();
  }
  return out;
}

Json describe_file(const std::string& path) {
  Json out = empty_description("safetensors", path);
  const SafetensorsFile file(path);
  out["parameters"] = add_file(out, file);
  out["bytes"] = file.file_bytes().size();
  return out;
}

class Verifier {
 public:
  explicit Verifier(const ByteProgress& progress) : progress_(progress) {}

  void check_file(const std::string& folder, const StoredFile& listed) {
    constexpr size_t kPiece = size_t{64} << 20;
    const std::string path = folder + "/" + listed.name;
    const MappedFile map(path);
    Checksum sum;
    for (size_t begin = 0; begin < map.bytes().size(); begin += kPiece) {
      const auto piece = map.bytes().subspan(begin, std::min(kPiece, map.bytes().size() - begin));
      sum.update(piece);
      advance(piece.size());
    }
    report_.bytes += map.bytes().size();
    ++report_.num_files;
    if (map.bytes().size() == listed.size && sum.digest() == listed.checksum) return;
    throw Error(ErrorKind::kBadInput, {.where = path,
                                       .got = fmt::format("{} bytes with the checksum {}", map.bytes().size(),
                                                          checksum_to_text(sum.digest())),
                                       .needed = fmt::format("{} bytes with {}, as the manifest says",
                                                             listed.size, checksum_to_text(listed.checksum)),
                                       .fix = "the checkpoint is damaged; use an earlier one"});
  }

  void count_file(const SafetensorsFile& file) {
    ++report_.num_files;
    report_.bytes += file.file_bytes().size();
    for (const SafetensorsEntry& entry : file.header().entries) {
      add(entry.name, count_non_finite(tensor_over(file.bytes(entry), entry.dtype, entry.shape)));
      advance(entry.end - entry.begin);
    }
  }

  void count_tensor(CheckpointReader& reader, const StoredTensor& tensor) {
    NonFinite counted;
    for (const StoredBox& stored : tensor.boxes) {
      const at::Tensor values = reader.stored_box(tensor, stored);
      const NonFinite part = count_non_finite(values);
      counted.nan += part.nan;
      counted.inf += part.inf;
      advance(values.nbytes());
    }
    add(tensor.name, counted);
  }

  const VerifyReport& report() const { return report_; }

 private:
  void add(const std::string& name, const NonFinite& counted) {
    ++report_.num_tensors;
    if (counted.any()) report_.non_finite.push_back({name, counted});
  }

  void advance(uint64_t bytes) {
    done_ += bytes;
    if (progress_) progress_(done_);
  }

  const ByteProgress& progress_;
  VerifyReport report_;
  uint64_t done_ = 0;
};

}  // namespace

WeightsKind weights_kind(const std::string& path) {
  std::error_code ignored;
  if (fs::is_regular_file(path, ignored)) return WeightsKind::kSafetensors;
  return HfFolder::looks_like(path) ? WeightsKind::kHuggingFace : WeightsKind::kCheckpoint;
}

Json describe_weights(const std::string& path) {
  switch (weights_kind(path)) {
    case WeightsKind::kSafetensors:
      return describe_file(path);
    case WeightsKind::kHuggingFace:
      return describe_hf(path);
    case WeightsKind::kCheckpoint:
      break;
  }
  return describe_checkpoint(path);
}

VerifyReport verify_weights(const std::string& path, const ByteProgress& progress) {
  Verifier verifier(progress);
  switch (weights_kind(path)) {
    case WeightsKind::kSafetensors:
      verifier.count_file(SafetensorsFile(path));
      return verifier.report();
    case WeightsKind::kHuggingFace: {
      const HfFolder folder(path);
      folder.check_tied_head();
      for (const auto& file : folder.files().files()) verifier.count_file(*file);
      return verifier.report();
    }
    case WeightsKind::kCheckpoint:
      break;
  }
  // The manifest is refused on reading unless its boxes cover every tensor exactly.
  CheckpointReader reader(path, /*verify_checksums=*/false);
  for (const StoredFile& file : reader.manifest().files) verifier.check_file(path, file);
  for (const StoredTensor& tensor : reader.manifest().tensors) verifier.count_tensor(reader, tensor);
  return verifier.report();
}

uint64_t weights_read_bytes(const std::string& path) {
  switch (weights_kind(path)) {
    case WeightsKind::kSafetensors:
      return fs::file_size(path);
    case WeightsKind::kHuggingFace:
      return HfWeightFiles(path).bytes();
    case WeightsKind::kCheckpoint:
      break;
  }
  uint64_t bytes = 0;
  for (const StoredFile& file : read_manifest(path).files)
    bytes += 2 * file.size;  // the sum, then the values
  return bytes;
}

}  // namespace phalanx
