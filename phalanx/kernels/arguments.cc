#include "phalanx/kernels/arguments.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <vector>

#include "phalanx/base/error.h"

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

void check_slots(const Tensor& slot, int64_t slots, const char* op) {
  std::vector<bool> taken(static_cast<size_t>(slots));
  const Tensor values = slot.contiguous();
  for (int64_t i = 0; i < values.numel(); ++i) {
    const int64_t value = values.const_data_ptr<int64_t>()[i];
    PHALANX_CHECK(value >= 0 && value < slots, fmt::format("{}: slot {} of {}", op, value, slots));
    PHALANX_CHECK(!taken[static_cast<size_t>(value)], fmt::format("{}: slot {} occurs twice", op, value));
    taken[static_cast<size_t>(value)] = true;
  }
}

}  // namespace phalanx::kernels
