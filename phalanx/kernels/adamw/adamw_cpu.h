// File: phalanx/kernels/adamw/adamw_cpu.h
//
// Purpose: the CPU body of adamw: one pass over a range of raw pointers.
// Contract: elements are independent, so any split over threads gives the same bits. Scalars are folded in fp64 and
//   then rounded to T once. The 16-bit copy is rounded to nearest even; NaN stays NaN.
#pragma once

#include <cstdint>

namespace phalanx::kernels {

enum class CopyKind { kNone, kBfloat16, kFloat16 };

template <typename T>
struct AdamWRange {
  T* param = nullptr;
  const T* grad = nullptr;
  T* exp_avg = nullptr;
  T* exp_avg_sq = nullptr;
  uint16_t* copy = nullptr;  // by copy_kind
  CopyKind copy_kind = CopyKind::kNone;
};

struct AdamWScalars {
  double grad_scale = 1.0;
  double beta1 = 0.0;
  double beta2 = 0.0;
  double epsilon = 0.0;
  double decay = 1.0;            // 1 - lr * weight_decay
  double step_size = 0.0;        // lr / c1
  double inverse_sqrt_c2 = 1.0;  // 1 / sqrt(c2)
};

template <typename T>
void adamw_range(const AdamWRange<T>& range, const AdamWScalars& scalars, int64_t begin, int64_t end);

}  // namespace phalanx::kernels
