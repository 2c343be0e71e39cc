// File: phalanx/kernels/arguments.h
//
// Purpose: what every op does with its arguments before a body runs: name them in a message, choose the dtype of sums, lay
//   rows out for raw pointers, choose the types of a body.
// Contract: arithmetic_dtype is fp64 for fp64 and fp32 for everything else. with_body_types calls body(T{}, S{}) with the
//   storage type T (double, float, uint16_t for the bits of a bfloat16) and the arithmetic type S of x, and is false where the
//   CPU has no such body. with_unit_rows copies only where the last stride is not 1.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace phalanx::kernels {

using at::Tensor;

// "Float [2, 3]", or "none".
std::string shape_of(const Tensor& tensor);

at::ScalarType arithmetic_dtype(const Tensor& x);

Tensor with_unit_rows(const Tensor& x);

// Rows that a step changes: each of `slot` [n] int64, on the CPU, in 0 .. slots - 1, and no two alike.
void check_slots(const Tensor& slot, int64_t slots, const char* op);

template <typename Body>
bool with_body_types(const Tensor& x, const Body& body) {
  if (!x.device().is_cpu()) return false;
  switch (x.scalar_type()) {
    case at::kDouble:
      body(double{}, double{});
      return true;
    case at::kFloat:
      body(float{}, float{});
      return true;
    case at::kBFloat16:
      body(uint16_t{}, float{});
      return true;
    default:
      return false;
  }
}

}  // namespace phalanx::kernels
