#include "phalanx/kernels/causal_conv1d/causal_conv1d.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "phalanx/base/error.h"
#include "phalanx/kernels/arguments.h"
#include "phalanx/kernels/causal_conv1d/causal_conv1d_cpu.h"
#include "phalanx/kernels/causal_conv1d/causal_conv1d_ref.h"

namespace phalanx::kernels {
namespace {

constexpr int64_t kTileRows = 64;
constexpr int64_t kTileChannels = 512;
// dweight and dbias are summed in pieces of rows, of which all samples together have about this many.
constexpr int64_t kPieces = 32;
constexpr int64_t kSmallestPiece = 128;

int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

bool has_shape(const Tensor& tensor, std::vector<int64_t> shape) {
  return tensor.defined() && tensor.sizes() == at::IntArrayRef(shape);
}

void check_parameters(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const auto dtype_fits = [&x](const Tensor& t) {
    return t.scalar_type() == x.scalar_type() || t.scalar_type() == arithmetic_dtype(x);
  };
  PHALANX_CHECK(
      weight.dim() == 2 && weight.size(0) == x.size(-1) && weight.size(1) >= 1 && dtype_fits(weight),
      fmt::format("causal_conv1d: weight {} for x {}", shape_of(weight), shape_of(x)));
  PHALANX_CHECK(!bias.defined() || (has_shape(bias, {x.size(-1)}) && dtype_fits(bias)),
                fmt::format("causal_conv1d: bias {} for x {}", shape_of(bias), shape_of(x)));
}

void check_inputs(const ConvInputs& in) {
  const Tensor& x = in.x;
  PHALANX_CHECK(x.dim() == 3 && x.is_floating_point(), "causal_conv1d: x is [B, S, C] and floating");
  check_parameters(x, in.weight, in.bias);
  PHALANX_CHECK(!in.document.defined() || (has_shape(in.document, {x.size(0), x.size(1)}) &&
                                           in.document.scalar_type() == at::kLong),
                fmt::format("causal_conv1d: document {} for x {}", shape_of(in.document), shape_of(x)));
  PHALANX_CHECK(
      !in.window.defined() || (has_shape(in.window, {x.size(0), in.weight.size(1) - 1, x.size(2)}) &&
                               in.window.scalar_type() == x.scalar_type()),
      fmt::format("causal_conv1d: window {} for x {} and {} taps", shape_of(in.window), shape_of(x),
                  in.weight.size(1)));
}

template <typename Body>
bool with_types(const Tensor& x, int64_t taps, const Body& body) {
  return taps <= kMostTaps && with_body_types(x, body);
}

// Rows of a [B, S, C] tensor; no data when it is undefined.
template <typename T>
ConvRows<const T> rows_of(const Tensor& x) {
  if (!x.defined()) return {};
  return {static_cast<const T*>(x.const_data_ptr()), x.stride(0), x.stride(1)};
}

template <typename T>
ConvRows<T> writable_rows(const Tensor& x) {
  if (!x.defined()) return {};
  return {static_cast<T*>(x.data_ptr()), x.stride(0), x.stride(1)};
}

// The problem as a body sees it; the tensors keep the pointers alive.
template <typename T, typename S>
struct Prepared {
  Tensor x, window, document, weight, bias;
  ConvProblem<T, S> raw;

