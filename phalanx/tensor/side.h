// File: phalanx/tensor/side.h
//
// Purpose: named extra inputs with gradient slots (image latents, retrieved text, encoder output), and scalar losses
//   whose gradient scale is known before the first backward. They travel through the pipeline with their gradients.
// Contract: a reader adds its input gradient with add_grad; the producer takes the sum. Order of adds does not change
//   which value is read, but it is the order of summation.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "phalanx/tensor/parameter.h"

namespace phalanx {

class Side {
 public:
  struct Input {
    Tensor value;
    Tensor grad;  // undefined until the first add_grad
    GradientKind gradient = GradientKind::kIdentical;
  };
  struct ScalarLoss {
    Tensor value;
    double grad_scale = 1.0;
  };

  std::map<std::string, Input> inputs;
  std::map<std::string, ScalarLoss> losses;

  void add_grad(const std::string& name, const Tensor& grad);
};

}  // namespace phalanx
