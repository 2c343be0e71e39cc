#include "phalanx/checkpoint/hf_weight_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/base/json.h"
#include "phalanx/checkpoint/output_folder.h"

namespace phalanx {
namespace {

constexpr const char* kNeeded = "model.safetensors, or model.safetensors.index.json and its shards";

// What is there instead of safetensors files, so that the message can name it.
[[noreturn]] void throw_no_weights(const std::string& folder) {
  std::string other;
  std::string half;
  for (const std::string& name : names_in(folder)) {
    if (name.starts_with("model") && name.ends_with(".safetensors")) half = name;
    for (const char* end :
         {".bin", ".bin.index.json", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".safetensors"}) {
      if (name.ends_with(end) && other.empty()) other = name;
    }
  }
  if (!half.empty()) {
    bad_input(folder, half + " without " + kHfIndexName, kNeeded, "fetch the missing files");
  }
  if (!other.empty()) {
    bad_input(folder, other + ", which does not hold a model in a form that we read", kNeeded,
              "convert to safetensors: load the folder with transformers and call save_pretrained(OUT)");
  }
  bad_input(folder, "no weights", kNeeded, "check the path, and that the download is complete");
}

// A clone without git-lfs holds text where weights should be.
void refuse_lfs_pointer(const std::string& path) {
  constexpr std::string_view kStart = "version https://git-lfs";
  const MappedFile file(path);
  if (!file.text().starts_with(kStart)) return;
  bad_input(path, "a Git LFS pointer", "the weights themselves", "run `git lfs pull` in that folder");
}

}  // namespace

HfWeightFiles::HfWeightFiles(const std::string& folder) {
  if (path_exists(folder + "/" + kHfSingleName)) {
    open(folder + "/" + kHfSingleName);
  } else if (path_exists(folder + "/" + kHfIndexName)) {
    read_index(folder);
  } else {
    throw_no_weights(folder);
  }
}

void HfWeightFiles::open(const std::string& path) {
  refuse_lfs_pointer(path);
  files_.push_back(std::make_unique<SafetensorsFile>(path));
  const SafetensorsFile& file = *files_.back();
  for (const SafetensorsEntry& entry : file.header().entries) {
    const auto [it, is_new] = places_.emplace(entry.name, Place{&file, &entry});
    if (is_new) continue;
    bad_input(fmt::format("{}: tensor '{}'", path, entry.name),
              "a second copy, the first is in " + it->second.file->path(), "each tensor in one file",
              "remove the shard that does not belong here");
  }
}

void HfWeightFiles::read_index(const std::string& folder) {
  const std::string path = folder + "/" + kHfIndexName;
  const Json index = read_json_file(path);
  const Json map = json_get<Json>(index, "weight_map", path);
  if (!map.is_object() || map.empty())
    throw_json_field(path, "weight_map", map.dump().substr(0, 80), "tensor: file");
  std::map<std::string, const SafetensorsFile*> shards;
  for (const auto& [tensor, name] : map.items()) {
    const std::string where = fmt::format("{}: tensor '{}'", path, tensor.substr(0, 200));
    if (!name.is_string())
      bad_input(where, name.dump().substr(0, 80), "the name of a file", "fetch the index again");
    const std::string shard = name.get<std::string>();
    // The index is not trusted: it must not lead out of the folder.
    if (shard.find('/') != std::string::npos || !shard.ends_with(".safetensors")) {
      bad_input(where, "the file '" + shard.substr(0, 200) + "'", "a .safetensors file beside the index",
                "fetch the index again");
    }
    const SafetensorsFile*& file = shards[shard];
    if (file == nullptr) {
      if (!path_exists(folder + "/" + shard)) {
        bad_input(where, "the file '" + shard + "', which is not there", "every shard that the index lists",
                  "fetch the missing shard");
      }
      open(folder + "/" + shard);
      file = files_.back().get();
    }
    if (file->find(tensor) == nullptr) {
      bad_input(where, "no such tensor in " + shard, "each tensor in the file that the index lists",
                "the index belongs to other shards; fetch both again");
    }
  }
}

std::vector<HfTensorInfo> HfWeightFiles::tensors() const {
  std::vector<HfTensorInfo> list;
  for (const auto& file : files_) {
    for (const SafetensorsEntry& entry : file->header().entries) list.push_back({entry.name, entry.shape});
  }
  return list;
}

uint64_t HfWeightFiles::bytes() const {
  uint64_t sum = 0;
  for (const auto& file : files_) sum += file->file_bytes().size();
  return sum;
}

const HfWeightFiles::Place& HfWeightFiles::at(std::string_view name) const {
  const auto it = places_.find(name);
  PHALANX_CHECK(it != places_.end(), fmt::format("no tensor {} in these files", name));
  return it->second;
}

Tensor HfWeightFiles::tensor(std::string_view name) const {
  const Place& place = at(name);
  return tensor_over(place.file->bytes(*place.entry), place.entry->dtype, place.entry->shape);
}

}  // namespace phalanx
