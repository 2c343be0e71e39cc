#include "phalanx/kernels/gemm/gemm_few_rows.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "phalanx/base/error.h"
#include "phalanx/kernels/gemm/gemm_few_rows_cpu.h"
#include "phalanx/kernels/gemm/gemm_routes.h"

namespace phalanx::kernels {
namespace {

// Weights that keep a thread busy for longer than its start.
constexpr int64_t kWeightsOfATask = int64_t{1} << 15;

// bf16 rows as fp32 in the order of their weights.
Tensor unpacked(const Tensor& a) {
  const Tensor rows = a.contiguous();
  Tensor result = at::empty(rows.sizes(), rows.options().dtype(at::kFloat));
  const auto* from = static_cast<const uint16_t*>(rows.const_data_ptr());
  auto* to = result.data_ptr<float>();
  for (int64_t row = 0; row < rows.size(0); ++row) {
    few_rows_pair(from + row * rows.size(1), rows.size(1), to + row * rows.size(1));
  }
  return result;
}

template <typename T>
void run(const Tensor& a, const Tensor& b, Tensor& c, bool add) {
  FewRows<T> p;
  p.w = static_cast<const T*>(b.const_data_ptr());
  p.w_stride = b.stride(1);
  p.a = a.const_data_ptr<float>();
  p.a_stride = a.stride(0);
  p.c = c.data_ptr<float>();
  p.c_stride = c.stride(0);
  p.rows = a.size(0);
  p.length = a.size(1);
  p.add = add;
  const int64_t grain = std::max<int64_t>(1, kWeightsOfATask / p.length);
  at::parallel_for(0, b.size(1), grain,
                   [&p](int64_t begin, int64_t end) { few_rows_columns(p, begin, end); });
}

}  // namespace

bool gemm_few_rows_takes(const Tensor& a, const Tensor& b) {
  return gemm_route_serves(GemmRoute::kFewRows, a.scalar_type(), a.device()) && a.size(0) <= kGemmFewRows &&
         gemm_layout(a, b) == Gemm::Layout::kNT;
}

void gemm_few_rows(const Tensor& a, const Tensor& b, Tensor& c, double beta) {
  PHALANX_CHECK(gemm_few_rows_takes(a, b), "gemm_few_rows: other operands");
  const bool add = beta != 0.0;
  Tensor sum = c;
  if (c.scalar_type() != at::kFloat)
    sum = add ? c.to(at::kFloat) : at::empty(c.sizes(), c.options().dtype(at::kFloat));
  if (a.scalar_type() == at::kFloat) {
    run<float>(a.stride(1) == 1 ? a : a.contiguous(), b, sum, add);
  } else {
    run<uint16_t>(unpacked(a), b, sum, add);
  }
  if (c.scalar_type() != at::kFloat) c.copy_(sum);
}

}  // namespace phalanx::kernels
