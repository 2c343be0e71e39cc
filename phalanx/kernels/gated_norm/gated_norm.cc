#include "phalanx/kernels/gated_norm/gated_norm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "phalanx/base/error.h"
#include "phalanx/kernels/arguments.h"
#include "phalanx/kernels/gated_norm/gated_norm_cpu.h"
#include "phalanx/kernels/gated_norm/gated_norm_ref.h"

namespace phalanx::kernels {
namespace {

constexpr int64_t kElementsPerTask = 1 << 13;
// dweight is summed in at most this many pieces, whatever the number of threads.
constexpr int64_t kPieces = 32;
constexpr int64_t kSmallestPiece = 16;

// The norm groups that this rank's channels touch: [first, first + count).
struct Touched {
  int64_t first;
  int64_t count;

  Touched(int64_t channels, const GatedNormSpec& spec)
      : first(spec.first_channel / spec.group_size),
        count((spec.first_channel + channels + spec.group_size - 1) / spec.group_size - first) {}
};

void check_spec(int64_t channels, const GatedNormSpec& spec) {
  PHALANX_CHECK(
      spec.group_size >= 1 && spec.channels_global >= 1 && spec.channels_global % spec.group_size == 0,
      fmt::format("gated_norm: groups of {} in {} channels", spec.group_size, spec.channels_global));
  // Equal shares in some order, so that all ranks agree on whether groups span them.
  const int64_t ranks = spec.group == nullptr ? 1 : spec.group->size();
  PHALANX_CHECK(channels * ranks == spec.channels_global && spec.first_channel % channels == 0 &&
                    spec.first_channel >= 0 && spec.first_channel < spec.channels_global,
                fmt::format("gated_norm: {} channels from {} of {} on each of {} ranks", channels,
                            spec.first_channel, spec.channels_global, ranks));
}

void check_inputs(const Tensor& y, const Tensor& z, const Tensor& weight, const GatedNormSpec& spec) {
  PHALANX_CHECK(y.dim() == 2 && y.size(1) >= 1 && y.is_floating_point(),
                "gated_norm: y is [T, D] and floating");
  PHALANX_CHECK(z.sizes() == y.sizes() && z.scalar_type() == y.scalar_type(),
                fmt::format("gated_norm: z {} for y {}", shape_of(z), shape_of(y)));
  PHALANX_CHECK(weight.dim() == 1 && weight.size(0) == y.size(1) &&
                    (weight.scalar_type() == y.scalar_type() || weight.scalar_type() == arithmetic_dtype(y)),
                fmt::format("gated_norm: weight {} for y {}", shape_of(weight), shape_of(y)));
  check_spec(y.size(1), spec);
}

void check_rstd(const Tensor& y, const Tensor& rstd, const GatedNormSpec& spec) {
  PHALANX_CHECK(rstd.defined() && rstd.dim() == 2 && rstd.size(0) == y.size(0) &&
                    rstd.size(1) == Touched(y.size(1), spec).count &&
                    rstd.scalar_type() == arithmetic_dtype(y),
                fmt::format("gated_norm: rstd {} for y {} in groups of {}", shape_of(rstd), shape_of(y),
                            spec.group_size));
}

bool groups_span_ranks(const Tensor& y, const GatedNormSpec& spec) {
  return spec.group != nullptr && y.size(1) % spec.group_size != 0;
}

// Sums [T, n] of all ranks. Ranks touch different groups, a collective has one shape: all groups take part.
Tensor sum_over_ranks(const Tensor& own, int64_t channels, const GatedNormSpec& spec) {
  if (own.numel() == 0) return own;
  const Touched touched(channels, spec);
  Tensor all = at::zeros({own.size(0), spec.channels_global / spec.group_size}, own.options());
  all.narrow(1, touched.first, touched.count).copy_(own);
  spec.group->all_reduce(all);
  return all.narrow(1, touched.first, touched.count).contiguous();
}

// The inputs as a body sees them; the tensors keep the pointers alive.
template <typename T, typename S>
struct Prepared {
  Tensor y, z, weight;
  GatedRows<T, S> raw;

