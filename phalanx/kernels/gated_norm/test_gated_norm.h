// File: phalanx/kernels/gated_norm/test_gated_norm.h
//
// Purpose: for tests only: cases and inputs of the gated norm, and all its gradients in one struct.
#pragma once

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>
#include <string>
#include <vector>

#include "phalanx/kernels/gated_norm/gated_norm.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::kernels::gated_testing {

struct Case {
  int64_t rows, channels, group_size;
  bool norm_before_gate = false;

  std::string name() const {
    return fmt::format("[{}, {}] groups of {}{}", rows, channels, group_size,
                       norm_before_gate ? " norm first" : "");
  }
};

inline GatedNormSpec spec_of(const Case& c) {
  return {.group_size = c.group_size,
          .epsilon = 1e-3,
          .norm_before_gate = c.norm_before_gate,
          .channels_global = c.channels};
}

struct Inputs {
  Tensor y;
  Tensor z;
  Tensor weight;
  Tensor dout;

  Inputs to(at::ScalarType dtype) const {
    return {y.to(dtype), z.to(dtype), weight.to(dtype), dout.to(dtype)};
  }
};

// Slices of one pool of values, which costs less than drawing new ones for every case.
inline Tensor values(const std::vector<int64_t>& shape, int64_t offset) {
  static const Tensor pool = phalanx::testing::random_tensor({100000}, 1);
  return pool.narrow(0, offset, c10::multiply_integers(shape)).view(shape).clone();
}

// Groups of different scale, so that a wrong group shows.
inline Inputs inputs(const Case& c) {
  const Tensor scale = at::arange(1, c.channels + 1, at::kDouble) / static_cast<double>(c.channels) * 3.0;
  return {values({c.rows, c.channels}, 0) * scale, values({c.rows, c.channels}, 5000) * 2.0,
          values({c.channels}, 10000), values({c.rows, c.channels}, 15000)};
}

struct Gradients {
  Tensor dy;
  Tensor dz;
  Tensor dweight;
};

inline Gradients backward(const Inputs& in, const Tensor& rstd, const GatedNormSpec& spec) {
  Tensor dz = at::full(in.z.sizes(), std::nan(""), in.z.options());
  const GatedNormBackward g = gated_norm_backward(in.dout, in.y, in.z, rstd, in.weight, spec, dz);
  return {g.dy, dz, g.dweight};
}

}  // namespace phalanx::kernels::gated_testing
