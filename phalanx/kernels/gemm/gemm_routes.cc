#include "phalanx/kernels/gemm/gemm_routes.h"

#include <ATen/ATen.h>
#include <ATen/cpu/Utils.h>

#include <algorithm>
#include <exception>

#include "phalanx/kernels/gemm/gemm_block.h"
#include "phalanx/kernels/gemm/gemm_few_rows.h"

// Exported by libtorch_cpu.so 2.11 but declared in no public header; the version is pinned by the build.
namespace at::native {
void mkldnn_matmul(const Tensor& mat1, const Tensor& mat2, const Tensor& result, float beta, float alpha);
}

namespace phalanx::kernels {
namespace {

// oneDNN pays about 12 us a call, and copies a transposed operand, which the other one's length must make up for.
constexpr int64_t kSmallestSize = 32;
constexpr int64_t kSmallestProduct = int64_t{1} << 21;
constexpr int64_t kSmallestReuse = 128;
// Up to here reading bf16 weights takes longer than widening them; beyond, products of halves win.
constexpr int64_t kFewHalfRows = 4;

// LibTorch refuses the call on CPUs without AVX-512 (or the half type): ask it, once.
bool one_dnn_accepts(at::ScalarType dtype) {
  const Tensor a = at::ones({16, 16}, at::TensorOptions(dtype));
  const Tensor c = at::empty_like(a);
  try {
    at::native::mkldnn_matmul(a, a, c, 0.0f, 1.0f);
  } catch (const std::exception&) {  // of LibTorch or of oneDNN
    return false;
  }
  return true;
}

bool cpu_has_bf16_products() {
  const auto capabilities = at::cpu::get_cpu_capabilities();
  for (const char* name : {"avx512_bf16", "amx_bf16"}) {
    const auto it = capabilities.find(name);
    if (it != capabilities.end() && it->second.isBool() && it->second.toBool()) return true;
  }
  return false;
}

bool one_dnn_serves_fp32() {
  static const bool accepts = one_dnn_accepts(at::kFloat);
  return accepts;
}

bool is_half(at::ScalarType dtype) {
  return dtype == at::kBFloat16 || dtype == at::kHalf;
}

// Rows are not unit-strided but columns are. A matrix that is neither is copied by the backend, as if plain.
bool is_transposed(const Tensor& matrix) {
  return matrix.size(1) > 1 && matrix.stride(1) != 1 && matrix.stride(0) == 1;
}

void run_float(const Tensor& a, const Tensor& b, Tensor& c, double beta);

void run_aten(const Tensor& a, const Tensor& b, Tensor& c, double beta) {
  if (c.scalar_type() == a.scalar_type()) {
    if (beta == 0.0) {
      at::mm_out(c, a, b);
    } else {
      at::addmm_out(c, c, a, b);
    }
    return;
  }
  if (!a.device().is_cpu()) {
    const Tensor product = at::mm(a, b, at::kFloat);
    if (beta == 0.0) {
      c.copy_(product);
    } else {
      c.add_(product);
    }
    return;
  }
  if (!gemm_block_serves(a.scalar_type())) return run_float(a, b, c, beta);
  gemm_block(a, b, c, beta);
}

void run_float(const Tensor& a, const Tensor& b, Tensor& c, double beta) {
  const Tensor a32 = a.to(at::kFloat);
  const Tensor b32 = b.to(at::kFloat);
  const GemmRoute route = gemm_default_route(a32, b32);
  if (c.scalar_type() == at::kFloat) return gemm_run(route, a32, b32, c, beta);
  Tensor sum = beta == 0.0 ? at::empty(c.sizes(), a32.options()) : c.to(at::kFloat);
  gemm_run(route, a32, b32, sum, beta);
  c.copy_(sum);
}

}  // namespace

bool gemm_has_half_products(at::ScalarType dtype) {
  static const bool bf16 = one_dnn_accepts(at::kBFloat16) && cpu_has_bf16_products();
  static const bool fp16 = one_dnn_accepts(at::kHalf);
  if (dtype == at::kBFloat16) return bf16;
  return dtype == at::kHalf && fp16;
}

Gemm::Layout gemm_layout(const Tensor& a, const Tensor& b) {
  if (is_transposed(a)) return is_transposed(b) ? Gemm::Layout::kTT : Gemm::Layout::kTN;
  return is_transposed(b) ? Gemm::Layout::kNT : Gemm::Layout::kNN;
}

bool gemm_route_serves(GemmRoute route, at::ScalarType dtype, at::Device device) {
  if (route == GemmRoute::kAten) return true;
  if (!device.is_cpu()) return false;
  if (route == GemmRoute::kFloat) return is_half(dtype);
  if (route == GemmRoute::kFewRows) return dtype == at::kFloat || dtype == at::kBFloat16;
  return dtype == at::kFloat && one_dnn_serves_fp32();
}

GemmRoute gemm_default_route(const Tensor& a, const Tensor& b) {
  if (!a.device().is_cpu()) return GemmRoute::kAten;
  const bool few_rows = gemm_few_rows_takes(a, b);
  const at::ScalarType dtype = a.scalar_type();
  if (few_rows && (dtype == at::kFloat || a.size(0) <= kFewHalfRows || !gemm_has_half_products(dtype))) {
    return GemmRoute::kFewRows;
  }
  // Without half products at::mm is 2 to 50 times slower than casting to fp32.
  if (is_half(dtype)) return gemm_has_half_products(dtype) ? GemmRoute::kAten : GemmRoute::kFloat;
  if (!gemm_route_serves(GemmRoute::kOneDnn, dtype, a.device())) return GemmRoute::kAten;
  const int64_t m = a.size(0);
  const int64_t n = b.size(1);
  const int64_t k = a.size(1);
  if (std::min({m, n, k}) < kSmallestSize || m * n * k < kSmallestProduct) return GemmRoute::kAten;
  switch (gemm_layout(a, b)) {
    case Gemm::Layout::kNN:
      return GemmRoute::kOneDnn;
    case Gemm::Layout::kNT:
      return m >= kSmallestReuse ? GemmRoute::kOneDnn : GemmRoute::kAten;
    case Gemm::Layout::kTN:
      return n >= kSmallestReuse ? GemmRoute::kOneDnn : GemmRoute::kAten;
    case Gemm::Layout::kTT:
      break;
  }
  return GemmRoute::kAten;
}

void gemm_run(GemmRoute route, const Tensor& a, const Tensor& b, Tensor& c, double beta) {
  if (a.size(1) == 0) {  // backends disagree about an empty sum
    if (beta == 0.0) c.zero_();
    return;
  }
  switch (route) {
    case GemmRoute::kAten:
      return run_aten(a, b, c, beta);
    case GemmRoute::kOneDnn:
      return at::native::mkldnn_matmul(a, b, c, static_cast<float>(beta), 1.0f);
    case GemmRoute::kFloat:
      return run_float(a, b, c, beta);
    case GemmRoute::kFewRows:
      // A stored route may meet strides that its key does not tell apart.
      if (gemm_few_rows_takes(a, b)) return gemm_few_rows(a, b, c, beta);
      return gemm_run(gemm_default_route(a, b), a, b, c, beta);
  }
}

}  // namespace phalanx::kernels
