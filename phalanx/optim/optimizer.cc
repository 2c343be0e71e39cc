#include "phalanx/optim/optimizer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "phalanx/base/error.h"
#include "phalanx/kernels/grad_norm/grad_norm.h"

namespace phalanx {
namespace {

constexpr int64_t kAlignment =
    64;  // elements: a cache line of any dtype, and a multiple of every vector width

int64_t aligned(int64_t n) {
  return (n + kAlignment - 1) / kAlignment * kAlignment;
}

bool decays(const Parameter& parameter) {
  return !parameter.segments.empty() && parameter.segments[0].decay;
}

Tensor slice_as(const Tensor& flat, int64_t offset, const Tensor& like) {
  return flat.narrow(0, offset, like.numel()).view(like.sizes());
}

}  // namespace

Optimizer::Optimizer(std::vector<Parameter*> parameters, const OptimConfig& config,
                     at::ScalarType accumulator)
    : config_(config) {
  for (Parameter* p : parameters) {
    if (p->trainable) parameters_.push_back(p);
  }
  std::stable_partition(parameters_.begin(), parameters_.end(), [](Parameter* p) { return decays(*p); });
  int64_t total = 0;
  for (Parameter* p : parameters_) {
    if (!decays(*p) && decay_end_ == 0 && total > 0 && decays(*parameters_[0])) decay_end_ = total;
    offsets_.push_back(total);
    total += aligned(p->data.numel());
  }
  if (!parameters_.empty() && decays(*parameters_.back())) decay_end_ = total;
  if (parameters_.empty()) return;

  const at::ScalarType compute = parameters_[0]->data.scalar_type();
  const auto options = parameters_[0]->data.options().dtype(accumulator);
  master_ = at::zeros({total}, options);
  grad_ = at::zeros({total}, options);
  exp_avg_ = at::zeros({total}, options);
  exp_avg_sq_ = at::zeros({total}, options);
  if (compute != accumulator) compute_copy_ = at::zeros({total}, options.dtype(compute));
  for (size_t i = 0; i < parameters_.size(); ++i) {
    Parameter& p = *parameters_[i];
    PHALANX_CHECK(p.data.scalar_type() == compute, "all trainable parameters share one compute dtype");
    slice_as(master_, offsets_[i], p.data).copy_(p.data);
    const Tensor home = slice_as(compute_copy_.defined() ? compute_copy_ : master_, offsets_[i], p.data);
    home.copy_(p.data);
    p.main_grad = slice_as(grad_, offsets_[i], p.data);
    p.data = home;
    p.has_grad = false;
  }
}

Optimizer::StepResult Optimizer::step(double lr, double inverse_scale) {
  StepResult result;
  if (parameters_.empty()) return result;
  // A parameter that got no gradient this step must not keep the last one's.
  for (Parameter* p : parameters_) {
    if (!p->has_grad) p->main_grad.zero_();
  }
  result.grad_norm = std::sqrt(kernels::sum_of_squares(grad_).item<double>()) * inverse_scale;
  if (!std::isfinite(result.grad_norm)) return result;

  ++updates_;
  const double clip =
      config_.clip_grad > 0 ? std::min(1.0, config_.clip_grad / (result.grad_norm + 1e-6)) : 1.0;
  const double t = static_cast<double>(updates_);
  const Tensor scalars = at::tensor({lr, clip * inverse_scale, 1.0 - std::pow(config_.beta1, t),
                                     1.0 - std::pow(config_.beta2, t)},
                                    at::TensorOptions(at::kDouble))
                             .to(master_.device());
  update_range(0, decay_end_, config_.weight_decay, scalars);
  update_range(decay_end_, master_.numel(), 0.0, scalars);
  result.applied = true;
  return result;
}

void Optimizer::update_range(int64_t begin, int64_t end, double weight_decay, const Tensor& scalars) {
  if (begin == end) return;
  const auto part = [&](const Tensor& flat) {
    return flat.defined() ? flat.narrow(0, begin, end - begin) : flat;
  };
  kernels::adamw(part(master_), part(grad_), part(exp_avg_), part(exp_avg_sq_), scalars,
                 {.beta1 = config_.beta1,
                  .beta2 = config_.beta2,
                  .epsilon = config_.epsilon,
                  .weight_decay = weight_decay},
                 part(compute_copy_));
}

void Optimizer::finish_step() {
  for (Parameter* p : parameters_) p->has_grad = false;
}

int64_t Optimizer::bytes() const {
  int64_t bytes = 0;
  for (const Tensor* flat : {&master_, &grad_, &exp_avg_, &exp_avg_sq_}) {
    if (flat->defined()) bytes += static_cast<int64_t>(flat->nbytes());
  }
  return bytes;
}

double Optimizer::weight_norm() const {
  return master_.defined() ? std::sqrt(kernels::sum_of_squares(master_).item<double>()) : 0.0;
}

std::vector<Optimizer::State> Optimizer::state() const {
  std::vector<State> states;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor& like = parameters_[i]->data;
    states.push_back({parameters_[i], slice_as(master_, offsets_[i], like),
                      slice_as(exp_avg_, offsets_[i], like), slice_as(exp_avg_sq_, offsets_[i], like)});
  }
  return states;
}

void Optimizer::masters_changed() {
  if (compute_copy_.defined()) compute_copy_.copy_(master_);
}

void Optimizer::weights_changed() {
  if (compute_copy_.defined()) master_.copy_(compute_copy_);
}

}  // namespace phalanx
