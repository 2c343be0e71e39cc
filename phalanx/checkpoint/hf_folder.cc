#include "phalanx/checkpoint/hf_folder.h"

#include <ATen/ATen.h>

#include <cstring>
#include <filesystem>
#include <unordered_set>

#include <fmt/format.h>

#include "phalanx/arch/hf_json.h"
#include "phalanx/base/error.h"
#include "phalanx/base/fs.h"
#include "phalanx/shard/manifest.h"

namespace phalanx {
namespace {

constexpr const char* kGenerationConfigName = "generation_config.json";
constexpr const char* kTokenEmbedding = "embedding.token.weight";

Json read_hf_config(const std::string& folder) {
  const std::string path = folder + "/" + kHfConfigName;
  if (!path_exists(path)) {
    throw Error(ErrorKind::kBadInput, {.where = folder,
                                       .got = path_exists(folder) ? "no config.json in it" : "no such folder",
                                       .needed = "a Hugging Face model folder",
                                       .fix = "check the path, and that the download is complete"});
  }
  return parse_hf_json(read_file(path), path);
}

}  // namespace

bool HfFolder::looks_like(const std::string& path) {
  return path_exists(path + "/" + kHfConfigName) && !path_exists(path + "/" + kManifestFileName);
}

HfFolder::HfFolder(const std::string& folder)
    : path_(folder),
      config_json_(read_hf_config(folder)),
      family_(hf_family_of(config_json_, folder + "/" + kHfConfigName)),
      config_(model_config_from_hf(config_json_, folder + "/" + kHfConfigName)),
      table_(make_parameter_table(config_)),
      files_(folder) {
  HfImportPlan plan = plan_hf_import(config_, family_, table_, files_.tensors(), folder);
  dtype_ = common_dtype(plan);
  tied_head_ = plan.tied_head.value_or("");
  for (HfMapping& mapping : plan.tensors) {
    const std::string logical = mapping.logical;
    mappings_.emplace(logical, std::move(mapping));
  }
}

at::ScalarType HfFolder::common_dtype(const HfImportPlan& plan) const {
  std::unordered_set<std::string> kept;
  for (const LogicalTensor* tensor : table_.logical_tensors()) {
    if (tensor->keep_fp32) kept.insert(tensor->name);
  }
  std::optional<at::ScalarType> common;
  for (const HfMapping& mapping : plan.tensors) {
    const FileDtype stored = files_.dtype(mapping.hf_name);
    const at::ScalarType dtype = scalar_type_of(stored);
    if (!at::isFloatingType(dtype)) {
      throw Error(ErrorKind::kBadInput,
                  {.where = fmt::format("{}: tensor {}", path_, mapping.hf_name),
                   .got = fmt::format("elements of {}", dtype_name(stored)),
                   .needed = "F64, F32, BF16 or F16",
                   .fix = "quantized weights are not implemented; use the unquantized model"});
    }
    if (kept.contains(mapping.logical)) continue;
    common = common ? at::promote_types(*common, dtype) : dtype;
  }
  return common.value_or(at::kFloat);
}

Tensor HfFolder::tensor(const std::string& logical) const {
  const auto it = mappings_.find(logical);
  PHALANX_CHECK(it != mappings_.end(), "no logical tensor " + logical);
  const HfMapping& mapping = it->second;
  Tensor tensor = files_.tensor(mapping.hf_name);
  if (mapping.transpose) tensor = tensor.t();
  if (mapping.unit_middle) tensor = tensor.squeeze(1);
  if (mapping.rows) tensor = tensor.narrow(0, mapping.rows->begin, mapping.rows->end - mapping.rows->begin);
  return tensor;
}

void HfFolder::check_tied_head() const {
  if (tied_head_.empty()) return;
  Tensor head = files_.tensor(tied_head_);
  Tensor embedding = tensor(kTokenEmbedding);
  const at::ScalarType common = at::promote_types(head.scalar_type(), embedding.scalar_type());
  head = convert_checked(head, common, tied_head_);
  embedding = convert_checked(embedding, common, kTokenEmbedding);
  if (std::memcmp(head.const_data_ptr(), embedding.const_data_ptr(), head.nbytes()) == 0) return;
  const int64_t rows = head.ne(embedding).any(1).sum().item<int64_t>();
  throw Error(
      ErrorKind::kBadInput,
      {.where = fmt::format("{}: tensor {}", path_, tied_head_),
       .got = fmt::format("values that differ from the token embedding in {} of {} rows", rows, head.size(0)),
       .needed = "a copy of it, since config.json ties the two",
       .fix = "set \"tie_word_embeddings\": false in config.json if the head is its own"});
}

Json HfFolder::token_ids() const {
  Json ids = Json::object();
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
    const auto it = config_json_.find(key);
    ids[key] = it == config_json_.end() ? Json(nullptr) : *it;
  }
  return ids;
}

Json HfFolder::generation_config() const {
  const std::string path = path_ + "/" + kGenerationConfigName;
  return path_exists(path) ? read_json_file(path) : Json(nullptr);
}

at::ScalarType dtype_of(const LogicalTensor& tensor, at::ScalarType dtype) {
  return tensor.keep_fp32 ? at::promote_types(dtype, at::kFloat) : dtype;
}

void load_hf_weights(const HfFolder& folder, Model& model) {
  folder.check_tied_head();
  size_t filled = 0;
  for (Parameter* parameter : model.parameters()) {
    for (const Segment& segment : parameter->segments) {
      const std::string where = fmt::format("{}: logical tensor {}", folder.path(), segment.name);
      const std::string fix = "build the model from this folder's config";
      if (!folder.contains(segment.name)) {
        throw Error(
            ErrorKind::kBadInput,
            {.where = where, .got = "no such tensor", .needed = to_string(segment.global_shape), .fix = fix});
      }
      const Tensor stored = folder.tensor(segment.name);
      if (!stored.sizes().equals(segment.global_shape)) {
        throw Error(ErrorKind::kBadInput, {.where = where,
                                           .got = to_string(stored.sizes().vec()),
                                           .needed = to_string(segment.global_shape),
                                           .fix = fix});
      }
      view_of(parameter->data, segment.local_box).copy_(view_of(stored, segment.global_box));
      ++filled;
    }
  }
  const size_t all = folder.table().logical_tensors().size();
  if (filled == all) return;
  throw Error(ErrorKind::kBadInput, {.where = folder.path(),
                                     .got = fmt::format("{} logical tensors", all),
                                     .needed = fmt::format("the model's {}", filled),
                                     .fix = "build the model from this folder's config"});
}

}  // namespace phalanx