  explicit Prepared(const ConvInputs& in) : x(with_unit_rows(in.x)) {
    const at::ScalarType dtype = arithmetic_dtype(x);
    if (in.window.defined()) window = with_unit_rows(in.window);
    if (in.document.defined()) document = in.document.contiguous();
    weight = in.weight.to(dtype).t().contiguous();
    bias = in.bias.defined() ? in.bias.to(dtype).contiguous() : at::zeros({x.size(2)}, weight.options());
    raw = {.rows = x.size(1),
           .channels = x.size(2),
           .taps = in.weight.size(1),
           .x = rows_of<T>(x),
           .window = rows_of<T>(window),
           .document = document.defined() ? document.const_data_ptr<int64_t>() : nullptr,
           .weight = weight.const_data_ptr<S>(),
           .bias = bias.const_data_ptr<S>()};
  }
};

// Tile number i when every sample is cut into pieces of rows and these into channels; channels change fastest.
struct Tiling {
  int64_t samples, rows, channels;
  int64_t piece;
  int64_t pieces() const { return divide_up(rows, piece); }  // of a sample
  int64_t strips() const { return divide_up(channels, kTileChannels); }
  int64_t tiles() const { return samples * pieces() * strips(); }
  int64_t piece_of(int64_t i) const { return i / strips(); }  // over all samples
  ConvTile tile(int64_t i) const {
    const int64_t row = piece_of(i) % pieces() * piece;
    const int64_t channel = i % strips() * kTileChannels;
    return {.sample = piece_of(i) / pieces(),
            .first_row = row,
            .end_row = std::min(rows, row + piece),
            .first_channel = channel,
            .end_channel = std::min(channels, channel + kTileChannels)};
  }
};

ConvGradients no_rows(const ConvInputs& in) {
  const auto options = in.x.options().dtype(arithmetic_dtype(in.x));
  ConvGradients result;
  result.dweight = at::zeros(in.weight.sizes(), options);
  if (in.bias.defined()) result.dbias = at::zeros(in.bias.sizes(), options);
  if (in.window.defined()) result.dwindow = at::zeros(in.window.sizes(), options);
  return result;
}

}  // namespace

Tensor causal_conv1d_forward(const ConvInputs& in) {
  check_inputs(in);
  Tensor y = at::empty(in.x.sizes(), in.x.options());
  if (y.numel() == 0) return y;
  const bool done = with_types(in.x, in.weight.size(1), [&](auto storage, auto arithmetic) {
    using T = decltype(storage);
    using S = decltype(arithmetic);
    const Prepared<T, S> problem(in);
    const ConvRows<T> to = writable_rows<T>(y);
    const Tiling tiling{in.x.size(0), in.x.size(1), in.x.size(2), kTileRows};
    at::parallel_for(0, tiling.tiles(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) conv_forward_tile<T, S>(problem.raw, tiling.tile(i), to);
    });
  });
  return done ? y : causal_conv1d_forward_ref(in);
}

ConvGradients causal_conv1d_backward(const Tensor& dy, const ConvInputs& in, Tensor dx) {
  check_inputs(in);
  for (const auto& [gradient, name] : {std::pair{dy, "dy"}, {dx, "dx"}}) {
    PHALANX_CHECK(gradient.sizes() == in.x.sizes() && gradient.scalar_type() == in.x.scalar_type(),
                  fmt::format("causal_conv1d: {} {} for x {}", name, shape_of(gradient), shape_of(in.x)));
  }
  PHALANX_CHECK(dx.size(2) <= 1 || dx.stride(2) == 1, "causal_conv1d: the channels of dx are contiguous");
  if (dx.numel() == 0) return no_rows(in);
  ConvGradients result;
  const int64_t taps = in.weight.size(1);
  const bool done = with_types(in.x, taps, [&](auto storage, auto arithmetic) {
    using T = decltype(storage);
    using S = decltype(arithmetic);
    const Prepared<T, S> problem(in);
    const Tensor gradient = with_unit_rows(dy);
    const int64_t samples = in.x.size(0);
    const int64_t rows = in.x.size(1);
    const int64_t of_sample = std::max<int64_t>(1, kPieces / samples);
    const int64_t piece = std::max(kSmallestPiece, divide_up(rows, of_sample));
    const Tiling tiling{samples, rows, in.x.size(2), piece};
    const Tensor partial =
        at::zeros({samples * tiling.pieces(), taps + 1, in.x.size(2)}, problem.weight.options());
    if (in.window.defined()) result.dwindow = at::empty(in.window.sizes(), problem.weight.options());
    const ConvRows<const T> dy_rows = rows_of<T>(gradient);
    const ConvRows<T> dx_rows = writable_rows<T>(dx);
    const ConvRows<S> dwindow_rows = writable_rows<S>(result.dwindow);
    S* sums = partial.data_ptr<S>();
    at::parallel_for(0, tiling.tiles(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        conv_backward_tile<T, S>(problem.raw, dy_rows, tiling.tile(i),
                                 {dx_rows, dwindow_rows, sums + tiling.piece_of(i) * partial.stride(0)});
      }
    });
    Tensor total = partial.select(0, 0);
    for (int64_t p = 1; p < partial.size(0); ++p) total.add_(partial.select(0, p));
    result.dweight = total.narrow(0, 0, taps).t().contiguous();
    if (in.bias.defined()) result.dbias = total.select(0, taps).clone();
  });
  return done ? result : causal_conv1d_backward_ref(dy, in, dx);
}

