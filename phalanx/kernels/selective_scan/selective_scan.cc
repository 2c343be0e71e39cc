#include "phalanx/kernels/selective_scan/selective_scan.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "phalanx/base/error.h"
#include "phalanx/kernels/arguments.h"
#include "phalanx/kernels/selective_scan/selective_scan_cpu.h"
#include "phalanx/kernels/selective_scan/selective_scan_ref.h"

namespace phalanx::kernels {
namespace {

// Channels of a block: whatever the number of threads, since dB and dC are summed block by block; and at most so many
// blocks, since each has its own dB and dC.
constexpr int64_t kSmallestBlock = 64;
constexpr int64_t kMostBlocks = 32;
constexpr int64_t kBlockUnit = 16;
constexpr int64_t kStepWorkPerTask = 1 << 14;  // channels x states

void check(const Tensor& tensor, at::IntArrayRef shape, at::ScalarType dtype, const char* name) {
  PHALANX_CHECK(tensor.defined() && tensor.sizes() == shape && tensor.scalar_type() == dtype,
                fmt::format("selective_scan: {} {}, needed {} [{}]", name, shape_of(tensor),
                            c10::toString(dtype), fmt::join(shape, ", ")));
}

struct Sizes {
  std::vector<int64_t> by_channel;  // of x
  std::vector<int64_t> by_state;    // of B
  int64_t channels = 0;
  int64_t states = 0;

  Sizes(const ScanInputs& in, int64_t dims) {
    PHALANX_CHECK(in.x.defined() && in.x.dim() == dims && in.x.is_floating_point(),
                  fmt::format("selective_scan: x {}, needed {} dims", shape_of(in.x), dims));
    PHALANX_CHECK(in.A_log.defined() && in.A_log.dim() == 2 && in.A_log.size(1) >= 1,
                  fmt::format("selective_scan: A_log {}, needed [C, N]", shape_of(in.A_log)));
    channels = in.x.size(-1);
    states = in.A_log.size(1);
    by_channel = in.x.sizes().vec();
    by_state = by_channel;
    by_state.back() = states;
  }
};

void check_common(const ScanInputs& in, const Sizes& sizes) {
  const at::ScalarType dtype = in.x.scalar_type();
  check(in.dt, sizes.by_channel, dtype, "dt");
  check(in.z, sizes.by_channel, dtype, "z");
  check(in.B, sizes.by_state, dtype, "B");
  check(in.C, sizes.by_state, dtype, "C");
  check(in.A_log, {sizes.channels, sizes.states}, arithmetic_dtype(in.x), "A_log");
  check(in.D, {sizes.channels}, arithmetic_dtype(in.x), "D");
  check(in.dt_bias, {sizes.channels}, arithmetic_dtype(in.x), "dt_bias");
}

Sizes check_sequence(const ScanInputs& in, int64_t chunk) {
  Sizes sizes(in, 3);
  check_common(in, sizes);
  const int64_t samples = in.x.size(0);
  const int64_t rows = in.x.size(1);
  PHALANX_CHECK(rows >= 1 && chunk >= 1, fmt::format("selective_scan: {} rows in chunks of {}", rows, chunk));
  if (in.document.defined()) check(in.document, {samples, rows}, at::kLong, "document");
  if (in.initial.defined()) {
    check(in.initial, {samples, sizes.channels, sizes.states}, arithmetic_dtype(in.x), "initial");
  }
  return sizes;
}

// As the bodies read: rows of unit stride, in the dtype of the arithmetic.
Tensor readable(const Tensor& tensor, at::ScalarType dtype) {
  return with_unit_rows(tensor.to(dtype));
}

template <typename T, typename S>
ScanRows<T> rows_of(const Tensor& tensor, S* data) {
  return {data, tensor.stride(0), tensor.dim() == 3 ? tensor.stride(1) : 0};
}

// The inputs for the bodies; the tensors keep the pointers alive.
template <typename S>
struct Prepared {
  std::vector<Tensor> held;
  ScanProblem<S> raw;

  explicit Prepared(const ScanInputs& in) {
    raw.x = input(in.x);
    raw.dt = input(in.dt);
    raw.z = input(in.z);
    raw.B = input(in.B);
    raw.C = input(in.C);
    raw.A = hold(in.A_log.exp().neg_());
    raw.D = hold(in.D);
    raw.dt_bias = hold(in.dt_bias);
    raw.rows = 1;
    raw.channels = in.x.size(-1);
    raw.states = in.A_log.size(1);
  }

  // What only whole sequences have.
  Prepared(const ScanInputs& in, int64_t chunk) : Prepared(in) {
    raw.rows = in.x.size(1);
    raw.chunk = chunk;
    raw.initial = hold(in.initial);
    if (in.document.defined()) {
      held.push_back(in.document.contiguous());
      raw.document = held.back().template const_data_ptr<int64_t>();
    }
  }

