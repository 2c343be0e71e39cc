#include "phalanx/kernels/adamw/adamw.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "phalanx/base/error.h"
#include "phalanx/kernels/adamw/adamw_cpu.h"
#include "phalanx/kernels/adamw/adamw_ref.h"

namespace phalanx::kernels {
namespace {

// A block of all arrays stays in the caches until its copy is written.
constexpr int64_t kBlock = 1 << 12;
constexpr int64_t kBlocksPerTask = 8;

CopyKind copy_kind_of(const Tensor& compute_copy) {
  if (!compute_copy.defined()) return CopyKind::kNone;
  if (compute_copy.scalar_type() == at::kBFloat16) return CopyKind::kBfloat16;
  return compute_copy.scalar_type() == at::kHalf ? CopyKind::kFloat16 : CopyKind::kNone;
}

AdamWScalars fold(const Tensor& scalars, const AdamWSpec& spec) {
  const double* s = scalars.const_data_ptr<double>();
  const double lr = s[0];
  return {.grad_scale = s[1],
          .beta1 = spec.beta1,
          .beta2 = spec.beta2,
          .epsilon = spec.epsilon,
          .decay = 1.0 - lr * spec.weight_decay,
          .step_size = lr / s[2],
          .inverse_sqrt_c2 = 1.0 / std::sqrt(s[3])};
}

template <typename T>
void run_cpu(const Tensor& param, const Tensor& grad, const Tensor& exp_avg, const Tensor& exp_avg_sq,
             const AdamWScalars& scalars, const Tensor& compute_copy) {
  AdamWRange<T> range{param.data_ptr<T>(), grad.const_data_ptr<T>(), exp_avg.data_ptr<T>(),
                      exp_avg_sq.data_ptr<T>()};
  range.copy_kind = copy_kind_of(compute_copy);
  if (range.copy_kind != CopyKind::kNone) range.copy = static_cast<uint16_t*>(compute_copy.data_ptr());
  const int64_t n = param.numel();
  at::parallel_for(0, (n + kBlock - 1) / kBlock, kBlocksPerTask, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
      adamw_range<T>(range, scalars, b * kBlock, std::min(n, (b + 1) * kBlock));
    }
  });
  if (compute_copy.defined() && range.copy_kind == CopyKind::kNone) Tensor(compute_copy).copy_(param);
}

bool is_flat(const Tensor& tensor, const Tensor& like, at::ScalarType dtype) {
  return tensor.dim() == 1 && tensor.is_contiguous() && tensor.numel() == like.numel() &&
         tensor.scalar_type() == dtype && tensor.device() == like.device();
}

}  // namespace

void adamw(Tensor param, const Tensor& grad, Tensor exp_avg, Tensor exp_avg_sq, const Tensor& scalars,
           const AdamWSpec& spec, Tensor compute_copy) {
  const at::ScalarType dtype = param.scalar_type();
  PHALANX_CHECK(dtype == at::kFloat || dtype == at::kDouble, "adamw: the master is fp32 or fp64");
  PHALANX_CHECK(is_flat(param, param, dtype) && is_flat(grad, param, dtype) &&
                    is_flat(exp_avg, param, dtype) && is_flat(exp_avg_sq, param, dtype),
                "adamw: param, grad and moments are flat, of one length, dtype and device");
  PHALANX_CHECK(scalars.dim() == 1 && scalars.numel() == 4 && scalars.is_contiguous() &&
                    scalars.scalar_type() == at::kDouble && scalars.device() == param.device(),
                "adamw: scalars are lr, grad_scale, c1, c2 in fp64 on the device of param");
  PHALANX_CHECK(!compute_copy.defined() || is_flat(compute_copy, param, compute_copy.scalar_type()),
                "adamw: the compute copy is flat and as long as param");
  if (!param.device().is_cpu())
    return adamw_ref(param, grad, exp_avg, exp_avg_sq, scalars, spec, compute_copy);
  const AdamWScalars folded = fold(scalars, spec);
  if (dtype == at::kFloat) return run_cpu<float>(param, grad, exp_avg, exp_avg_sq, folded, compute_copy);
  run_cpu<double>(param, grad, exp_avg, exp_avg_sq, folded, compute_copy);
}

}  // namespace phalanx::kernels
