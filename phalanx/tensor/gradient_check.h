// File: phalanx/tensor/gradient_check.h
//
// Purpose: the test template of the tensor tier: an explicit backward against LibTorch's autograd on the plain
//   reference, every output and every gradient, in fp64; and a fused body against plain ops of the same dtype.
// Contract: for tests only; the one place besides AutogradModule that asks for gradients.
// Source: DESIGN 4 ("Kernel") and 7.1.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

namespace phalanx::testing {

using at::Tensor;

// ||a - b|| / ||b||; absolute when b is zero.
double relative_error(const Tensor& a, const Tensor& b);

// Gradients of sum(outputs[i] * output_grads[i]) with respect to `inputs`, by autograd. `f` is called on leaves that
// require gradients. An input that f does not use gets zeros.
std::vector<Tensor> autograd_gradients(
    const std::function<std::vector<Tensor>(const std::vector<Tensor>&)>& f,
    const std::vector<Tensor>& inputs, const std::vector<Tensor>& output_grads);

// "" when err(fused) <= 2 err(plain) + 4 eps max|ref|, else what was measured. All three hold the same quantity;
// `exact` is its fp64 reference.
std::string fused_error(const Tensor& fused, const Tensor& plain, const Tensor& exact);

// Deterministic values by Philox normal(0, scale): independent of LibTorch's generators.
Tensor random_tensor(std::vector<int64_t> shape, uint64_t seed, at::ScalarType dtype = at::kDouble,
                     double scale = 1.0);

}  // namespace phalanx::testing
