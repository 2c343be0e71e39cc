#include "phalanx/checkpoint/model_state.h"

#include <ATen/ATen.h>

#include <functional>
#include <map>

#include "phalanx/base/error.h"
#include "phalanx/config/config_json.h"
#include "phalanx/shard/box_set.h"

namespace phalanx {
namespace {

std::vector<TensorBox> boxes_of(const std::vector<Parameter*>& parameters,
                                const std::function<bool(const Segment&)>& wanted) {
  std::vector<TensorBox> boxes;
  for (const Parameter* parameter : parameters) {
    for (const Segment& segment : parameter->segments) {
      // A rank may hold none of a padded vocabulary's rows.
      if (segment.global_box.num_elements() == 0 || !wanted(segment)) continue;
      boxes.push_back({kWeightPrefix + segment.name, segment.global_shape, segment.global_box,
                       view_of(parameter->full(), segment.local_box)});
    }
  }
  return boxes;
}

std::vector<TensorBox> boxes_of(const Optimizer& optimizer, bool owned_only) {
  std::vector<TensorBox> boxes;
  for (const Optimizer::State& state : optimizer.state()) {
    if (owned_only && !state.writes) continue;
    const auto add = [&](const char* prefix, const Tensor& values) {
      boxes.push_back({prefix + state.segment->name, state.segment->global_shape, state.box, values});
    };
    if (optimizer.has_separate_masters()) add(kMasterPrefix, state.master);
    add("optimizer.exp_avg.", state.exp_avg);
    add("optimizer.exp_avg_sq.", state.exp_avg_sq);
  }
  return boxes;
}

}  // namespace

std::vector<TensorBox> weight_boxes(const std::vector<Parameter*>& parameters) {
  return boxes_of(parameters, [](const Segment&) { return true; });
}

std::vector<TensorBox> weight_boxes(Model& model) {
  return weight_boxes(model.parameters());
}

std::vector<TensorBox> optimizer_boxes(const Optimizer& optimizer) {
  return boxes_of(optimizer, /*owned_only=*/false);
}

bool owns_weights(const Segment& segment, const OptimParallel& parallel) {
  return parallel.data_rank() == 0 && is_first_replica(segment, parallel.world_rank());
}

std::vector<TensorBox> owned_weight_boxes(const std::vector<Parameter*>& parameters,
                                          const OptimParallel& parallel) {
  return boxes_of(parameters, [&](const Segment& segment) { return owns_weights(segment, parallel); });
}

std::vector<TensorBox> owned_optimizer_boxes(const Optimizer& optimizer) {
  return boxes_of(optimizer, /*owned_only=*/true);
}

std::vector<TensorBox> assemble_boxes(const std::vector<TensorBox>& boxes) {
  std::vector<std::vector<const TensorBox*>> tensors;
  std::map<std::string, size_t> index;
  for (const TensorBox& box : boxes) {
    const auto [found, added] = index.emplace(box.name, tensors.size());
    if (added) tensors.emplace_back();
    tensors[found->second].push_back(&box);
  }
  std::vector<TensorBox> whole;
  for (const std::vector<const TensorBox*>& parts : tensors) {
    const TensorBox& first = *parts.front();
    const Box all = Box::whole(first.global_shape);
    if (parts.size() == 1 && first.box == all) {
      whole.push_back(first);
      continue;
    }
    std::vector<Box> covered;
    const Tensor values = at::empty(first.global_shape, first.view.options());
    for (const TensorBox* part : parts) {
      PHALANX_CHECK(
          part->global_shape == first.global_shape && part->view.scalar_type() == first.view.scalar_type(),
          "boxes of one tensor differ: " + first.name);
      covered.push_back(part->box);
      view_of(values, part->box).copy_(part->view);
    }
    PHALANX_CHECK(!first_overlap(covered), "two ranks own the same part of " + first.name);
    PHALANX_CHECK(uncovered(all, covered).empty(), "no rank owns a part of " + first.name);
    whole.push_back({first.name, first.global_shape, all, values});
  }
  return whole;
}

void load_weights(CheckpointReader& reader, const std::vector<Parameter*>& parameters) {
  for (TensorBox& box : weight_boxes(parameters)) {
    // A bf16 run's masters are the better weights for a model that can hold them.
    const std::string master = kMasterPrefix + box.name.substr(std::string_view(kWeightPrefix).size());
    const bool wide = box.view.scalar_type() == at::kFloat || box.view.scalar_type() == at::kDouble;
    if (wide && reader.contains(master)) box.name = master;
    reader.read(box);
  }
}

void load_weights(CheckpointReader& reader, Model& model) {
  load_weights(reader, model.parameters());
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

// What a half model, too, keeps in fp32 (LogicalTensor::keep_fp32) says nothing about the model's dtype.
static bool is_always_wide(std::string_view name) {
  return name.ends_with(".A_log") || name.ends_with(".D") || name.ends_with(".dt_bias");
}

at::ScalarType stored_weight_dtype(const CheckpointReader& reader) {
  std::optional<at::ScalarType> widest;
  for (const StoredTensor& tensor : reader.manifest().tensors) {
    if (!tensor.name.starts_with(kWeightPrefix) || is_always_wide(tensor.name)) continue;
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
