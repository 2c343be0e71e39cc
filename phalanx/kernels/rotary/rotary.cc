#include "phalanx/kernels/rotary/rotary.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "phalanx/base/error.h"
#include "phalanx/kernels/rotary/rotary_cpu.h"
#include "phalanx/kernels/rotary/rotary_ref.h"

namespace phalanx::kernels {
namespace {

constexpr int64_t kElementsPerTask = 1 << 14;

// cos and sin [N, r/2] of the positions that occur, and which of the N rows each row of x uses.
struct AngleTable {
  Tensor cos;
  Tensor sin;
  Tensor angle_row;  // [T] int64; undefined: row t uses table row t
};

AngleTable make_table(const Tensor& position, const RotarySpec& spec, at::ScalarType dtype) {
  AngleTable table;
  Tensor positions = position;
  if (position.device().is_cpu()) {
    // Positions usually repeat (samples of one length): one row for each value between the smallest and the largest.
    const auto [low, high] = at::aminmax(position);
    const int64_t first = low.item<int64_t>();
    const int64_t span = high.item<int64_t>() - first + 1;
    if (span < position.numel()) {
      positions = at::arange(first, first + span, position.options());
      table.angle_row = position - first;
    } else {
      table.angle_row = at::arange(position.numel(), position.options());
    }
  }
  const std::vector<double> frequencies = rotary_frequencies(spec);
  const Tensor f = at::tensor(frequencies, at::TensorOptions(at::kDouble)).to(position.device());
  const Tensor angles = positions.to(at::kDouble).unsqueeze(1) * f;
  table.cos = angles.cos().to(dtype);
  table.sin = angles.sin().to(dtype);
  return table;
}

template <typename T, typename A>
void run_cpu_as(T* data, const Tensor& x, const AngleTable& table, bool inverse) {
  const RotaryRows<T> rows{data, x.stride(0), x.stride(1), x.stride(2), x.size(1)};
  const RotaryAngles<A> angles{table.cos.const_data_ptr<A>(), table.sin.const_data_ptr<A>(),
                               table.angle_row.const_data_ptr<int64_t>(), table.cos.size(1)};
  const int64_t grain =
      std::max<int64_t>(1, kElementsPerTask / std::max<int64_t>(1, rows.heads * angles.half));
  at::parallel_for(0, x.size(0), grain,
                   [&](int64_t begin, int64_t end) { rotary_rows<T, A>(rows, angles, inverse, begin, end); });
}

// False when no body serves the dtype.
bool run_cpu(Tensor& x, const AngleTable& table, bool inverse) {
  switch (x.scalar_type()) {
    case at::kFloat:
      run_cpu_as<float, float>(x.data_ptr<float>(), x, table, inverse);
      return true;
    case at::kDouble:
      run_cpu_as<double, double>(x.data_ptr<double>(), x, table, inverse);
      return true;
    case at::kBFloat16:
      run_cpu_as<Bfloat16, float>(static_cast<Bfloat16*>(x.data_ptr()), x, table, inverse);
      return true;
    default:
      return false;
  }
}

}  // namespace

RotarySpec rotary_spec(const ModelConfig& config) {
  RotarySpec spec;
  spec.rotary_dim = static_cast<int64_t>(static_cast<double>(config.kv_channels) * config.rotary_percent);
  spec.base = config.rotary_base;
  spec.scaling = config.rope_scaling;
  spec.factor = config.rope_scaling_factor;
  spec.low_freq_factor = config.rope_low_freq_factor;
  spec.high_freq_factor = config.rope_high_freq_factor;
  spec.original_max_position = config.rope_original_max_position;
  return spec;
}

std::vector<double> rotary_frequencies(const RotarySpec& spec) {
  std::vector<double> result;
  for (int64_t i = 0; i < spec.rotary_dim / 2; ++i) {
    const double plain =
        std::pow(spec.base, -2.0 * static_cast<double>(i) / static_cast<double>(spec.rotary_dim));
    double f = plain;
    if (spec.scaling == RopeScalingKind::kLinear) f = plain / spec.factor;
    if (spec.scaling == RopeScalingKind::kLlama3) {
      // Turns within the original context: many, keep the frequency; few, stretch it; between, mix linearly.
      const double turns = static_cast<double>(spec.original_max_position) * plain / (2.0 * std::numbers::pi);
      const double range = spec.high_freq_factor - spec.low_freq_factor;
      const double keep = std::clamp((turns - spec.low_freq_factor) / range, 0.0, 1.0);
      f = keep * plain + (1.0 - keep) * plain / spec.factor;
    }
    result.push_back(f);
  }
  return result;
}

void rotary_(Tensor x_TAD, const Tensor& position_T, const RotarySpec& spec, bool inverse) {
  PHALANX_CHECK(x_TAD.dim() == 3 && position_T.dim() == 1 && x_TAD.size(0) == position_T.size(0),
                fmt::format("rotary: x {} and position {}", fmt::join(x_TAD.sizes(), "x"),
                            fmt::join(position_T.sizes(), "x")));
  PHALANX_CHECK(position_T.scalar_type() == at::kLong, "rotary: position is int64");
  PHALANX_CHECK(spec.rotary_dim > 0 && spec.rotary_dim % 2 == 0 && spec.rotary_dim <= x_TAD.size(2),
                fmt::format("rotary: {} rotary columns of {}", spec.rotary_dim, x_TAD.size(2)));
  if (x_TAD.numel() == 0) return;
  const at::ScalarType dtype = x_TAD.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const AngleTable table = make_table(position_T.contiguous(), spec, dtype);
  if (x_TAD.device().is_cpu() && run_cpu(x_TAD, table, inverse)) return;
  const bool shared = table.angle_row.defined();
  const Tensor cos = shared ? table.cos.index_select(0, table.angle_row) : table.cos;
  const Tensor sin = shared ? table.sin.index_select(0, table.angle_row) : table.sin;
  x_TAD.copy_(rotary_ref(x_TAD, cos, sin, inverse));
}

}  // namespace phalanx::kernels