  ScanRows<const S> input(const Tensor& tensor) {
    held.push_back(readable(tensor, c10::CppTypeToScalarType<S>::value));
    return rows_of<const S>(held.back(), held.back().template const_data_ptr<S>());
  }

  const S* hold(const Tensor& tensor) {
    if (!tensor.defined()) return nullptr;
    held.push_back(tensor.contiguous());
    return held.back().template const_data_ptr<S>();
  }
};

// A gradient that a body writes: in place where it can, else copied by finish().
template <typename S>
struct Written {
  Tensor target;
  Tensor own;
  ScanRows<S> raw;

  explicit Written(const Tensor& to) : target(to), own(to) {
    const bool direct = to.scalar_type() == c10::CppTypeToScalarType<S>::value && to.stride(-1) == 1;
    if (!direct) own = at::empty(to.sizes(), to.options().dtype(c10::CppTypeToScalarType<S>::value));
    raw = rows_of<S>(own, own.template data_ptr<S>());
  }
  void finish() const {
    if (!own.is_same(target)) target.copy_(own);
  }
};

struct Blocks {
  int64_t channels = 0;  // of all
  int64_t each = 0;
  int64_t count = 0;

  explicit Blocks(int64_t all) : channels(all) {
    const int64_t least = (all + kMostBlocks - 1) / kMostBlocks;
    each = std::max(kSmallestBlock, (least + kBlockUnit - 1) / kBlockUnit * kBlockUnit);
    count = (all + each - 1) / each;
  }
  ScanBlock block(int64_t sample, int64_t index) const {
    return {sample, index * each, std::min(channels, (index + 1) * each)};
  }
};

// body(sample, block) for all, in parallel.
template <typename Body>
void for_blocks(int64_t samples, const Blocks& blocks, int64_t grain, const Body& body) {
  at::parallel_for(0, samples * blocks.count, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) body(task / blocks.count, task % blocks.count);
  });
}

// Sum over a dim, in order.
Tensor sum_in_order(const Tensor& parts, int64_t dim) {
  Tensor total = parts.select(dim, 0).clone();
  for (int64_t i = 1; i < parts.size(dim); ++i) total.add_(parts.select(dim, i));
  return total;
}

template <typename S>
ScanForward forward_cpu(const ScanInputs& in, const Sizes& sizes, int64_t chunk) {
  const Prepared<S> prepared(in, chunk);
  const ScanProblem<S>& p = prepared.raw;
  const int64_t samples = in.x.size(0);
  const at::TensorOptions options = in.A_log.options();
  const Tensor out = at::empty(sizes.by_channel, options);
  ScanForward result;
  result.states = at::empty({samples, p.chunks(), p.channels, p.states}, options);
  result.final_state = at::empty({samples, p.channels, p.states}, options);
  const ScanResults<S> raw{rows_of<S>(out, out.data_ptr<S>()), result.states.data_ptr<S>(),
                           result.final_state.data_ptr<S>()};
  const Blocks blocks(p.channels);
  for_blocks(samples, blocks, 1, [&](int64_t sample, int64_t index) {
    scan_forward_block<S>(p, blocks.block(sample, index), raw);
  });
  result.out = out.to(in.x.scalar_type());
  return result;
}

template <typename S>
ScanGradients backward_cpu(const Tensor& dout, const Tensor& dfinal, const ScanInputs& in,
                           const Tensor& states, const ScanInputGradients& d, int64_t chunk) {
  Prepared<S> prepared(in, chunk);
  const ScanProblem<S>& p = prepared.raw;
  const int64_t samples = in.x.size(0);
  const at::TensorOptions options = in.A_log.options();
  const Blocks blocks(p.channels);
  const Tensor dB = at::zeros({samples, blocks.count, p.rows, p.padded_states()}, options);
  const Tensor dC = at::zeros_like(dB);
  const Tensor dA = at::empty({samples, p.channels, p.states}, options);
  const Tensor dD = at::empty({samples, p.channels}, options);
  const Tensor ddt_bias = at::empty_like(dD);
  const Written<S> dx(d.dx);
  const Written<S> ddt(d.ddt);
  const Written<S> dz(d.dz);
  ScanGradients result;
  if (in.initial.defined()) result.dinitial = at::empty(in.initial.sizes(), options);
  ScanAdjoint<S> raw;
  raw.dout = prepared.input(dout);
  raw.states = prepared.hold(states);
  raw.dfinal = prepared.hold(dfinal);
  raw.dx = dx.raw;
  raw.ddt = ddt.raw;
  raw.dz = dz.raw;
  raw.dA = dA.data_ptr<S>();
  raw.dD = dD.data_ptr<S>();
  raw.ddt_bias = ddt_bias.data_ptr<S>();
  if (result.dinitial.defined()) raw.dinitial = result.dinitial.data_ptr<S>();
  for_blocks(samples, blocks, 1, [&](int64_t sample, int64_t index) {
    ScanAdjoint<S> own = raw;
    own.dB = dB.select(0, sample).select(0, index).template data_ptr<S>();
    own.dC = dC.select(0, sample).select(0, index).template data_ptr<S>();
    scan_backward_block<S>(p, blocks.block(sample, index), own);
  });
  for (const Written<S>* written : {&dx, &ddt, &dz}) written->finish();
  d.dB.copy_(sum_in_order(dB, 1).narrow(-1, 0, p.states));
  d.dC.copy_(sum_in_order(dC, 1).narrow(-1, 0, p.states));
  result.dA_log = sum_in_order(dA, 0).mul_(in.A_log.exp()).neg_();
  result.dD = sum_in_order(dD, 0);
  result.ddt_bias = sum_in_order(ddt_bias, 0);
  return result;
}

