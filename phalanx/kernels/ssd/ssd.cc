#include "phalanx/kernels/ssd/ssd.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "phalanx/base/error.h"
#include "phalanx/kernels/arguments.h"
#include "phalanx/kernels/flush_denormals.h"
#include "phalanx/kernels/ssd/ssd_chunk.h"
#include "phalanx/kernels/ssd/ssd_cpu.h"
#include "phalanx/kernels/ssd/ssd_ref.h"

namespace phalanx::kernels {
namespace {

constexpr int64_t kStepGrain = 1 << 15;

void check_is(const Tensor& tensor, const std::vector<int64_t>& shape, at::ScalarType dtype,
              const char* name) {
  PHALANX_CHECK(tensor.defined() && tensor.sizes() == at::IntArrayRef(shape) && tensor.scalar_type() == dtype,
                fmt::format("ssd: {} is {}, needed {} [{}]", name, shape_of(tensor), c10::toString(dtype),
                            fmt::join(shape, ", ")));
}

// `lead`: what stands before the heads, [B, S] or [n].
void check_inputs(const SsdInputs& in, const SsdSpec& spec, size_t lead) {
  PHALANX_CHECK(in.x.defined() && in.x.dim() == static_cast<int64_t>(lead) + 2 && in.x.is_floating_point() &&
                    in.B.defined() && in.B.dim() == in.x.dim(),
                fmt::format("ssd: x is {}, B {}", shape_of(in.x), shape_of(in.B)));
  const int64_t H = in.x.size(-2);
  const int64_t G = in.B.size(-2);
  PHALANX_CHECK(G > 0 && H % G == 0 && H > 0, fmt::format("ssd: {} heads in {} groups", H, G));
  PHALANX_CHECK(spec.chunk > 0 && spec.dt_min <= spec.dt_max, "ssd: a chunk holds a row, dt_min <= dt_max");
  std::vector<int64_t> rows = in.x.sizes().slice(0, lead).vec();
  const auto with = [&rows](std::initializer_list<int64_t> rest) {
    std::vector<int64_t> shape = rows;
    shape.insert(shape.end(), rest);
    return shape;
  };
  const at::ScalarType dtype = in.x.scalar_type();
  check_is(in.dt, with({H}), dtype, "dt");
  check_is(in.B, with({G, in.B.size(-1)}), dtype, "B");
  check_is(in.C, with({G, in.B.size(-1)}), dtype, "C");
  check_is(in.dt_bias, {H}, arithmetic_dtype(in.x), "dt_bias");
  check_is(in.A_log, {H}, arithmetic_dtype(in.x), "A_log");
  check_is(in.D, {H}, arithmetic_dtype(in.x), "D");
}

std::vector<int64_t> state_shape(const SsdInputs& in) {
  return {in.x.size(0), in.x.size(2), in.x.size(3), in.B.size(3)};
}

std::vector<int64_t> states_shape(const SsdInputs& in, const SsdSpec& spec) {
  const int64_t chunks = (in.x.size(1) + spec.chunk - 1) / spec.chunk;
  return {in.x.size(0), chunks, in.x.size(2), in.x.size(3), in.B.size(3)};
}

void check_sequence(const SsdInputs& in, const SsdSpec& spec) {
  check_inputs(in, spec, 2);
  PHALANX_CHECK(in.x.size(1) > 0, "ssd: a sequence has a row");
  if (in.document.defined()) check_is(in.document, {in.x.size(0), in.x.size(1)}, at::kLong, "document");
  if (in.initial.defined()) check_is(in.initial, state_shape(in), arithmetic_dtype(in.x), "initial");
}

// Rows [B, S, ..] in dtype T; what a row holds is contiguous.
Tensor readable(const Tensor& rows, at::ScalarType dtype) {
  const Tensor cast = rows.to(dtype);
  int64_t expected = 1;
  for (int64_t dim = cast.dim() - 1; dim >= 2; --dim) {
    if (cast.size(dim) > 1 && cast.stride(dim) != expected) return cast.contiguous();
    expected *= cast.size(dim);
  }
  return cast;
}

SsdChunkInputs chunk_inputs(const SsdInputs& in, const SsdSpec& spec) {
  const at::ScalarType dtype = arithmetic_dtype(in.x);
  return {.chunk = std::min(spec.chunk, in.x.size(1)),
          .x = readable(in.x, dtype),
          .delta = ssd_delta(in.dt, in.dt_bias, spec).contiguous(),
          .B = readable(in.B, dtype),
          .C = readable(in.C, dtype),
          .A = -in.A_log.exp(),
          .D = in.D.contiguous(),
          .document = in.document.defined() ? in.document.contiguous() : Tensor(),
          .has_initial = in.initial.defined()};
}

// Calls body(T{}) for the arithmetic's type.
template <typename Body>
void with_type(const Tensor& x, const Body& body) {
  if (arithmetic_dtype(x) == at::kDouble) return body(double{});
  body(float{});
}

Tensor first_states(const SsdInputs& in, const SsdSpec& spec) {
  Tensor states = at::empty(states_shape(in, spec), in.x.options().dtype(arithmetic_dtype(in.x)));
  Tensor first = states.select(1, 0);
  if (in.initial.defined()) {
    first.copy_(in.initial);
  } else {
    first.zero_();
  }
  return states;
}

// Where a body writes a gradient in the arithmetic's dtype: the caller's tensor, or a buffer that finish() rounds
// into it.
class Target {
 public:
  Target(const Tensor& to, at::ScalarType dtype) : to_(to), written_(to) {
    if (!readable(to, dtype).is_same(to)) written_ = at::empty(to.sizes(), to.options().dtype(dtype));
  }
  const Tensor& tensor() const { return written_; }
  void finish() const {
    if (!written_.is_same(to_)) Tensor(to_).copy_(written_);
  }

