#include "phalanx/nn/autograd_module.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include "phalanx/base/error.h"

namespace phalanx::nn {

AutogradModule::AutogradModule(Function function, std::vector<Parameter*> parameters, Step step)
    : function_(std::move(function)), parameters_(std::move(parameters)), step_(std::move(step)) {}

std::vector<Tensor> AutogradModule::values() const {
  std::vector<Tensor> result;
  for (const Parameter* parameter : parameters_) result.push_back(parameter->full());
  return result;
}

Tensor AutogradModule::forward(const Tensor& x_TH, const Batch& batch, Side&, Stash& stash) {
  stash.push(x_TH, "autograd module input");
  const Tensor y_TH = function_(x_TH, values(), batch);
  // The caller may write into what a module returns; a function is free to return (a view of) its input.
  return y_TH.is_alias_of(x_TH) ? y_TH.clone() : y_TH;
}

Tensor AutogradModule::backward(const Tensor& dy_TH, const Batch& batch, Side&, Stash& stash,
                                WeightGrads& grads) {
  const Tensor x_leaf = stash.pop().detach().requires_grad_(true);
  std::vector<Tensor> asked = {x_leaf};
  std::vector<Parameter*> asked_parameters;
  std::vector<Tensor> leaves;
  for (Parameter* parameter : parameters_) {
    leaves.push_back(parameter->full().detach());
    if (!parameter->trainable) continue;
    leaves.back().requires_grad_(true);
    asked.push_back(leaves.back());
    asked_parameters.push_back(parameter);
  }
  Tensor y_TH;
  {
    const c10::AutoGradMode recording(true);
    y_TH = function_(x_leaf, leaves, batch);
  }
  const std::vector<Tensor> result =
      torch::autograd::grad({y_TH}, asked, {dy_TH}, /*retain_graph=*/false, /*create_graph=*/false,
                            /*allow_unused=*/true);
  const auto or_zeros = [](const Tensor& grad, const Tensor& like) {
    return grad.defined() ? grad.detach() : at::zeros_like(like.detach());
  };
  for (size_t i = 0; i < asked_parameters.size(); ++i) {
    grads.add(*asked_parameters[i], or_zeros(result[i + 1], asked[i + 1]));
  }
  const Tensor dx_TH = or_zeros(result[0], x_leaf);
  return dx_TH.is_alias_of(dy_TH) ? dx_TH.clone() : dx_TH;
}

Tensor AutogradModule::step(const Tensor& x_TH, const Batch& batch, Side&, Cache& cache) {
  if (!step_) {
    throw Error(ErrorKind::kUsage, {.where = "generate",
                                    .got = "a research layer without a cached step",
                                    .needed = "a step function for every layer of the model",
                                    .fix = "give AutogradModule a step, or score whole sequences instead"});
  }
  const Tensor y_TH = step_(x_TH, values(), batch, cache);
  return y_TH.is_alias_of(x_TH) ? y_TH.clone() : y_TH;
}

void AutogradModule::visit_parameters(const ParameterVisitor& visit) {
  for (Parameter* parameter : parameters_) visit(*parameter);
}

}  // namespace phalanx::nn
