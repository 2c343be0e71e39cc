#include "phalanx/tensor/gradient_check.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include "phalanx/base/philox.h"

namespace phalanx::testing {

double relative_error(const Tensor& a, const Tensor& b) {
  const Tensor difference = (a.to(at::kDouble) - b.to(at::kDouble)).norm();
  const double scale = b.to(at::kDouble).norm().item<double>();
  return difference.item<double>() / (scale == 0.0 ? 1.0 : scale);
}

std::vector<Tensor> autograd_gradients(
    const std::function<std::vector<Tensor>(const std::vector<Tensor>&)>& f,
    const std::vector<Tensor>& inputs, const std::vector<Tensor>& output_grads) {
  const c10::AutoGradMode enabled(true);
  std::vector<Tensor> leaves;
  for (const Tensor& input : inputs) {
    leaves.push_back(input.defined() ? input.detach().clone().requires_grad_(true) : input);
  }
  const std::vector<Tensor> outputs = f(leaves);
  Tensor total;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Tensor term = (outputs[i] * output_grads[i]).sum();
    total = total.defined() ? total + term : term;
  }
  std::vector<Tensor> defined;
  for (const Tensor& leaf : leaves) {
    if (leaf.defined()) defined.push_back(leaf);
  }
  std::vector<Tensor> grads = torch::autograd::grad({total}, defined, {}, /*retain_graph=*/false,
                                                    /*create_graph=*/false, /*allow_unused=*/true);
  std::vector<Tensor> result;
  size_t next = 0;
  for (const Tensor& leaf : leaves) {
    if (!leaf.defined()) {
      result.emplace_back();
      continue;
    }
    Tensor grad = grads[next++];
    result.push_back(grad.defined() ? grad.detach() : at::zeros_like(leaf).detach());
  }
  return result;
}

std::string fused_error(const Tensor& fused, const Tensor& plain, const Tensor& exact) {
  const Tensor reference = exact.to(at::kDouble);
  const double fused_distance = (fused.to(at::kDouble) - reference).abs().max().item<double>();
  const double plain_distance = (plain.to(at::kDouble) - reference).abs().max().item<double>();
  double epsilon = 0x1.0p-52;
  if (fused.scalar_type() == at::kFloat) epsilon = 0x1.0p-23;
  if (fused.scalar_type() == at::kBFloat16) epsilon = 0x1.0p-7;
  if (fused.scalar_type() == at::kHalf) epsilon = 0x1.0p-10;
  const double bound = 2.0 * plain_distance + 4.0 * epsilon * reference.abs().max().item<double>();
  if (fused_distance <= bound) return "";
  return fmt::format("fused is {} away from fp64, plain ops {}, bound {}", fused_distance, plain_distance,
                     bound);
}

Tensor random_tensor(std::vector<int64_t> shape, uint64_t seed, at::ScalarType dtype, double scale) {
  Tensor result = at::empty(shape, at::TensorOptions(at::kDouble));
  double* data = result.data_ptr<double>();
  const RandomKey key{.seed = seed};
  for (int64_t i = 0; i < result.numel(); ++i) data[i] = scale * philox_normal(key, static_cast<uint64_t>(i));
  return result.to(dtype);
}

}  // namespace phalanx::testing
