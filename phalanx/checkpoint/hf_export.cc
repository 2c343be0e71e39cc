#include "phalanx/checkpoint/hf_export.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <unordered_map>

#include "phalanx/arch/hf_names.h"
#include "phalanx/base/error.h"
#include "phalanx/checkpoint/hf_folder.h"
#include "phalanx/checkpoint/hf_weight_files.h"
#include "phalanx/checkpoint/model_state.h"
#include "phalanx/checkpoint/tokenizer_files.h"

namespace phalanx {
namespace {

constexpr const char* kGenerationConfigName = "generation_config.json";

// A tensor of the result: our logical tensors one below the other, then maybe transposed or given a dim in the middle.
struct OutTensor {
  std::string name;
  Shape shape;
  bool transpose = false;
  bool unit_middle = false;
  at::ScalarType dtype = at::kFloat;
  std::vector<const LogicalTensor*> parts;
  uint64_t bytes = 0;
};

using Shard = std::vector<const OutTensor*>;

std::vector<OutTensor> plan_tensors(const ModelConfig& config, HfFamily family, const ParameterTable& table,
                                    at::ScalarType dtype) {
  std::unordered_map<std::string, const LogicalTensor*> logical;
  for (const LogicalTensor* tensor : table.logical_tensors()) logical.emplace(tensor->name, tensor);
  std::vector<OutTensor> tensors;
  std::unordered_map<std::string, size_t> places;
  for (const HfMapping& mapping : hf_mapping(config, family, table)) {
    const auto [it, is_new] = places.emplace(mapping.hf_name, tensors.size());
    const LogicalTensor* part = logical.at(mapping.logical);
    if (is_new) {
      tensors.push_back({.name = mapping.hf_name,
                         .shape = mapping.hf_shape,
                         .transpose = mapping.transpose,
                         .unit_middle = mapping.unit_middle,
                         .dtype = dtype_of(*part, dtype)});
    }
    OutTensor& tensor = tensors[it->second];
    tensor.parts.push_back(part);
    tensor.bytes = dense_bytes(file_dtype_of(tensor.dtype), tensor.shape).value();
  }
  return tensors;
}

// In order; a shard ends before the tensor that would make it too large. A tensor that alone is too large stands alone.
std::vector<Shard> cut_shards(const std::vector<OutTensor>& tensors, uint64_t max_bytes) {
  std::vector<Shard> shards(1);
  uint64_t bytes = 0;
  for (const OutTensor& tensor : tensors) {
    if (!shards.back().empty() && bytes + tensor.bytes > max_bytes) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().push_back(&tensor);
    bytes += tensor.bytes;
  }
  return shards;
}

std::string shard_name(size_t index, size_t count) {
  if (count == 1) return kHfSingleName;
  return fmt::format("model-{:05}-of-{:05}.safetensors", index + 1, count);
}

Tensor assemble(const OutTensor& out, const WeightSource& weights) {
  std::vector<Tensor> parts;
  for (const LogicalTensor* part : out.parts) parts.push_back(weights(*part));
  Tensor whole = parts.size() == 1 ? parts[0] : at::cat(parts, 0);
  if (out.transpose) whole = whole.t();
  if (out.unit_middle) whole = whole.unsqueeze(1);
  PHALANX_CHECK(whole.sizes().equals(out.shape), "assembled another shape for " + out.name);
  return convert_checked(whole, out.dtype, out.name);
}

class Exporter {
 public:
  Exporter(const WeightSource& weights, const HfExportOptions& options)
      : weights_(weights), options_(options) {}

  void write_shard(const std::string& path, const Shard& shard) {
    std::vector<SafetensorsDeclaration> declarations;
    for (const OutTensor* tensor : shard) {
      declarations.push_back({tensor->name, file_dtype_of(tensor->dtype), tensor->shape});
    }
    SafetensorsWriter writer(path, std::move(declarations), {{"format", "pt"}});
    for (const OutTensor* tensor : shard) {
      writer.write(tensor->name, bytes_of(assemble(*tensor, weights_)));
      done_ += tensor->bytes;
      if (options_.progress) options_.progress(done_);
    }
    writer.commit();
  }

