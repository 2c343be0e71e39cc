#include "phalanx/kernels/grad_norm/grad_norm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "phalanx/base/error.h"
#include "phalanx/kernels/grad_norm/grad_norm_cpu.h"
#include "phalanx/kernels/grad_norm/grad_norm_ref.h"

namespace phalanx::kernels {
namespace {

constexpr int64_t kBlock = 1 << 16;

double block_sum(const Tensor& flat, int64_t begin, int64_t count) {
  switch (flat.scalar_type()) {
    case at::kFloat:
      return block_sum_of_squares(flat.const_data_ptr<float>() + begin, count);
    case at::kDouble:
      return block_sum_of_squares(flat.const_data_ptr<double>() + begin, count);
    default: {
      const Tensor block = flat.narrow(0, begin, count).to(at::kFloat);
      return block_sum_of_squares(block.const_data_ptr<float>(), count);
    }
  }
}

}  // namespace

Tensor sum_of_squares(const Tensor& flat) {
  PHALANX_CHECK(flat.dim() == 1 && flat.is_contiguous() && flat.is_floating_point(),
                "sum_of_squares takes a contiguous flat floating tensor");
  if (!flat.device().is_cpu()) return sum_of_squares_ref(flat);
  const int64_t n = flat.numel();
  std::vector<double> sums(static_cast<size_t>((n + kBlock - 1) / kBlock));
  at::parallel_for(0, static_cast<int64_t>(sums.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
      sums[static_cast<size_t>(b)] = block_sum(flat, b * kBlock, std::min(kBlock, n - b * kBlock));
    }
  });
  double total = 0.0;
  for (const double sum : sums) total += sum;
  return at::scalar_tensor(total, flat.options().dtype(at::kDouble));
}

}  // namespace phalanx::kernels
