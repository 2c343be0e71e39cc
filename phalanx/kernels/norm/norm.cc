#include "phalanx/kernels/norm/norm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>

#include "phalanx/base/error.h"
#include "phalanx/kernels/arguments.h"
#include "phalanx/kernels/norm/norm_cpu.h"
#include "phalanx/kernels/norm/norm_ref.h"

namespace phalanx::kernels {
namespace {

constexpr int64_t kElementsPerTask = 1 << 14;
// dweight is summed in at most this many pieces, whatever the number of threads.
constexpr int64_t kPieces = 32;
constexpr int64_t kSmallestPiece = 16;

void check_affine(const Tensor& x, const Tensor& parameter, const char* name) {
  PHALANX_CHECK(parameter.defined() && parameter.dim() == 1 && parameter.size(0) == x.size(-1),
                fmt::format("norm: {} {} for x {}", name, parameter.defined() ? shape_of(parameter) : "none",
                            shape_of(x)));
  PHALANX_CHECK(parameter.scalar_type() == x.scalar_type() || parameter.scalar_type() == arithmetic_dtype(x),
                fmt::format("norm: {} {} for x {}", name, shape_of(parameter), shape_of(x)));
}

void check_input(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  PHALANX_CHECK(x.dim() >= 1 && x.size(-1) >= 1 && x.is_floating_point(), "norm: x is [.., H] and floating");
  check_affine(x, weight, "weight");
  if (bias.defined()) check_affine(x, bias, "bias");
}

void check_statistics(const Tensor& x, const Tensor& mean, const Tensor& rstd, const NormSpec& spec) {
  const auto fits = [&x](const Tensor& s) {
    return s.defined() && s.scalar_type() == arithmetic_dtype(x) && s.dim() == x.dim() && s.size(-1) == 1 &&
           s.numel() * x.size(-1) == x.numel();
  };
  PHALANX_CHECK(fits(rstd), fmt::format("norm: rstd does not fit x {}", shape_of(x)));
  PHALANX_CHECK(spec.rms ? !mean.defined() : fits(mean),
                fmt::format("norm: mean does not fit x {}", shape_of(x)));
}

// A body reads rows of unit stride under at most two leading dims; anything else is copied.
Tensor readable(const Tensor& x) {
  return x.dim() <= 3 && (x.size(-1) == 1 || x.stride(-1) == 1) ? x : x.contiguous();
}

template <typename T>
NormRows<T> rows_of(const Tensor& x) {
  const auto* data = static_cast<const T*>(x.const_data_ptr());
  if (x.dim() == 3) return {data, std::max<int64_t>(1, x.size(1)), x.stride(0), x.stride(1)};
  if (x.dim() == 2) return {data, 1, x.stride(0), 0};
  return {data, 1, x.size(-1), 0};  // contiguous
}

template <typename S>
S* data_or_null(const Tensor& tensor) {
  return tensor.defined() ? tensor.data_ptr<S>() : nullptr;
}

template <typename Body>
void for_rows(int64_t rows, int64_t columns, const Body& body) {
  at::parallel_for(0, rows, std::max<int64_t>(1, kElementsPerTask / columns), body);
}

// Weight (1 + weight for one_plus) and bias in the statistics' dtype; the tensors keep the pointers alive.
template <typename S>
struct Affine {
  Tensor weight;
  Tensor bias;
  NormAffine<S> raw;

  Affine(const Tensor& x, const Tensor& given_weight, const Tensor& given_bias, const NormSpec& spec) {
    weight = given_weight.to(arithmetic_dtype(x)).contiguous();
    if (spec.one_plus) weight = weight + 1.0;
    if (given_bias.defined()) bias = given_bias.to(arithmetic_dtype(x)).contiguous();
    raw = {weight.const_data_ptr<S>(), data_or_null<S>(bias), x.size(-1)};
  }
};

}  // namespace

NormForward norm_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const NormSpec& spec) {
  check_input(x, weight, bias);
  NormForward result;
  const bool done = with_body_types(x, [&](auto storage, auto arithmetic) {
    using T = decltype(storage);
    using S = decltype(arithmetic);
    const Tensor input = readable(x);
    const int64_t columns = x.size(-1);
    std::vector<int64_t> shape = x.sizes().vec();
    result.y = at::empty(shape, x.options());
    shape.back() = 1;
    result.rstd = at::empty(shape, x.options().dtype(arithmetic_dtype(x)));
    if (!spec.rms) result.mean = at::empty_like(result.rstd);
    const Affine<S> affine(x, weight, bias, spec);
    const NormRows<T> rows = rows_of<T>(input);
    S* mean = data_or_null<S>(result.mean);
    S* rstd = result.rstd.data_ptr<S>();
    T* y = static_cast<T*>(result.y.data_ptr());
    for_rows(result.rstd.numel(), columns, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {  // row by row, so that apply finds it in the cache
        norm_statistics_rows<T, S>(rows, columns, spec.epsilon, mean, rstd, r, r + 1);
        norm_apply_rows<T, S>(rows, mean, rstd, affine.raw, y, r, r + 1);
      }
    });
  });
  return done ? result : norm_forward_ref(x, weight, bias, spec);
}

