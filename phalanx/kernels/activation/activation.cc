#include "phalanx/kernels/activation/activation.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>

#include "phalanx/base/error.h"
#include "phalanx/kernels/arguments.h"

namespace phalanx::kernels {
namespace {

// A block's temporaries stay in the caches. Blocks are fixed, and too small for LibTorch to split one over threads:
// its vectorised gelu and the tail of a thread's range round differently, and the bits are not to depend on threads.
constexpr int64_t kElementsPerBlock = 1 << 14;

void check_input(const Tensor& x, ActivationKind kind) {
  PHALANX_CHECK(x.dim() == 2 && x.is_floating_point(), "activation: x is [T, F] and floating");
  PHALANX_CHECK(!is_gated(kind) || x.size(1) % 2 == 0,
                fmt::format("activation: {} columns are not [gate | up]", x.size(1)));
}

// Calls body(first row, number of rows) over blocks of rows on the CPU, once for all of them elsewhere.
template <typename Body>
void for_row_blocks(const Tensor& x, int64_t y_columns, const Body& body) {
  const int64_t rows = x.size(0);
  if (x.numel() == 0) return;
  if (!x.device().is_cpu()) return body(0, rows);
  const int64_t block = std::max<int64_t>(1, kElementsPerBlock / y_columns);
  at::parallel_for(0, (rows + block - 1) / block, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) body(b * block, std::min(block, rows - b * block));
  });
}

struct Gated {
  Tensor gate;
  Tensor up;

  // Halves of x [T, 2F], in fp32 when they are half precision.
  Gated(const Tensor& x, at::ScalarType dtype) {
    const int64_t columns = x.size(1) / 2;
    gate = x.narrow(1, 0, columns).to(dtype);
    up = x.narrow(1, columns, columns).to(dtype);
  }
};

void of_gate(const Tensor& gate, Tensor to, ActivationKind kind) {
  if (kind == ActivationKind::kSwiglu) {
    at::silu_out(to, gate);
  } else {
    at::gelu_out(to, gate, "tanh");
  }
}

void of_gate_backward(const Tensor& dy, const Tensor& gate, Tensor to, ActivationKind kind) {
  if (kind == ActivationKind::kSwiglu) {
    at::silu_backward_out(to, dy, gate);
  } else {
    at::gelu_backward_out(to, dy, gate, "tanh");
  }
}

// Where to compute what ends in `result`: there, or beside it in fp32.
Tensor wide_place(const Tensor& result, at::ScalarType dtype) {
  return result.scalar_type() == dtype ? result : at::empty(result.sizes(), result.options().dtype(dtype));
}

void gated_forward_rows(const Tensor& x, Tensor y, ActivationKind kind) {
  const at::ScalarType dtype = arithmetic_dtype(x);
  const Gated in(x, dtype);
  Tensor place = wide_place(y, dtype);
  of_gate(in.gate, place, kind);
  place.mul_(in.up);
  if (!place.is_same(y)) y.copy_(place);
}

void gated_backward_rows(const Tensor& dy, const Tensor& x, Tensor dx, ActivationKind kind) {
  const at::ScalarType dtype = arithmetic_dtype(x);
  const Gated in(x, dtype);
  const Tensor gradient = dy.to(dtype);
  Tensor place = wide_place(dx, dtype);
  const Gated out(place, dtype);
  of_gate_backward(gradient * in.up, in.gate, out.gate, kind);
  of_gate(in.gate, out.up, kind);
  out.up.mul_(gradient);
  if (!place.is_same(dx)) dx.copy_(place);
}

void forward_rows(const Tensor& x, Tensor y, ActivationKind kind) {
  switch (kind) {
    case ActivationKind::kGelu:
      at::gelu_out(y, x, "none");
      return;
    case ActivationKind::kGeluTanh:
      at::gelu_out(y, x, "tanh");
      return;
    case ActivationKind::kSwiglu:
    case ActivationKind::kGeglu:
      return gated_forward_rows(x, y, kind);
    case ActivationKind::kSquaredRelu:
      at::clamp_min_out(y, x, 0.0);
      y.mul_(y);
      return;
  }
}

void backward_rows(const Tensor& dy, const Tensor& x, Tensor dx, ActivationKind kind) {
  switch (kind) {
    case ActivationKind::kGelu:
      at::gelu_backward_out(dx, dy, x, "none");
      return;
    case ActivationKind::kGeluTanh:
      at::gelu_backward_out(dx, dy, x, "tanh");
      return;
    case ActivationKind::kSwiglu:
    case ActivationKind::kGeglu:
      return gated_backward_rows(dy, x, dx, kind);
    case ActivationKind::kSquaredRelu:
      at::clamp_min_out(dx, x, 0.0);
      dx.mul_(2.0).mul_(dy);  // doubling is exact, so one rounding
      return;
  }
}

}  // namespace

Tensor activation_forward(const Tensor& x, ActivationKind kind) {
  check_input(x, kind);
  const int64_t columns = is_gated(kind) ? x.size(1) / 2 : x.size(1);
  Tensor y = at::empty({x.size(0), columns}, x.options());
  for_row_blocks(x, columns, [&](int64_t first, int64_t rows) {
    forward_rows(x.narrow(0, first, rows), y.narrow(0, first, rows), kind);
  });
  return y;
}

Tensor activation_backward(const Tensor& dy, const Tensor& x, ActivationKind kind) {
  check_input(x, kind);
  const int64_t columns = is_gated(kind) ? x.size(1) / 2 : x.size(1);
  PHALANX_CHECK(
      dy.dim() == 2 && dy.size(0) == x.size(0) && dy.size(1) == columns &&
          dy.scalar_type() == x.scalar_type(),
      fmt::format("activation: dy {} [{}] for x {} [{}]", c10::toString(dy.scalar_type()),
                  fmt::join(dy.sizes(), ", "), c10::toString(x.scalar_type()), fmt::join(x.sizes(), ", ")));
  Tensor dx = at::empty(x.sizes(), x.options());
  for_row_blocks(x, columns, [&](int64_t first, int64_t rows) {
    backward_rows(dy.narrow(0, first, rows), x.narrow(0, first, rows), dx.narrow(0, first, rows), kind);
  });
  return dx;
}

}  // namespace phalanx::kernels