template <typename S>
Tensor step_cpu(const ScanInputs& in, const Sizes& sizes, const Tensor& states, const Tensor& slot) {
  const Prepared<S> prepared(in);
  const ScanProblem<S>& p = prepared.raw;
  const Tensor out = at::empty(sizes.by_channel, in.A_log.options());
  const ScanRows<S> raw = rows_of<S>(out, out.data_ptr<S>());
  const Tensor slots = slot.contiguous();
  const int64_t* row_slot = slots.const_data_ptr<int64_t>();
  S* const all = states.data_ptr<S>();
  const Blocks blocks(p.channels);
  const int64_t grain = std::max<int64_t>(1, kStepWorkPerTask / (blocks.each * p.states));
  for_blocks(in.x.size(0), blocks, grain, [&](int64_t row, int64_t index) {
    scan_step_block<S>(p, blocks.block(row, index), raw, all + row_slot[row] * p.state_size());
  });
  return out.to(in.x.scalar_type());
}

}  // namespace

ScanForward selective_scan_forward(const ScanInputs& in, int64_t chunk) {
  const Sizes sizes = check_sequence(in, chunk);
  if (!in.x.device().is_cpu()) return selective_scan_forward_ref(in, chunk);
  return arithmetic_dtype(in.x) == at::kDouble ? forward_cpu<double>(in, sizes, chunk)
                                               : forward_cpu<float>(in, sizes, chunk);
}

ScanGradients selective_scan_backward(const Tensor& dout, const Tensor& dfinal, const ScanInputs& in,
                                      const Tensor& states, const ScanInputGradients& d, int64_t chunk) {
  const Sizes sizes = check_sequence(in, chunk);
  const at::ScalarType dtype = in.x.scalar_type();
  const int64_t samples = in.x.size(0);
  const int64_t chunks = (in.x.size(1) + chunk - 1) / chunk;
  check(dout, sizes.by_channel, dtype, "dout");
  check(states, {samples, chunks, sizes.channels, sizes.states}, arithmetic_dtype(in.x), "states");
  if (dfinal.defined())
    check(dfinal, {samples, sizes.channels, sizes.states}, arithmetic_dtype(in.x), "dfinal");
  check(d.dx, sizes.by_channel, dtype, "dx");
  check(d.ddt, sizes.by_channel, dtype, "ddt");
  check(d.dz, sizes.by_channel, dtype, "dz");
  check(d.dB, sizes.by_state, dtype, "dB");
  check(d.dC, sizes.by_state, dtype, "dC");
  if (!in.x.device().is_cpu()) return selective_scan_backward_ref(dout, dfinal, in, states, d, chunk);
  return arithmetic_dtype(in.x) == at::kDouble ? backward_cpu<double>(dout, dfinal, in, states, d, chunk)
                                               : backward_cpu<float>(dout, dfinal, in, states, d, chunk);
}

Tensor selective_scan_step(const ScanInputs& in, const Tensor& states, const Tensor& slot) {
  const Sizes sizes(in, 2);
  check_common(in, sizes);
  check(slot, {in.x.size(0)}, at::kLong, "slot");
  PHALANX_CHECK(states.defined() && states.dim() == 3 && states.is_contiguous(),
                fmt::format("selective_scan: states {}, needed [slots, C, N], contiguous", shape_of(states)));
  check(states, {states.size(0), sizes.channels, sizes.states}, arithmetic_dtype(in.x), "states");
  if (!in.x.device().is_cpu()) return selective_scan_step_ref(in, states, slot);
  check_slots(slot, states.size(0), "selective_scan");
  if (arithmetic_dtype(in.x) == at::kDouble) return step_cpu<double>(in, sizes, states, slot);
  return step_cpu<float>(in, sizes, states, slot);
}

}  // namespace phalanx::kernels