 private:
  Tensor to_;
  Tensor written_;
};

// delta and exp(delta A) of each row and head: a few numbers, which whole-tensor operations would take longer to make
// than the step takes.
template <typename T>
struct StepFactors {
  StepFactors(const SsdInputs& in, const SsdSpec& spec, at::ScalarType dtype) {
    const Tensor dt = in.dt.to(dtype).contiguous();
    const Tensor bias = in.dt_bias.contiguous();
    const Tensor log_A = in.A_log.contiguous();
    const T* raw = dt.const_data_ptr<T>();
    const int64_t heads = dt.size(1);
    delta.resize(static_cast<size_t>(dt.numel()));
    decay.resize(delta.size());
    for (size_t i = 0; i < delta.size(); ++i) {
      const int64_t h = static_cast<int64_t>(i) % heads;
      const T x = raw[i] + bias.const_data_ptr<T>()[h];
      const T softplus = x > static_cast<T>(kSoftplusThreshold) ? x : std::log1p(std::exp(x));
      delta[i] = std::clamp(softplus, static_cast<T>(spec.dt_min), static_cast<T>(spec.dt_max));
      decay[i] = std::exp(delta[i] * -std::exp(log_A.const_data_ptr<T>()[h]));
    }
  }
  std::vector<T> delta, decay;
};

template <typename T>
void step_rows(const SsdInputs& in, const SsdSpec& spec, const Tensor& states, const Tensor& slots,
               const Tensor& y) {
  const at::ScalarType dtype = states.scalar_type();
  const Tensor x = in.x.to(dtype).contiguous();
  const Tensor B = in.B.to(dtype).contiguous();
  const Tensor C = in.C.to(dtype).contiguous();
  const StepFactors<T> factors(in, spec, dtype);
  const Tensor D = in.D.contiguous();
  const int64_t H = x.size(1);
  const int64_t P = x.size(2);
  const int64_t G = B.size(1);
  const int64_t N = B.size(2);
  const SsdBodies<T>& bodies = ssd_bodies<T>();
  const T* x_rows = x.const_data_ptr<T>();
  const T* B_rows = B.const_data_ptr<T>();
  const T* C_rows = C.const_data_ptr<T>();
  const T* skips = D.const_data_ptr<T>();
  const int64_t* places = slots.const_data_ptr<int64_t>();
  T* state = states.data_ptr<T>();
  T* to = y.data_ptr<T>();
  at::parallel_for(0, x.size(0) * H, std::max<int64_t>(1, kStepGrain / std::max<int64_t>(1, P * N)),
                   [&](int64_t begin, int64_t end) {
                     const FlushDenormals flush;
                     for (int64_t i = begin; i < end; ++i) {
                       const int64_t row = i / H;
                       const int64_t h = i % H;
                       const int64_t group = row * G + h * G / H;
                       bodies.step({.width = P,
                                    .states = N,
                                    .delta = factors.delta[static_cast<size_t>(i)],
                                    .decay = factors.decay[static_cast<size_t>(i)],
                                    .skip = skips[h],
                                    .x = x_rows + i * P,
                                    .B = B_rows + group * N,
                                    .C = C_rows + group * N,
                                    .state = state + (places[row] * H + h) * P * N,
                                    .y = to + i * P});
                     }
                   });
}

}  // namespace

SsdForward ssd_forward(const SsdInputs& in, const SsdSpec& spec) {
  check_sequence(in, spec);
  if (!in.x.device().is_cpu()) return ssd_forward_ref(in, spec);
  SsdForward result;
  result.states = first_states(in, spec);
  result.final_state = at::empty(state_shape(in), result.states.options());
  result.y = at::empty(in.x.sizes(), result.states.options());
  with_type(in.x, [&](auto type) {
    ssd_chunk_forward<decltype(type)>(chunk_inputs(in, spec), result.y, result.states, result.final_state);
  });
  result.y = result.y.to(in.x.scalar_type());
  return result;
}

SsdGradients ssd_backward(const Tensor& dy, const Tensor& dfinal, const SsdInputs& in, const Tensor& states,
                          const SsdSpec& spec, const SsdInputGradients& d) {
  check_sequence(in, spec);
  const at::ScalarType dtype = arithmetic_dtype(in.x);
  check_is(dy, in.x.sizes().vec(), in.x.scalar_type(), "dy");
  if (dfinal.defined()) check_is(dfinal, state_shape(in), dtype, "dfinal");
  if (states.defined()) check_is(states, states_shape(in, spec), dtype, "states");
  const auto check_like = [](const Tensor& gradient, const Tensor& input, const char* name) {
    check_is(gradient, input.sizes().vec(), input.scalar_type(), name);
  };
  check_like(d.dx, in.x, "dx");
  check_like(d.ddt, in.dt, "ddt");
  check_like(d.dB, in.B, "dB");
  check_like(d.dC, in.C, "dC");
  if (!in.x.device().is_cpu()) return ssd_backward_ref(dy, dfinal, in, states, spec, d);

  const Target dx(d.dx, dtype);
  const Target ddt(d.ddt, dtype);
  const Target dB(d.dB, dtype);
  const Target dC(d.dC, dtype);
  const SsdChunkInputs inputs = chunk_inputs(in, spec);
  const auto accumulators = in.x.options().dtype(dtype);
  SsdGradients result;
  if (in.initial.defined()) result.dinitial = at::empty(state_shape(in), accumulators);
  const SsdChunkGradients out = {
      .dx = dx.tensor(),
      .ddt = ddt.tensor(),
      .dB = dB.tensor(),
      .dC = dC.tensor(),
      .heads = at::empty({in.x.size(0), in.x.size(2), 3}, accumulators.dtype(at::kDouble)),
      .dinitial = result.dinitial};
  with_type(in.x, [&](auto type) {
    using T = decltype(type);
    Tensor before = states.defined() ? states.contiguous() : first_states(in, spec);
    if (!states.defined()) ssd_chunk_forward<T>(inputs, Tensor(), before, Tensor());
    ssd_chunk_backward<T>(inputs, readable(dy, dtype), dfinal.defined() ? dfinal.contiguous() : dfinal,
                          before, ssd_delta_slope(in.dt, in.dt_bias, spec).contiguous(), out);
  });
  for (const Target* target : {&dx, &ddt, &dB, &dC}) target->finish();
  Tensor heads = at::zeros({in.x.size(2), 3}, out.heads.options());
  for (int64_t b = 0; b < in.x.size(0); ++b) heads.add_(out.heads.select(0, b));
  result.ddt_bias = heads.select(1, 0).to(dtype);
  result.dA_log = (heads.select(1, 1) * inputs.A).to(dtype);
  result.dD = heads.select(1, 2).to(dtype);
  return result;
}

Tensor ssd_step(const SsdInputs& in, const SsdSpec& spec, const Tensor& states, const Tensor& slot) {
  check_inputs(in, spec, 1);
  PHALANX_CHECK(states.defined() && states.dim() == 4 && states.is_contiguous(),
                "ssd_step: states are contiguous");
  const at::ScalarType dtype = arithmetic_dtype(in.x);
  check_is(states, {states.size(0), in.x.size(1), in.x.size(2), in.B.size(2)}, dtype, "states");
  check_is(slot, {in.x.size(0)}, at::kLong, "slot");
  if (!in.x.device().is_cpu()) return ssd_step_ref(in, spec, states, slot);
  const Tensor slots = slot.contiguous();
  check_slots(slots, states.size(0), "ssd_step");
  Tensor y = at::empty(in.x.sizes(), states.options());
  with_type(in.x, [&](auto type) { step_rows<decltype(type)>(in, spec, states, slots, y); });
  return y.to(in.x.scalar_type());
}

}  // namespace phalanx::kernels
