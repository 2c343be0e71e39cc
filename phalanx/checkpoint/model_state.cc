#include "phalanx/checkpoint/model_state.h"

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
  for (Parameter* parameter : model.parameters()) add_boxes(boxes, "model.", *parameter, parameter->data);
  return boxes;
}

std::vector<TensorBox> optimizer_boxes(const Optimizer& optimizer) {
  std::vector<TensorBox> boxes;
  for (const Optimizer::State& state : optimizer.state()) {
    if (optimizer.has_separate_masters()) add_boxes(boxes, "optimizer.master.", *state.parameter, state.master);
    add_boxes(boxes, "optimizer.exp_avg.", *state.parameter, state.exp_avg);
    add_boxes(boxes, "optimizer.exp_avg_sq.", *state.parameter, state.exp_avg_sq);
  }
  return boxes;
}

void load_weights(CheckpointReader& reader, Model& model) {
  for (const TensorBox& box : weight_boxes(model)) reader.read(box);
}

void load_optimizer(CheckpointReader& reader, Optimizer& optimizer) {
  for (const TensorBox& box : optimizer_boxes(optimizer)) reader.read(box);
  optimizer.masters_changed();
}

}  // namespace phalanx