  Prepared(const Tensor& given_y, const Tensor& given_z, const Tensor& given_weight,
           const GatedNormSpec& spec)
      : y(with_unit_rows(given_y)), z(with_unit_rows(given_z)) {
    if (given_weight.defined()) weight = given_weight.to(arithmetic_dtype(y)).contiguous();
    raw = {.y = static_cast<const T*>(y.const_data_ptr()),
           .y_stride = y.stride(0),
           .z = static_cast<const T*>(z.const_data_ptr()),
           .z_stride = z.stride(0),
           .weight = weight.defined() ? weight.const_data_ptr<S>() : nullptr,
           .columns = y.size(1),
           .group_size = spec.group_size,
           .missing_before = spec.first_channel % spec.group_size,
           .norm_before_gate = spec.norm_before_gate,
           .epsilon = spec.epsilon};
  }
};

template <typename Body>
void for_rows(const Tensor& y, const Body& body) {
  at::parallel_for(0, y.size(0), std::max<int64_t>(1, kElementsPerTask / y.size(1)), body);
}

Tensor empty_statistics(const Tensor& y, const GatedNormSpec& spec) {
  return at::empty({y.size(0), Touched(y.size(1), spec).count}, y.options().dtype(arithmetic_dtype(y)));
}

Tensor squares_of(const Tensor& y, const Tensor& z, const GatedNormSpec& spec) {
  Tensor squares = empty_statistics(y, spec);
  const bool done = with_body_types(y, [&](auto storage, auto arithmetic) {
    using T = decltype(storage);
    using S = decltype(arithmetic);
    const Prepared<T, S> rows(y, z, Tensor(), spec);
    for_rows(y, [&](int64_t begin, int64_t end) {
      gated_squares_rows<T, S>(rows.raw, squares.data_ptr<S>(), begin, end);
    });
  });
  return done ? squares : gated_norm_squares_ref(y, z, spec);
}

Tensor apply_rstd(const Tensor& y, const Tensor& z, const Tensor& rstd, const Tensor& weight,
                  const GatedNormSpec& spec) {
  Tensor out = at::empty(y.sizes(), y.options());
  const bool done = with_body_types(y, [&](auto storage, auto arithmetic) {
    using T = decltype(storage);
    using S = decltype(arithmetic);
    const Prepared<T, S> rows(y, z, weight, spec);
    const Tensor statistics = rstd.contiguous();
    T* to = static_cast<T*>(out.data_ptr());
    for_rows(y, [&](int64_t begin, int64_t end) {
      gated_apply_rows<T, S>(rows.raw, statistics.const_data_ptr<S>(), to, begin, end);
    });
  });
  return done ? out : gated_norm_apply_ref(y, z, rstd, weight, spec);
}

// What backward works on; dz is written.
struct Backward {
  const Tensor& dout;
  const Tensor& y;
  const Tensor& z;
  const Tensor& rstd;
  const Tensor& weight;
  const GatedNormSpec& spec;
  Tensor dz;
};

template <typename T, typename S>
GatedGradients<T, S> gradients_of(const Backward& b, const Tensor& dout, const Tensor& rstd,
                                  const Tensor& dy) {
  return {.dout = static_cast<const T*>(dout.const_data_ptr()),
          .dout_stride = dout.stride(0),
          .rstd = rstd.const_data_ptr<S>(),
          .dy = dy.defined() ? static_cast<T*>(dy.data_ptr()) : nullptr,
          .dz = static_cast<T*>(b.dz.data_ptr()),
          .dz_stride = b.dz.stride(0)};
}

Tensor products_of(const Backward& b) {
  Tensor products = empty_statistics(b.y, b.spec);
  const bool done = with_body_types(b.y, [&](auto storage, auto arithmetic) {
    using T = decltype(storage);
    using S = decltype(arithmetic);
    const Prepared<T, S> rows(b.y, b.z, b.weight, b.spec);
    const Tensor dout = with_unit_rows(b.dout);
    const Tensor rstd = b.rstd.contiguous();
    const GatedGradients<T, S> g = gradients_of<T, S>(b, dout, rstd, Tensor());
    for_rows(b.y, [&](int64_t begin, int64_t end) {
      gated_products_rows<T, S>(rows.raw, g, products.data_ptr<S>(), begin, end);
    });
  });
  return done ? products : gated_norm_products_ref(b.dout, b.y, b.z, b.rstd, b.weight, b.spec);
}

// `products` over all ranks; undefined: a body takes its own.
GatedNormBackward gradients(const Backward& b, const Tensor& products) {
  GatedNormBackward result;
  const bool done = with_body_types(b.y, [&](auto storage, auto arithmetic) {
    using T = decltype(storage);
    using S = decltype(arithmetic);
    const Prepared<T, S> rows(b.y, b.z, b.weight, b.spec);
    const Tensor dout = with_unit_rows(b.dout);
    const Tensor rstd = b.rstd.contiguous();
    const int64_t num_rows = b.y.size(0);
    const int64_t columns = b.y.size(1);
    const int64_t piece = std::max(kSmallestPiece, (num_rows + kPieces - 1) / kPieces);
    const int64_t pieces = (num_rows + piece - 1) / piece;
    result.dy = at::empty(b.y.sizes(), b.y.options());
    const Tensor partial = at::zeros({std::max<int64_t>(1, pieces), columns}, rstd.options());
    const GatedGradients<T, S> g = gradients_of<T, S>(b, dout, rstd, result.dy);
    const S* sums = products.defined() ? products.const_data_ptr<S>() : nullptr;
    S* dweight = partial.data_ptr<S>();
    at::parallel_for(0, pieces, 1, [&](int64_t first, int64_t last) {
      for (int64_t p = first; p < last; ++p) {
        gated_backward_rows<T, S>(rows.raw, g, sums, dweight + p * columns, p * piece,
                                  std::min(num_rows, (p + 1) * piece));
      }
    });
    result.dweight = partial.select(0, 0);
    for (int64_t p = 1; p < pieces; ++p) result.dweight.add_(partial.select(0, p));
    result.dweight = result.dweight.clone();
  });
  if (done) return result;
  const Tensor sums = products.defined() ? products : products_of(b);
  return gated_norm_gradients_ref(b.dout, b.y, b.z, b.rstd, b.weight, sums, b.spec, b.dz);
}

}  // namespace

GatedNormForward gated_norm_forward(const Tensor& y, const Tensor& z, const Tensor& weight,
                                    const GatedNormSpec& spec) {
  check_inputs(y, z, weight, spec);
  if (groups_span_ranks(y, spec)) {
    const Tensor squares = sum_over_ranks(squares_of(y, z, spec), y.size(1), spec);
    const Tensor rstd = gated_norm_rstd_ref(squares, spec);
    return {apply_rstd(y, z, rstd, weight, spec), rstd};
  }
  GatedNormForward result;
  const bool done = with_body_types(y, [&](auto storage, auto arithmetic) {
    using T = decltype(storage);
    using S = decltype(arithmetic);
    const Prepared<T, S> rows(y, z, weight, spec);
    result = {at::empty(y.sizes(), y.options()), empty_statistics(y, spec)};
    T* out = static_cast<T*>(result.out.data_ptr());
    S* rstd = result.rstd.data_ptr<S>();
    for_rows(y,
             [&](int64_t begin, int64_t end) { gated_forward_rows<T, S>(rows.raw, rstd, out, begin, end); });
  });
  return done ? result : gated_norm_forward_ref(y, z, weight, spec);
}

Tensor gated_norm_apply(const Tensor& y, const Tensor& z, const Tensor& rstd, const Tensor& weight,
                        const GatedNormSpec& spec) {
  check_inputs(y, z, weight, spec);
  check_rstd(y, rstd, spec);
  return apply_rstd(y, z, rstd, weight, spec);
}

GatedNormBackward gated_norm_backward(const Tensor& dout, const Tensor& y, const Tensor& z,
                                      const Tensor& rstd, const Tensor& weight, const GatedNormSpec& spec,
                                      Tensor dz) {
  check_inputs(y, z, weight, spec);
  check_rstd(y, rstd, spec);
  PHALANX_CHECK(dout.sizes() == y.sizes() && dout.scalar_type() == y.scalar_type(),
                fmt::format("gated_norm: dout {} for y {}", shape_of(dout), shape_of(y)));
  PHALANX_CHECK(dz.sizes() == y.sizes() && dz.scalar_type() == y.scalar_type() &&
                    (dz.size(1) == 1 || dz.stride(1) == 1),
                fmt::format("gated_norm: dz {} for y {}, channels contiguous", shape_of(dz), shape_of(y)));
  const Backward b{dout, y, z, rstd, weight, spec, dz};
  Tensor products;
  if (groups_span_ranks(y, spec)) products = sum_over_ranks(products_of(b), y.size(1), spec);
  return gradients(b, products);
}

}  // namespace phalanx::kernels
