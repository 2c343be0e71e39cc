#include "phalanx/nn/norm.h"

#include <ATen/ATen.h>

#include "phalanx/base/error.h"

namespace phalanx::nn {

kernels::NormSpec norm_spec(const ModelConfig& config) {
  return {.rms = config.normalization == NormKind::kRmsNorm,
          .epsilon = config.norm_epsilon,
          .one_plus = config.norm_1p};
}

Norm::Norm(Parameter* weight, Parameter* bias, const kernels::NormSpec& spec)
    : weight_(weight), bias_(bias), spec_(spec) {
  PHALANX_CHECK(weight != nullptr, "a norm needs its weight");
}

Tensor Norm::bias() const {
  return bias_ == nullptr ? Tensor() : bias_->full();
}

Norm::Output Norm::forward(const Tensor& x, Stash& stash) const {
  kernels::NormForward result = kernels::norm_forward(x, weight_->full(), bias(), spec_);
  stash.push(x, "norm input");
  stash.push(result.mean, "norm mean");
  stash.push(result.rstd, "norm rstd");
  return {std::move(result.y), x, std::move(result.mean), std::move(result.rstd)};
}

void Norm::push_output(const Output& output, Stash& stash, std::function<void(Tensor&)> then) const {
  const auto rebuild = [norm = *this, then = std::move(then)](const std::vector<Tensor>& sources) {
    Tensor y = kernels::norm_apply(sources[0], sources[1], sources[2], norm.weight_->full(), norm.bias(),
                                   norm.spec_);
    if (then) then(y);
    return y;
  };
  stash.push_rebuild({output.x, output.mean, output.rstd}, rebuild, "norm output");
}

Tensor Norm::backward(const Tensor& dy, Stash& stash, WeightGrads& grads) const {
  const Tensor rstd = stash.pop();
  const Tensor mean = stash.pop();
  const Tensor x = stash.pop();
  return gradients(dy, x, mean, rstd, grads);
}

Tensor Norm::gradients(const Tensor& dy, const Tensor& x, const Tensor& mean, const Tensor& rstd,
                       WeightGrads& grads) const {
  const kernels::NormBackward result =
      kernels::norm_backward(dy, x, mean, rstd, weight_->full(), bias_ != nullptr, spec_);
  grads.add(*weight_, result.dweight);
  if (bias_ != nullptr) grads.add(*bias_, result.dbias);
  return result.dx;
}

Tensor Norm::forward_of_input(const Tensor& x, Stash& stash, const char* what) const {
  stash.push(x, what);
  return apply(x);
}

Tensor Norm::backward_of_input(const Tensor& dy, Stash& stash, WeightGrads& grads) const {
  const Tensor x = stash.pop();
  const kernels::NormForward again = kernels::norm_forward(x, weight_->full(), bias(), spec_);
  return gradients(dy, x, again.mean, again.rstd, grads);
}

Tensor Norm::apply(const Tensor& x) const {
  return kernels::norm_forward(x, weight_->full(), bias(), spec_).y;
}

void Norm::visit_parameters(const ParameterVisitor& visit) const {
  visit(*weight_);
  if (bias_ != nullptr) visit(*bias_);
}

Tensor FinalNorm::forward(const Tensor& x_TH, const Batch&, Side&, Stash& stash) {
  return norm_.forward(x_TH, stash).y;
}

Tensor FinalNorm::backward(const Tensor& dy_TH, const Batch&, Side&, Stash& stash, WeightGrads& grads) {
  return norm_.backward(dy_TH, stash, grads);
}

Tensor FinalNorm::step(const Tensor& x_TH, const Batch&, Side&, Cache&) {
  return norm_.apply(x_TH);
}

}  // namespace phalanx::nn
