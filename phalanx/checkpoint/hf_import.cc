#include "phalanx/checkpoint/hf_import.h"

#include "phalanx/checkpoint/model_state.h"
#include "phalanx/checkpoint/tokenizer_files.h"
#include "phalanx/config/config_toml.h"

namespace phalanx {
namespace {

constexpr const char* kConfigFile = "config.toml";

ExtraFile config_toml(const HfFolder& folder) {
  ModelConfig copy = folder.config();
  ConfigTree tree;
  tree.add_section("model", copy);
  return {kConfigFile, to_toml(tree, ConfigScope::kChanged)};
}

bool is_import_output(const std::string& name) {
  return name == kManifestFileName || name == kTokenizerFolder || name == kConfigFile ||
         name.ends_with(".safetensors");
}

}  // namespace

HfImportReport import_hf(const HfFolder& folder, const std::string& out, const HfImportOptions& options) {
  require_replaceable(out, options.overwrite, is_import_output);
  folder.check_tied_head();
  HfImportReport report;
  report.dtype = options.dtype.value_or(folder.dtype());
  report.num_parameters = folder.table().num_parameters();
  std::vector<LazyBox> boxes;
  for (const LogicalTensor* tensor : folder.table().logical_tensors()) {
    const at::ScalarType dtype = dtype_of(*tensor, report.dtype);
    boxes.push_back({kWeightPrefix + tensor->name, tensor->shape, Box::whole(tensor->shape), dtype,
                     [&folder, name = tensor->name] { return folder.tensor(name); }});
    report.bytes += dense_bytes(file_dtype_of(dtype), tensor->shape).value();
  }
  const Json metadata = {{"kind", "import"},
                         {"step", 0},
                         {"config", model_section(folder.config())},
                         {"hf",
                          {{"family", std::string(hf_model_type(folder.family()))},
                           {"dtype", dtype_word(folder.dtype())},
                           {"token_ids", folder.token_ids()},
                           {"generation_config", folder.generation_config()}}}};
  std::vector<ExtraFile> extra = tokenizer_files(folder.path(), std::string(kTokenizerFolder) + "/");
  report.num_tokenizer_files = extra.size();
  extra.push_back(config_toml(folder));
  write_lazy_checkpoint(out, boxes, metadata, extra, options.progress);
  return report;
}

}  // namespace phalanx
