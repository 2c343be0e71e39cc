#include "phalanx/nn/linear.h"

#include <ATen/ATen.h>

#include <optional>

#include "phalanx/base/error.h"
#include "phalanx/nn/tensor_parallel.h"

namespace phalanx::nn {
namespace {

int64_t bytes_of(const Tensor& a, const Tensor& b) {
  return static_cast<int64_t>(a.nbytes() + b.nbytes());
}

}  // namespace

Linear::Linear(Parameter* weight, Parameter* bias, ShardRule rule, comm::Group& group,
               const kernels::Gemm& gemm)
    : weight_(weight), bias_(bias), rule_(rule), group_(&group), gemm_(&gemm) {
  PHALANX_CHECK(weight != nullptr, "a linear needs its weight");
  PHALANX_CHECK(rule != ShardRule::kVocab, "vocabulary shards belong to the embedding and the head");
}

Tensor Linear::forward(const Tensor& x_TI, bool sharded) const {
  const bool alone = group_->size() == 1;
  const bool gathers = sharded && rule_ == ShardRule::kColumn && !alone;
  Tensor y_TO = (*gemm_)(gathers ? start_gather(x_TI, *group_).take() : x_TI, weight_->full().t());
  if (rule_ == ShardRule::kRow && !alone) y_TO = start_sum(std::move(y_TO), *group_, sharded).take();
  if (bias_ != nullptr) y_TO.add_(bias_->full());
  return y_TO;
}

Tensor Linear::backward(const Tensor& dy_TO, Tensor x_TI, WeightGrads& grads, bool sharded) const {
  if (group_->size() > 1) {
    if (rule_ == ShardRule::kColumn) return backward_column(dy_TO, std::move(x_TI), grads, sharded);
    if (rule_ == ShardRule::kRow && sharded) return backward_sharded_row(dy_TO, std::move(x_TI), grads);
  }
  add_bias_gradient(dy_TO, grads);
  const int64_t held = bytes_of(dy_TO, x_TI);
  grads.defer(*weight_, held, [dy_TO, x = std::move(x_TI), gemm = gemm_](GradSlot slot) {
    (*gemm)(dy_TO.t(), x, slot.main_grad, slot.beta);
  });
  return (*gemm_)(dy_TO, weight_->full());
}

void Linear::add_bias_gradient(const Tensor& dy_TO, WeightGrads& grads) const {
  if (bias_ == nullptr || !bias_->trainable) return;
  grads.add(*bias_, dy_TO.sum(at::IntArrayRef{0}, /*keepdim=*/false, bias_->main_grad.scalar_type()));
}

// dW runs inside this call, or later on its own, or never (frozen): only `grads` knows. Inside, it starts dx between its
// own gather and its product. `dx` lives exactly as long as this call, which is how dW tells.
Tensor Linear::backward_column(const Tensor& dy_TO, Tensor x_TI, WeightGrads& grads, bool sharded) const {
  add_bias_gradient(dy_TO, grads);
  const auto start_dx = [this, dy_TO, sharded] {
    return start_sum((*gemm_)(dy_TO, weight_->full()), *group_, sharded);
  };
  const auto dx = std::make_shared<std::optional<Pending>>();
  const int64_t held = bytes_of(dy_TO, x_TI);
  grads.defer(*weight_, held,
              [dy_TO, x_TI = std::move(x_TI), sharded, start_dx, beside = std::weak_ptr(dx), group = group_,
               gemm = gemm_](GradSlot slot) {
                Pending x = sharded ? start_gather(x_TI, *group) : Pending(x_TI, nullptr);
                if (const auto mine = beside.lock()) *mine = start_dx();
                (*gemm)(dy_TO.t(), x.take(), slot.main_grad, slot.beta);
              });
  if (!dx->has_value()) *dx = start_dx();
  return (*dx)->take();
}

// Both products read the whole dy. A later dW gathers it anew, so that what waits for it is the local piece.
Tensor Linear::backward_sharded_row(const Tensor& dy_TO, Tensor x_TI, WeightGrads& grads) const {
  Pending gathering = start_gather(dy_TO, *group_);
  add_bias_gradient(dy_TO, grads);
  const auto whole_dy = std::make_shared<Tensor>(gathering.take());
  const int64_t held = bytes_of(dy_TO, x_TI);
  grads.defer(*weight_, held,
              [dy_TO, x = std::move(x_TI), here = std::weak_ptr(whole_dy), group = group_,
               gemm = gemm_](GradSlot slot) {
                const auto still = here.lock();
                const Tensor dy = still ? *still : start_gather(dy_TO, *group).take();
                (*gemm)(dy.t(), x, slot.main_grad, slot.beta);
              });
  return (*gemm_)(*whole_dy, weight_->full());
}

void Linear::visit_parameters(const ParameterVisitor& visit) const {
  visit(*weight_);
  if (bias_ != nullptr) visit(*bias_);
}

}  // namespace phalanx::nn