Tensor norm_apply(const Tensor& x, const Tensor& mean, const Tensor& rstd, const Tensor& weight,
                  const Tensor& bias, const NormSpec& spec) {
  check_input(x, weight, bias);
  check_statistics(x, mean, rstd, spec);
  Tensor y;
  const bool done = with_body_types(x, [&](auto storage, auto arithmetic) {
    using T = decltype(storage);
    using S = decltype(arithmetic);
    const Tensor input = readable(x);
    y = at::empty(x.sizes(), x.options());
    const Affine<S> affine(x, weight, bias, spec);
    const Tensor means = mean.defined() ? mean.contiguous() : mean;
    const Tensor rstds = rstd.contiguous();
    const NormRows<T> rows = rows_of<T>(input);
    T* to = static_cast<T*>(y.data_ptr());
    for_rows(rstds.numel(), x.size(-1), [&](int64_t begin, int64_t end) {
      norm_apply_rows<T, S>(rows, data_or_null<S>(means), rstds.const_data_ptr<S>(), affine.raw, to, begin,
                            end);
    });
  });
  return done ? y : norm_apply_ref(x, mean, rstd, weight, bias, spec);
}

NormBackward norm_backward(const Tensor& dy, const Tensor& x, const Tensor& mean, const Tensor& rstd,
                           const Tensor& weight, bool has_bias, const NormSpec& spec) {
  check_input(x, weight, Tensor());
  check_statistics(x, mean, rstd, spec);
  PHALANX_CHECK(dy.sizes() == x.sizes() && dy.scalar_type() == x.scalar_type(),
                fmt::format("norm: dy {} for x {}", shape_of(dy), shape_of(x)));
  NormBackward result;
  const bool done = with_body_types(x, [&](auto storage, auto arithmetic) {
    using T = decltype(storage);
    using S = decltype(arithmetic);
    const Tensor input = readable(x);
    const Tensor gradient = readable(dy);
    const int64_t columns = x.size(-1);
    const int64_t num_rows = rstd.numel();
    const int64_t piece = std::max(kSmallestPiece, (num_rows + kPieces - 1) / kPieces);
    const int64_t pieces = (num_rows + piece - 1) / piece;
    result.dx = at::empty(x.sizes(), x.options());
    Tensor partial = at::zeros({std::max<int64_t>(1, pieces), has_bias ? 2 : 1, columns}, rstd.options());
    const Affine<S> affine(x, weight, Tensor(), spec);
    const Tensor means = mean.defined() ? mean.contiguous() : mean;
    const Tensor rstds = rstd.contiguous();
    T* dx = static_cast<T*>(result.dx.data_ptr());
    S* sums = partial.data_ptr<S>();
    at::parallel_for(0, pieces, 1, [&](int64_t first, int64_t last) {
      for (int64_t p = first; p < last; ++p) {
        S* dweight = sums + p * partial.stride(0);
        norm_backward_rows<T, S>(rows_of<T>(gradient), rows_of<T>(input), data_or_null<S>(means),
                                 rstds.const_data_ptr<S>(), affine.raw, dx, dweight,
                                 has_bias ? dweight + columns : nullptr, p * piece,
                                 std::min(num_rows, (p + 1) * piece));
      }
    });
    Tensor total = partial.select(0, 0);
    for (int64_t p = 1; p < pieces; ++p) total.add_(partial.select(0, p));
    result.dweight = total.select(0, 0).clone();
    if (has_bias) result.dbias = total.select(0, 1).clone();
  });
  return done ? result : norm_backward_ref(dy, x, mean, rstd, weight, has_bias, spec);
}

}  // namespace phalanx::kernels
