#include "phalanx/kernels/arguments.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace phalanx::kernels {

std::string shape_of(const Tensor& tensor) {
  if (!tensor.defined()) return "none";
  return fmt::format("{} [{}]", c10::toString(tensor.scalar_type()), fmt::join(tensor.sizes(), ", "));
}

at::ScalarType arithmetic_dtype(const Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

Tensor with_unit_rows(const Tensor& x) {
  return x.size(-1) == 1 || x.stride(-1) == 1 ? x : x.contiguous();
}

}  // namespace phalanx::kernels
