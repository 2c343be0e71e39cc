#include "phalanx/kernels/gemm/gemm_block.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>

#include <algorithm>
#include <exception>

#include "phalanx/kernels/gemm/gemm_routes.h"

namespace phalanx::kernels {
namespace {

constexpr int64_t kBlockRows = 64;
constexpr int64_t kBlockColumns = 64;
constexpr int64_t kBlockSum = 512;
// Rows that share one read of b's blocks.
constexpr int64_t kTaskRows = 256;
constexpr int64_t kFewRows = 32;

struct Problem {
  Tensor a;  // [M, K], unit stride over K
  Tensor b;  // [K / 2, N, 2]: pairs along K side by side
  int64_t num_rows = 0;
  int64_t num_columns = 0;
  int64_t length = 0;  // K, even
};

// LibTorch transposes 16-bit integers faster than halves.
Tensor rows_of(const Tensor& a) {
  if (a.stride(1) == 1 && (a.size(0) == 1 || a.stride(0) >= a.size(1))) return a;
  return a.view(at::kShort).contiguous().view(a.scalar_type());
}

Tensor pairs_of(const Tensor& b) {
  const int64_t length = b.size(0);
  const bool pairs_are_words = b.stride(0) == 1 && b.stride(1) % 2 == 0 && b.storage_offset() % 2 == 0;
  if (pairs_are_words && b.size(1) > 1) {
    const Tensor words = b.t().view(at::kInt).t().contiguous();  // [K / 2, N]
    return words.view(b.scalar_type()).view({length / 2, b.size(1), 2});
  }
  return at::stack({b.slice(0, 0, length, 2), b.slice(0, 1, length, 2)}, 2);
}

template <typename T>
void run_rows(const Problem& p, Tensor& c, bool add, int64_t first_row, int64_t last_row) {
  const T* a = p.a.const_data_ptr<T>();
  const T* b = p.b.const_data_ptr<T>();
  float* to = c.data_ptr<float>();
  const int64_t a_stride = p.num_rows > 1 ? p.a.stride(0) : p.length;
  const int64_t c_stride = p.num_rows > 1 ? c.stride(0) : p.num_columns;
  for (int64_t k = 0; k < p.length; k += kBlockSum) {
    for (int64_t n = 0; n < p.num_columns; n += kBlockColumns) {
      for (int64_t m = first_row; m < last_row; m += kBlockRows) {
        at::native::cpublas::brgemm(
            std::min(kBlockRows, last_row - m), std::min(kBlockColumns, p.num_columns - n),
            std::min(kBlockSum, p.length - k), a_stride, p.num_columns, c_stride, add || k > 0,
            a + m * a_stride + k, b + k * p.num_columns + 2 * n, to + m * c_stride + n);
      }
    }
  }
  at::native::cpublas::brgemm_release();
}

template <typename T>
void run(const Problem& p, Tensor& c, bool add) {
  const int64_t threads = at::get_num_threads();
  const int64_t share = (p.num_rows + threads - 1) / threads;
  const int64_t rows = std::clamp((share + kBlockRows - 1) / kBlockRows * kBlockRows, kBlockRows, kTaskRows);
  at::parallel_for(0, (p.num_rows + rows - 1) / rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      run_rows<T>(p, c, add, task * rows, std::min(p.num_rows, (task + 1) * rows));
    }
  });
}

bool block_product_works(at::ScalarType dtype) {
  if (!gemm_has_half_products(dtype)) return false;
  const Tensor ones = at::ones({16, 16}, at::TensorOptions(dtype));
  Tensor c = at::empty({16, 16});
  try {
    gemm_block(ones, ones, c, 0.0);
  } catch (const std::exception&) {  // of LibTorch or of oneDNN
    return false;
  }
  return true;
}

}  // namespace

bool gemm_block_serves(at::ScalarType dtype) {
  static const bool bf16 = block_product_works(at::kBFloat16);
  static const bool fp16 = block_product_works(at::kHalf);
  return dtype == at::kBFloat16 ? bf16 : dtype == at::kHalf && fp16;
}

void gemm_block(const Tensor& a, const Tensor& b, Tensor& c, double beta) {
  if (a.size(0) < kFewRows && b.size(1) >= kFewRows && b.stride(0) == 1) {
    // A few rows times a large transposed b: packing b would cost more than the product, so b^T is the left operand.
    Tensor transposed = at::empty({b.size(1), a.size(0)}, c.options());
    gemm_block(b.t(), a.t(), transposed, 0.0);
    if (beta == 0.0) {
      c.copy_(transposed.t());
    } else {
      c.add_(transposed.t());
    }
    return;
  }
  const bool odd = a.size(1) % 2 != 0;
  Problem p;
  p.a = rows_of(odd ? at::constant_pad_nd(a, {0, 1}) : a);
  p.b = pairs_of(odd ? at::constant_pad_nd(b, {0, 0, 0, 1}) : b);
  p.num_rows = a.size(0);
  p.num_columns = b.size(1);
  p.length = p.a.size(1);
  if (a.scalar_type() == at::kBFloat16) {
    run<at::BFloat16>(p, c, beta != 0.0);
  } else {
    run<at::Half>(p, c, beta != 0.0);
  }
}

}  // namespace phalanx::kernels
