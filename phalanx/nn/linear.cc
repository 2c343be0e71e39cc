#include "phalanx/nn/linear.h"

#include <ATen/ATen.h>

#include "phalanx/base/error.h"

namespace phalanx::nn {

Linear::Linear(Parameter* weight, Parameter* bias, ShardRule rule, comm::Group& group,
               const kernels::Gemm& gemm)
    : weight_(weight), bias_(bias), rule_(rule), group_(&group), gemm_(&gemm) {
  PHALANX_CHECK(weight != nullptr, "a linear needs its weight");
  PHALANX_CHECK(rule != ShardRule::kVocab, "vocabulary shards belong to the embedding and the head");
}

Tensor Linear::forward(const Tensor& x_TI) const {
  Tensor y_TO = (*gemm_)(x_TI, weight_->full().t());
  if (rule_ == ShardRule::kRow && group_->size() > 1) group_->all_reduce(y_TO, comm::ReduceOp::kSum);
  if (bias_ != nullptr) y_TO.add_(bias_->full());
  return y_TO;
}

Tensor Linear::backward(const Tensor& dy_TO, Tensor x_TI, WeightGrads& grads) const {
  if (bias_ != nullptr && bias_->trainable) {
    grads.add(*bias_, dy_TO.sum(at::IntArrayRef{0}, /*keepdim=*/false, bias_->main_grad.scalar_type()));
  }
  const int64_t held = static_cast<int64_t>(dy_TO.nbytes() + x_TI.nbytes());
  grads.defer(*weight_, held, [dy_TO, x = std::move(x_TI), gemm = gemm_](GradSlot slot) {
    (*gemm)(dy_TO.t(), x, slot.main_grad, slot.beta);
  });
  Tensor dx_TI = (*gemm_)(dy_TO, weight_->full());
  if (rule_ == ShardRule::kColumn && group_->size() > 1) group_->all_reduce(dx_TI, comm::ReduceOp::kSum);
  return dx_TI;
}

void Linear::visit_parameters(const ParameterVisitor& visit) const {
  visit(*weight_);
  if (bias_ != nullptr) visit(*bias_);
}

}  // namespace phalanx::nn