Tensor causal_conv1d_step(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& windows,
                          const Tensor& slot) {
  PHALANX_CHECK(x.dim() == 2 && x.is_floating_point(), "causal_conv1d: x of a step is [n, C] and floating");
  check_parameters(x, weight, bias);
  const int64_t taps = weight.size(1);
  PHALANX_CHECK(
      windows.dim() == 3 && windows.size(1) == taps - 1 && windows.size(2) == x.size(1) &&
          windows.scalar_type() == x.scalar_type() && windows.stride(2) == 1,
      fmt::format("causal_conv1d: windows {} for x {} and {} taps", shape_of(windows), shape_of(x), taps));
  PHALANX_CHECK(has_shape(slot, {x.size(0)}) && slot.scalar_type() == at::kLong,
                fmt::format("causal_conv1d: slot {} for x {}", shape_of(slot), shape_of(x)));
  const Tensor slots = slot.contiguous();
  if (slots.device().is_cpu()) check_slots(slots, windows.size(0), "causal_conv1d");
  Tensor y = at::empty(x.sizes(), x.options());
  if (y.numel() == 0) return y;
  const bool done = with_types(x, taps, [&](auto storage, auto arithmetic) {
    using T = decltype(storage);
    using S = decltype(arithmetic);
    const Prepared<T, S> problem(
        {.x = x.unsqueeze(1), .weight = weight, .bias = bias, .document = {}, .window = {}});
    const int64_t channels = x.size(1);
    const int64_t strips = divide_up(channels, kTileChannels);
    T* pool = static_cast<T*>(windows.data_ptr());
    T* to = static_cast<T*>(y.data_ptr());
    at::parallel_for(0, x.size(0) * strips, kTileRows / 2, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = i / strips;
        const int64_t first = i % strips * kTileChannels;
        const ConvStep<T, S> step{.x = problem.raw.x.row(row, 0),
                                  .window = pool + slots.const_data_ptr<int64_t>()[row] * windows.stride(0),
                                  .window_stride = windows.stride(1),
                                  .y = to + row * channels};
        conv_step<T, S>(problem.raw, step, first, std::min(channels, first + kTileChannels));
      }
    });
  });
  return done ? y : causal_conv1d_step_ref(x, weight, bias, windows, slots);
}

Tensor causal_conv1d_window(const Tensor& x, const Tensor& window, int64_t taps) {
  PHALANX_CHECK(x.dim() == 2 && taps >= 1, fmt::format("causal_conv1d: {} taps and x {}", taps, shape_of(x)));
  PHALANX_CHECK(
      !window.defined() ||
          (has_shape(window, {taps - 1, x.size(1)}) && window.scalar_type() == x.scalar_type()),
      fmt::format("causal_conv1d: window {} for x {} and {} taps", shape_of(window), shape_of(x), taps));
  const Tensor before = window.defined() ? window : at::zeros({taps - 1, x.size(1)}, x.options());
  const int64_t fresh = std::min(x.size(0), taps - 1);
  return at::cat({before.narrow(0, fresh, taps - 1 - fresh), x.narrow(0, x.size(0) - fresh, fresh)}, 0);
}

}  // namespace phalanx::kernels
