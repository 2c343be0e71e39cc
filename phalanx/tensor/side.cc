#include "phalanx/tensor/side.h"

#include <ATen/ATen.h>

#include "phalanx/base/error.h"

namespace phalanx {

void Side::add_grad(const std::string& name, const Tensor& grad) {
  const auto it = inputs.find(name);
  PHALANX_CHECK(it != inputs.end(), "side input '" + name + "' does not exist");
  Tensor& sum = it->second.grad;
  sum = sum.defined() ? sum + grad : grad;
}

}  // namespace phalanx
