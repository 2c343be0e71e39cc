#include "phalanx/checkpoint/model_state.h"

#include <ATen/ATen.h>

#include "phalanx/base/error.h"
#include "phalanx/config/config_json.h"

namespace phalanx {
namespace {

void add_boxes(std::vector<TensorBox>& boxes, const std::string& prefix, const Parameter& parameter,
               const Tensor& values) {
  for (const Segment& segment : parameter.segments) {
    boxes.push_back({prefix + segment.name, segment.global_shape, segment.global_box,
                     view_of(values, segment.local_box)});
  }
}

}  // namespace

std::vector<TensorBox> weight_boxes(Model& model) {
  std::vector<TensorBox> boxes;
  for (Parameter* parameter : model.parameters())
    add_boxes(boxes, kWeightPrefix, *parameter, parameter->data);
  return boxes;
}

std::vector<TensorBox> optimizer_boxes(const Optimizer& optimizer) {
  std::vector<TensorBox> boxes;
  for (const Optimizer::State& state : optimizer.state()) {
    if (optimizer.has_separate_masters()) add_boxes(boxes, kMasterPrefix, *state.parameter, state.master);
    add_boxes(boxes, "optimizer.exp_avg.", *state.parameter, state.exp_avg);
    add_boxes(boxes, "optimizer.exp_avg_sq.", *state.parameter, state.exp_avg_sq);
  }
  return boxes;
}

void load_weights(CheckpointReader& reader, Model& model) {
  for (TensorBox& box : weight_boxes(model)) {
    // A bf16 run's masters are the better weights for a model that can hold them.
    const std::string master = kMasterPrefix + box.name.substr(std::string_view(kWeightPrefix).size());
    const bool wide = box.view.scalar_type() == at::kFloat || box.view.scalar_type() == at::kDouble;
    if (wide && reader.contains(master)) box.name = master;
    reader.read(box);
  }
}

void load_optimizer(CheckpointReader& reader, Optimizer& optimizer) {
  const std::string_view prefix = kMasterPrefix;
  for (TensorBox& box : optimizer_boxes(optimizer)) {
    // A run in the masters' own dtype stored them once, as weights.
    if (box.name.starts_with(prefix) && !reader.contains(box.name))
      box.name = kWeightPrefix + box.name.substr(prefix.size());
    reader.read(box);
  }
  optimizer.masters_changed();
}

Json model_section(const ModelConfig& config) {
  ModelConfig copy = config;
  ConfigTree tree;
  tree.add_section("model", copy);
  return to_json(tree);
}

ModelConfig stored_model_config(const CheckpointReader& reader) {
  const std::string where = reader.folder() + "/" + kManifestFileName + ": metadata.config";
  const Json stored = json_get<Json>(reader.metadata(), "config", reader.folder() + "/" + kManifestFileName);
  ModelConfig config;
  ConfigTree tree;
  tree.add_section("model", config);
  apply_json(tree, {{"model", json_get<Json>(stored, "model", where)}}, where, Origin::kFile);
  finalize(config);
  validate(config);
  return config;
}

at::ScalarType stored_weight_dtype(const CheckpointReader& reader) {
  std::optional<at::ScalarType> widest;
  for (const StoredTensor& tensor : reader.manifest().tensors) {
    if (!tensor.name.starts_with(kWeightPrefix)) continue;
    const at::ScalarType dtype = scalar_type_of(tensor.dtype);
    widest = widest ? at::promote_types(*widest, dtype) : dtype;
  }
  if (!widest || !at::isFloatingType(*widest)) {
    throw Error(ErrorKind::kBadInput, {.where = reader.folder(),
                                       .got = widest ? "weights of " + dtype_word(*widest) : "no weights",
                                       .needed = "tensors named model.NAME of a floating dtype",
                                       .fix = "name a checkpoint of a model"});
  }
  return *widest;
}

}  // namespace phalanx
