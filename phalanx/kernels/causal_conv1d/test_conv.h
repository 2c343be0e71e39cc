// File: phalanx/kernels/causal_conv1d/test_conv.h
//
// Purpose: for tests only: cases and inputs of the short convolution, and all its gradients in one struct.
#pragma once

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <string>
#include <vector>

#include "phalanx/kernels/causal_conv1d/causal_conv1d.h"
#include "phalanx/kernels/causal_conv1d/causal_conv1d_ref.h"
#include "phalanx/tensor/gradient_check.h"

namespace phalanx::kernels::conv_testing {

using phalanx::testing::autograd_gradients;
using phalanx::testing::random_tensor;

struct Case {
  int64_t samples, rows, channels, taps;
  bool bias = true, documents = false, window = false;

  std::string name() const {
    return fmt::format("[{}, {}, {}] taps {} bias {} documents {} window {}", samples, rows, channels, taps,
                       bias, documents, window);
  }
};

// Rows around the taps, the tile and the piece; channels around the vectors and the strips.
inline std::vector<Case> cases() {
  std::vector<Case> result;
  const std::vector<Case> shapes = {{1, 1, 1, 4},   {2, 1, 7, 4},   {1, 2, 9, 4},   {3, 3, 5, 4},
                                    {2, 65, 17, 4}, {1, 5, 3, 1},   {2, 40, 33, 2}, {1, 70, 16, 3},
                                    {2, 9, 31, 5},  {1, 20, 4, 16}, {1, 6, 3, 17},  {1, 130, 515, 4},
                                    {40, 2, 6, 4},  {1, 300, 13, 4}};
  for (Case c : shapes) {
    for (const int bits : {0, 1, 2, 3, 4, 5, 6, 7}) {
      c.bias = (bits & 1) != 0;
      c.documents = (bits & 2) != 0;
      c.window = (bits & 4) != 0;
      result.push_back(c);
    }
  }
  return result;
}

struct Inputs {
  ConvInputs in;
  Tensor dy;

  Inputs to(at::ScalarType dtype) const {
    const auto cast = [dtype](const Tensor& t) { return t.defined() ? t.to(dtype) : t; };
    return {{cast(in.x), cast(in.weight), cast(in.bias), in.document, cast(in.window)}, dy.to(dtype)};
  }
};

// Slices of one pool of values, which costs less than drawing new ones for every case.
inline Tensor values(const std::vector<int64_t>& shape, int64_t offset) {
  static const Tensor pool = random_tensor({300000}, 1);
  return pool.narrow(0, offset, c10::multiply_integers(shape)).view(shape).clone();
}

// Documents of growing length, that start elsewhere in every sample; one returns after a single row of another.
inline Tensor documents_of(int64_t samples, int64_t rows) {
  Tensor document = at::zeros({samples, rows}, at::kLong);
  auto* data = document.data_ptr<int64_t>();
  for (int64_t b = 0; b < samples; ++b) {
    int64_t number = 5;
    int64_t left = b + 2;
    int64_t length = 1;
    for (int64_t t = 0; t < rows; ++t) {
      if (left-- == 0) {
        ++number;
        left = length++;
      }
      data[b * rows + t] = number;
    }
    if (rows > 30) data[b * rows + 27] = 99;
  }
  return document;
}

inline Inputs inputs(const Case& c) {
  Inputs result;
  result.in.x = values({c.samples, c.rows, c.channels}, 0);
  result.in.weight = values({c.channels, c.taps}, 70000);
  if (c.bias) result.in.bias = values({c.channels}, 80000);
  if (c.documents) result.in.document = documents_of(c.samples, c.rows);
  if (c.window) result.in.window = values({c.samples, c.taps - 1, c.channels}, 90000);
  result.dy = values({c.samples, c.rows, c.channels}, 100000);
  return result;
}

struct Gradients {
  Tensor dx;
  ConvGradients rest;
};

inline Gradients backward(const Inputs& i) {
  Gradients result{at::full(i.in.x.sizes(), std::nan(""), i.in.x.options()), {}};
  result.rest = causal_conv1d_backward(i.dy, i.in, result.dx);
  return result;
}

inline Gradients backward_ref(const Inputs& i) {
  Gradients result{at::full(i.in.x.sizes(), std::nan(""), i.in.x.options()), {}};
  result.rest = causal_conv1d_backward_ref(i.dy, i.in, result.dx);
  return result;
}

inline Gradients expected(const Inputs& i) {
  const auto g = autograd_gradients(
      [&i](const std::vector<Tensor>& v) {
        return std::vector<Tensor>{causal_conv1d_forward_ref({v[0], v[1], v[2], i.in.document, v[3]})};
      },
      {i.in.x, i.in.weight, i.in.bias, i.in.window}, {i.dy});
  return {g[0], {g[1], g[2], g[3]}};
}

}  // namespace phalanx::kernels::conv_testing