 private:
  const WeightSource& weights_;
  const HfExportOptions& options_;
  uint64_t done_ = 0;
};

std::string index_text(const std::vector<Shard>& shards, const HfExportReport& report) {
  std::map<std::string, std::string> places;
  for (size_t i = 0; i < shards.size(); ++i) {
    for (const OutTensor* tensor : shards[i]) places[tensor->name] = report.weight_files[i];
  }
  Json map = Json::object();
  for (const auto& [name, file] : places) map[name] = file;
  const Json index = {
      {"metadata", {{"total_parameters", report.num_parameters}, {"total_size", report.bytes}}},
      {"weight_map", std::move(map)}};
  return index.dump(2) + "\n";
}

std::string config_text(const ModelConfig& config, HfFamily family, const HfExportOptions& options) {
  Json json = hf_config_from_model(config, family);
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
    if (options.token_ids.contains(key)) json[key] = options.token_ids[key];
  }
  // Version 5 of transformers writes the first, version 4 reads only the second.
  json["dtype"] = dtype_word(options.dtype);
  json["torch_dtype"] = dtype_word(options.dtype);
  return json.dump(2) + "\n";
}

bool is_export_output(const std::string& name) {
  return name == kHfConfigName || name == kGenerationConfigName || name == kHfIndexName ||
         (name.starts_with("model") && name.ends_with(".safetensors")) || is_tokenizer_file(name);
}

}  // namespace

WeightSource weights_of(Model& model) {
  struct Home {
    const Parameter* parameter;
    const Segment* segment;
  };
  std::unordered_map<std::string, Home> homes;
  for (const Parameter* parameter : model.parameters()) {
    for (const Segment& segment : parameter->segments) homes[segment.name] = {parameter, &segment};
  }
  return [homes = std::move(homes)](const LogicalTensor& tensor) {
    const Home& home = homes.at(tensor.name);
    PHALANX_CHECK(home.segment->global_box == Box::whole(tensor.shape),
                  "a part of " + tensor.name + " lies elsewhere");
    return view_of(home.parameter->data, home.segment->local_box);
  };
}

WeightSource weights_of(CheckpointReader& reader, at::ScalarType dtype) {
  const at::ScalarType stored = stored_weight_dtype(reader);
  const bool wider = at::promote_types(stored, dtype) != stored;
  return [&reader, wider](const LogicalTensor& tensor) {
    const std::string master = kMasterPrefix + tensor.name;
    const bool take_master = wider && reader.contains(master);
    return reader.read_whole(take_master ? master : kWeightPrefix + tensor.name, tensor.shape);
  };
}

HfExportReport export_hf(const ModelConfig& config, const WeightSource& weights, const std::string& folder,
                         const HfExportOptions& options) {
  HfExportReport report;
  report.family = options.family ? *options.family : hf_family_for(config);
  require_hf_family(config, report.family);
  require_replaceable(folder, options.overwrite, is_export_output);
  const ParameterTable table = make_parameter_table(config);
  const std::vector<OutTensor> tensors = plan_tensors(config, report.family, table, options.dtype);
  for (const OutTensor& tensor : tensors) report.bytes += tensor.bytes;
  report.num_parameters = table.num_parameters();

  OutputFolder output(folder);
  const std::vector<Shard> shards = cut_shards(tensors, options.max_shard_bytes);
  Exporter exporter(weights, options);
  for (size_t i = 0; i < shards.size(); ++i) {
    report.weight_files.push_back(shard_name(i, shards.size()));
    exporter.write_shard(output.path() + "/" + report.weight_files.back(), shards[i]);
  }
  if (shards.size() > 1) output.add({kHfIndexName, index_text(shards, report)});
  output.add({kHfConfigName, config_text(config, report.family, options)});
  if (!options.generation_config.is_null()) {
    output.add({kGenerationConfigName, options.generation_config.dump(2) + "\n"});
  }
  for (const ExtraFile& file : options.tokenizer_files) output.add(file);
  output.publish();
  return report;
}

uint64_t parse_byte_size(const std::string& text, const std::string& where) {
  struct Unit {
    std::string_view name;
    double bytes;
  };
  constexpr auto kUnits = std::to_array<Unit>({{"", 1},
                                               {"B", 1},
                                               {"KB", 1e3},
                                               {"MB", 1e6},
                                               {"GB", 1e9},
                                               {"TB", 1e12},
                                               {"KiB", 0x1p10},
                                               {"MiB", 0x1p20},
                                               {"GiB", 0x1p30},
                                               {"TiB", 0x1p40}});
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  const auto it = std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& u) { return u.name == unit; });
  const double bytes = it == kUnits.end() ? 0 : number * it->bytes;
  if (error == std::errc() && bytes >= 1 && bytes < 0x1p62) return static_cast<uint64_t>(bytes);
  throw Error(ErrorKind::kUsage, {.where = where,
                                  .got = "'" + text + "'",
                                  .needed = "a size of at least a byte",
                                  .fix = "write 5GB or 500MB"});
}

}  // namespace phalanx
